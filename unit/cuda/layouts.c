/* The machine's fragments beside CuTe's (layouts.txt): numbers that lanes bring where NVIDIA's table says come out where it says. */
#include "../../cuda/emu/machine.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(layouts, .timeout = 60);

static const char TABLE[] = "unit/cuda/layouts.txt";

enum { LANES = 32, ROWS = 16, COLUMNS = 8, MOST_PARTS = 4 };
enum { LANE, VALUE };

/* ---- CuTe's layouts ---- */

/* A number is split by the shape, the lowest part first; the parts times the strides are its place. */
typedef struct {
    int parts, shape[MOST_PARTS], stride[MOST_PARTS];
} mode;

typedef struct {
    mode of[2]; /* LANE, VALUE */
} layout;

/* "((_4,_8),_2)": the numbers of two modes. What stands behind it. */
static const char *read_numbers(const char *text, int parts[2], int number[2][MOST_PARTS])
{
    int depth = 0, which = LANE;
    parts[LANE] = parts[VALUE] = 0;
    do {
        if (*text >= '0' && *text <= '9') {
            char *end;
            cr_assert(which <= VALUE && parts[which] < MOST_PARTS);
            number[which][parts[which]++] = (int)strtol(text, &end, 10);
            text = end;
            continue;
        }
        depth += (*text == '(') - (*text == ')');
        if (*text == ',' && depth == 1) which++;
        text++;
    } while (depth > 0);
    return text;
}

static layout read_layout(const char *text)
{
    layout l;
    int parts[2], strides[2], shape[2][MOST_PARTS], stride[2][MOST_PARTS];
    text = read_numbers(text, parts, shape);
    cr_assert_eq(*text, ':');
    read_numbers(text + 1, strides, stride);
    for (int which = LANE; which <= VALUE; which++) {
        mode *const to = &l.of[which];
        cr_assert_eq(parts[which], strides[which]);
        to->parts = parts[which];
        memcpy(to->shape, shape[which], sizeof to->shape), memcpy(to->stride, stride[which], sizeof to->stride);
    }
    return l;
}

static int size_of(const mode *f)
{
    int size = 1;
    for (int i = 0; i < f->parts; i++) size *= f->shape[i];
    return size;
}

static int offset_of(const mode *f, int number)
{
    int at = 0;
    for (int i = 0; i < f->parts; i++) at += number % f->shape[i] * f->stride[i], number /= f->shape[i];
    return at;
}

static int place_of(const layout *l, int lane, int value)
{
    return offset_of(&l->of[LANE], lane) + offset_of(&l->of[VALUE], value);
}

static uint32_t sum_of(const layout *l)
{
    uint32_t sum = 0x811c9dc5;
    for (int lane = 0; lane < size_of(&l->of[LANE]); lane++)
        for (int value = 0; value < size_of(&l->of[VALUE]); value++)
            for (int byte = 0; byte < 4; byte++)
                sum = (sum ^ (uint32_t)(place_of(l, lane, value) >> 8 * byte & 255)) * 0x01000193;
    return sum;
}

/* How many the table has of an instruction's part, or of all: the last one. Each gives the places that CuTe computed. */
static int find_layouts(const char *instruction, const char *part, layout *found)
{
    char line[400], name[40], of[10], text[200];
    unsigned sum;
    int count = 0;
    FILE *const in = fopen(TABLE, "r");
    cr_assert(in, "%s is missing: run this in the folder of the Makefile", TABLE);
    while (fgets(line, sizeof line, in)) {
        if (sscanf(line, "layout %39s %9s %199s %x", name, of, text, &sum) != 4) continue;
        if (instruction && (strcmp(name, instruction) != 0 || strcmp(of, part) != 0)) continue;
        *found = read_layout(text);
        cr_expect_eq(sum_of(found), sum, "%s %s: its places are not those that CuTe computed", name, of);
        count++;
    }
    fclose(in);
    return count;
}

static layout find(const char *instruction, const char *part)
{
    layout l = {0};
    cr_assert_eq(find_layouts(instruction, part, &l), 1, "%s has not one %s %s", TABLE, instruction, part);
    return l;
}

Test(layouts, are_read_as_cute_means_them)
{
    layout last;
    cr_expect_geq(find_layouts(NULL, NULL, &last), 47);
}

/* ---- mma ---- */

typedef struct {
    const char *name;
    tensor_gpu gpu;
    mma_kind kind;
    int bits, mantissa, bias; /* of the format */
} instruction;

static const instruction instructions[] = {
    {"mma.m16n8k8.f16", GPU_AMPERE, {CODE_F16, 8}, 16, 10, 15},
    {"mma.m16n8k8.bf16", GPU_AMPERE, {CODE_BF16, 8}, 16, 7, 127},
    {"mma.m16n8k16.f16", GPU_AMPERE, {CODE_F16, 16}, 16, 10, 15},
    {"mma.m16n8k16.bf16", GPU_AMPERE, {CODE_BF16, 16}, 16, 7, 127},
    {"mma.m16n8k32.e4m3", GPU_ADA, {CODE_E4M3, 32}, 8, 3, 7},
    {"mma.m16n8k32.e5m2", GPU_ADA, {CODE_E5M2, 32}, 8, 2, 15},
};
enum { INSTRUCTIONS = sizeof instructions / sizeof *instructions };

enum { MOST_K = 32 };

/* One product of matrices after another, by one warp. Matrices as the table has them: entry row + rows * column. */
typedef struct {
    const instruction *of;
    layout a, b, d;
    int turns;
    void (*fill)(int turn, int k, int *a, int *b); /* small whole numbers or powers of two; all were 0 */
    float (*right)(int turn, int row, int column);
    int wrong; /* entries of D; each lane looks at its own */
} trial;

/* The code of v = 2^e (1 + fraction): v is positive and the format has it; or 0, or -2^e. */
static uint32_t code_of(const instruction *n, int v)
{
    int const size = v < 0 ? -v : v;
    if (!v) return 0;
    int const e = 31 - __builtin_clz((unsigned)size);
    uint32_t const fraction = (uint32_t)(((int64_t)(size - (1 << e)) << n->mantissa) >> e);
    return (v < 0 ? 1u << (n->bits - 1) : 0) | (uint32_t)(e + n->bias) << n->mantissa | fraction;
}

/* A lane's registers: the first value in the lowest bits of the first. */
static void fill_registers(const instruction *n, const layout *l, int lane, const int *matrix, uint32_t *registers)
{
    int const each = 32 / n->bits;
    for (int value = 0; value < size_of(&l->of[VALUE]); value++)
        registers[value / each] |= code_of(n, matrix[place_of(l, lane, value)]) << value % each * n->bits;
}

static void multiply_lane(machine *m, const uint8_t *param)
{
    static int a[ROWS * MOST_K], b[COLUMNS * MOST_K];
    int const lane = (int)machine_place(m)->tid[0];
    trial *t;
    memcpy(&t, param, sizeof t);
    for (int turn = 0; turn < t->turns; turn++) {
        uint32_t in_a[4] = {0}, in_b[2] = {0}, c[4] = {0}, out[4];
        uint32_t *const d[4] = {&out[0], &out[1], &out[2], &out[3]};
        memset(a, 0, sizeof a), memset(b, 0, sizeof b);
        t->fill(turn, t->of->kind.k, a, b);
        fill_registers(t->of, &t->a, lane, a, in_a), fill_registers(t->of, &t->b, lane, b, in_b);
        machine_mma(m, t->of->kind, d, in_a, in_b, c, turn + 1);
        for (int value = 0; value < 4; value++) {
            int const at = place_of(&t->d, lane, value);
            float got;
            memcpy(&got, &out[value], sizeof got);
            t->wrong += got != t->right(turn, at % ROWS, at / ROWS);
        }
    }
}

/* A kernel of one warp whose one parameter is `what`. */
static void run_warp(tensor_gpu gpu, kernel_body *body, uint32_t shared, void *what)
{
    static const uint32_t offset = 0, size = sizeof(void *);
    kernel const k = {"warp", "layouts.c", body, shared, 1, &offset, &size};
    uint32_t const grid[3] = {1, 1, 1}, block[3] = {LANES, 1, 1};
    void *args[] = {&what};
    machine *const m = machine_open(ORDER_UP, gpu);
    cr_assert(m);
    cr_expect(machine_launch(m, &k, grid, block, 0, args), "%s", machine_fault(m));
    machine_close(m);
}

static void run_trial(const instruction *n, trial t)
{
    t.of = n;
    t.a = find(n->name, "a"), t.b = find(n->name, "b"), t.d = find(n->name, "d");
    cr_assert_eq(LANES * size_of(&t.a.of[VALUE]), ROWS * n->kind.k);
    cr_assert_eq(LANES * size_of(&t.b.of[VALUE]), COLUMNS * n->kind.k);
    cr_assert_eq(LANES * size_of(&t.d.of[VALUE]), ROWS * COLUMNS);
    run_warp(n->gpu, multiply_lane, 0, &t);
    cr_expect_eq(t.wrong, 0, "%s: %d of %d entries are elsewhere", n->name, t.wrong, t.turns * ROWS * COLUMNS);
}

/* One entry of A is 1, the row of B that it meets 1, 2, 3, ... */
static void fill_one(int turn, int k, int *a, int *b)
{
    (void)k;
    a[turn] = 1;
    for (int n = 0; n < COLUMNS; n++) b[n + COLUMNS * (turn / ROWS)] = n + 1;
}

static float right_of_one(int turn, int row, int column)
{
    return row == turn % ROWS ? (float)(column + 1) : 0;
}

Test(layouts, mma_has_fragments_where_cute_has_them)
{
    for (int i = 0; i < INSTRUCTIONS; i++)
        run_trial(&instructions[i],
                  (trial){.turns = ROWS * instructions[i].kind.k, .fill = fill_one, .right = right_of_one});
}

/* ampere adds 8 products a step, which begin with the first k: 1 beside 2^30 and -2^30 of its own step is cut. */
static void fill_step(int turn, int k, int *a, int *b)
{
    int const first = turn < 2 ? 2 : 0;
    (void)k;
    for (int row = 0; row < ROWS; row++)
        a[row + ROWS * first] = 1 << 15, a[row + ROWS * (first + 1)] = -(1 << 15), a[row + ROWS * turn] = 1;
    for (int n = 0; n < COLUMNS; n++)
        b[n + COLUMNS * first] = b[n + COLUMNS * (first + 1)] = 1 << 15, b[n + COLUMNS * turn] = 1;
}

static float right_of_step(int turn, int row, int column)
{
    (void)row, (void)column;
    return turn < 8 ? 0 : 1;
}

Test(layouts, mma_steps_through_k_as_cute_numbers_it)
{
    for (int i = 0; i < INSTRUCTIONS; i++)
        if (instructions[i].gpu == GPU_AMPERE)
            run_trial(&instructions[i],
                      (trial){.turns = instructions[i].kind.k, .fill = fill_step, .right = right_of_step});
}

/* ---- ldmatrix ---- */

enum { ROW = 8 /* elements */, ELEMENT = 16 /* bits */ };

typedef struct {
    const char *name;
    int count;
    bool transposed;
    layout from, to;
    int wrong;
} loading;

/* Which element of the rows, 8 * lane + element, goes to so many bits of a lane's registers. */
static int source_of(const loading *l, int lane, int bit)
{
    for (int row = 0; row < LANES; row++)
        for (int element = 0; element < ROW; element++)
            if (place_of(&l->from, row, element * ELEMENT) == place_of(&l->to, lane, bit)) return row * ROW + element;
    return -1;
}

/* Each lane writes a row of its own, which has its number; then it looks at what it gets. */
static void load_lane(machine *m, const uint8_t *param)
{
    int const lane = (int)machine_place(m)->tid[0];
    uint64_t const row = (uint64_t)(lane * 5 % LANES) * 16;
    uint32_t out[4];
    uint32_t *const d[4] = {&out[0], &out[1], &out[2], &out[3]};
    loading *l;
    memcpy(&l, param, sizeof l);
    for (int i = 0; i < ROW; i++) {
        uint16_t const number = (uint16_t)(lane * ROW + i);
        memcpy(machine_at(m, SPACE_SHARED, row + 2 * (uint64_t)i, sizeof number, true, 1), &number, sizeof number);
    }
    machine_barrier(m, true, 2);
    machine_ldmatrix(m, row, l->count, l->transposed, d, 3);
    for (int half = 0; half < 2 * l->count; half++)
        l->wrong += (int)(out[half / 2] >> half % 2 * ELEMENT & 0xffff) != source_of(l, lane, half * ELEMENT);
}

static loading const loadings[] = {
    {.name = "ldmatrix.x1", .count = 1},
    {.name = "ldmatrix.x2", .count = 2},
    {.name = "ldmatrix.x4", .count = 4},
    {.name = "ldmatrix.x1.trans", .count = 1, .transposed = true},
    {.name = "ldmatrix.x2.trans", .count = 2, .transposed = true},
    {.name = "ldmatrix.x4.trans", .count = 4, .transposed = true},
};

Test(layouts, ldmatrix_loads_what_cute_says)
{
    for (size_t i = 0; i < sizeof loadings / sizeof *loadings; i++) {
        loading l = loadings[i];
        l.from = find(l.name, "from"), l.to = find(l.name, "to");
        cr_assert_eq(size_of(&l.to.of[VALUE]), 32 * l.count);
        run_warp(GPU_AMPERE, load_lane, LANES * 16, &l);
        cr_expect_eq(l.wrong, 0, "%s: %d of %d elements are elsewhere", l.name, l.wrong, LANES * 2 * l.count);
    }
}
