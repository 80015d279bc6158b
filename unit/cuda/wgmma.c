/* Products of a warpgroup in what ptx2c makes of unit/cuda/wgmma.ptx: matrices that lie as CuTe lays them, with CuTe's descriptors
 * (unit/cuda/layouts.txt), come out as the unit's sums of the plain matrices; mistakes are named. */
#include "../../bench/accumulation_sums.h"
#include "../../cuda/emu/runtime.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(wgmma, .timeout = 120);

enum {
    THREADS = 128,
    ORDERS = 3,
    ROWS = 64,
    MOST_COLUMNS = 256,
    MOST_STEPS = 4,
    BYTES = 32 /* of a step's k */,
    CHUNK = 16
};

static const kernel *list;
static int listed;

/* In the place of the runtime's. */
void runtime_kernels(const kernel *k, int count)
{
    list = k, listed = count;
}

/* As unit/cuda/wgmma.cu has it. */
typedef struct {
    const void *a, *b;
    int a_chunks, b_chunks, steps;
    uint64_t a_at[MOST_STEPS], b_at[MOST_STEPS];
    const uint32_t *left;
    const float *c;
    float *d;
} job;

/* ---- CuTe's tables ---- */

/* place: of 16 bytes of a line (mn: of 8 lines of a k), in 16 bytes. */
typedef struct {
    int lines, k, steps, runs;
    uint64_t descriptor[MOST_STEPS];
    int place[128][16];
} matrix;

static void read_places(char *text, matrix *m, int row)
{
    char *rest = NULL;
    strtok_r(text, " ", &rest);
    for (m->runs = 0; (text = strtok_r(NULL, " \n", &rest)); m->runs++) m->place[row][m->runs] = atoi(text);
}

/* "k 128 bf16" */
static matrix read_matrix(const char *name)
{
    FILE *const f = fopen("unit/cuda/layouts.txt", "r");
    char line[600], title[40];
    unsigned long long bits;
    matrix m = {0};
    int rows = 0, length = 0;
    bool here = false;
    cr_assert(f, "unit/cuda/layouts.txt can't be read");
    snprintf(title, sizeof title, "matrix %s %%d %%d%%n", name);
    while (fgets(line, sizeof line, f)) {
        if (!strncmp(line, "matrix ", 7)) here = sscanf(line, title, &m.lines, &m.k, &length) == 2 && length;
        if (here && sscanf(line, "descriptor %llx", &bits) == 1) m.descriptor[m.steps++] = bits;
        if (here && !strncmp(line, "places ", 7)) read_places(line, &m, rows++);
    }
    fclose(f);
    cr_assert(m.steps && rows, "%s is not in unit/cuda/layouts.txt", name);
    return m;
}

/* Is such a line there? */
static void expect_line(const char *text)
{
    FILE *const f = fopen("unit/cuda/layouts.txt", "r");
    char line[600];
    bool there = false;
    while (f && fgets(line, sizeof line, f)) there |= strstr(line, text) != NULL;
    if (f) fclose(f);
    cr_assert(there, "'%s' is not in unit/cuda/layouts.txt", text);
}

/* ---- a product ---- */

typedef struct {
    const char *kernel;
    tensor_code code;
    int columns;
    const char *a, *b;                      /* a NULL: in registers */
    bool a_negated, b_negated, adds, twice; /* twice: the second step is a sum of its own */
} product;

/* Of `lines` rows of A, or columns of B: each step's 32 bytes. */
typedef uint8_t plain[MOST_STEPS][MOST_COLUMNS][TENSOR_DEPTH];

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13, *state ^= *state >> 17, *state ^= *state << 5;
    return *state;
}

/* Finite numbers of many sizes, so that sums are cut. */
static void fill_plain(plain p, tensor_code code, uint32_t seed)
{
    for (int s = 0; s < MOST_STEPS; s++)
        for (int line = 0; line < MOST_COLUMNS; line++)
            for (int i = 0; i < TENSOR_DEPTH; i++) {
                uint32_t const r = next_random(&seed) >> 8;
                bool const high = i % 2;
                p[s][line][i] = (uint8_t)(code == CODE_BF16   ? (high ? (r & 0x80) | (0x3c + r % 6) : r)
                                          : code == CODE_F16  ? (high ? (r & 0x80) | r % 0x7b : r)
                                          : code == CODE_E4M3 ? (r & 0x80) | r % 0x7f
                                                              : (r & 0x80) | r % 0x7c);
            }
}

/* As it lies in shared memory: lines beyond CuTe's repeat 16 of them, one image behind the other. Chunks of it. */
static int lay(uint8_t *image, const plain p, const matrix *m, bool mn_major, int lines)
{
    int const image_chunks = m->lines * m->k * (mn_major || m->k == 64 ? 2 : 1) / CHUNK;
    int const images = mn_major ? 1 : (lines + m->lines - 1) / m->lines;
    memset(image, 0, (size_t)images * (size_t)image_chunks * CHUNK);
    for (int i = 0; !mn_major && i < lines * m->runs; i++) {
        int const line = i / m->runs, run = i % m->runs;
        int const at = m->place[line % m->lines][run] + line / m->lines * image_chunks;
        memcpy(image + at * CHUNK, &p[run / 2][line][run % 2 * CHUNK], CHUNK);
    }
    for (int i = 0; mn_major && i < m->lines * m->k; i++) {
        int const line = i % m->lines, k = i / m->lines;
        memcpy(image + m->place[k][line / 8] * CHUNK + line % 8 * 2, &p[k / 16][line][k % 16 * 2], 2);
    }
    return images * image_chunks;
}

/* CuTe: ((_4,_8,_4),(_2,_2,_N)):((_128,_1,_16),(_64,_8,_512)), of 64 rows: row + 64 column. */
static int place_of_sum(int thread, int i)
{
    return thread % 4 * 128 + thread / 4 % 8 + thread / 32 * 16 + i % 2 * 64 + i / 2 % 2 * 8 + i / 4 * 512;
}

/* CuTe: a ((_4,_8,_4),(_2,_2,_2)):((_128,_1,_16),(_64,_8,_512)) of two bytes, ((_4,_8,_4),(_4,_2,_2)):((_256,_1,_16),(_64,_8,_1024))
 * of one. */
static void lay_registers(uint32_t *left, const plain p, tensor_code code, int steps)
{
    int const width = code == CODE_BF16 ? 2 : 1, each = 4 / width;
    for (int i = 0; i < steps * THREADS * 16 / width; i++) {
        int const value = i % (16 / width), thread = i / (16 / width) % THREADS, s = i / (16 / width) / THREADS;
        int const at = thread % 4 * 64 * each + thread / 4 % 8 + thread / 32 * 16 + value % each * 64 +
                       value / each % 2 * 8 + value / each / 2 * 256 * each;
        memcpy((uint8_t *)left + i * width, &p[s][at % ROWS][at / ROWS * width], (size_t)width);
    }
}

typedef struct {
    machine *m;
    job j;
    plain a, b;
    float *c;
    const product *of;
} work;

static bool is_mn(const char *name)
{
    return name && !strncmp(name, "mn", 2);
}

static void *room(machine *m, size_t bytes)
{
    void *const memory = machine_alloc(m, bytes);
    cr_assert(memory);
    return memory;
}

static work *open_work(const product *p, int order, tensor_gpu gpu)
{
    work *const w = calloc(1, sizeof *w);
    cr_assert(w);
    w->m = machine_open((machine_order)order, gpu), w->of = p;
    cr_assert(w->m);
    matrix const a = read_matrix(p->a ? p->a : "k 128 bf16"), b = read_matrix(p->b);
    size_t const sums = (size_t)THREADS * (size_t)p->columns / 2;
    job *const j = &w->j;
    fill_plain(w->a, p->code, 1), fill_plain(w->b, p->code, 2);
    void *const left = room(w->m, MOST_STEPS * THREADS * 16), *const image_a = room(w->m, 1 << 16),
                *const image_b = room(w->m, 1 << 16);
    j->left = left, j->a = image_a, j->b = image_b, j->steps = b.steps;
    memcpy(j->a_at, a.descriptor, sizeof a.descriptor), memcpy(j->b_at, b.descriptor, sizeof b.descriptor);
    j->a_chunks = p->a ? lay(image_a, w->a, &a, is_mn(p->a), ROWS) : 0;
    j->b_chunks = lay(image_b, w->b, &b, is_mn(p->b), p->columns);
    if (!p->a) lay_registers(left, w->a, p->code, j->steps);
    j->d = room(w->m, sums * sizeof(float)), w->c = room(w->m, sums * sizeof(float));
    for (size_t i = 0; i < sums; i++) w->c[i] = (float)(int)(i * 7 % 1000) / 16 - 30;
    j->c = p->adds ? w->c : NULL;
    return w;
}

static void close_work(work *w)
{
    machine_close(w->m);
    free(w);
}

static bool launch(work *w, uint32_t threads)
{
    uint32_t const grid[3] = {1, 1, 1}, block[3] = {threads, 1, 1};
    uint32_t const shared = (uint32_t)(w->j.a_chunks + w->j.b_chunks) * CHUNK;
    void *args[] = {&w->j};
    for (int i = 0; i < listed; i++)
        if (!strcmp(list[i].name, w->of->kernel)) return machine_launch(w->m, &list[i], grid, block, shared, args);
    cr_assert(false, "there is no kernel %s", w->of->kernel);
    return false;
}

static void flip_signs(plain p, tensor_code code)
{
    int const width = code == CODE_BF16 || code == CODE_F16 ? 2 : 1;
    for (int s = 0; s < MOST_STEPS; s++)
        for (int i = 0; i < MOST_COLUMNS; i++)
            for (int k = width - 1; k < TENSOR_DEPTH; k += width) p[s][i][k] ^= 0x80;
}

static uint32_t add(uint32_t a, uint32_t b)
{
    float x, y;
    memcpy(&x, &a, 4), memcpy(&y, &b, 4);
    x += y;
    memcpy(&a, &x, 4);
    return a;
}

/* The unit's sums of the plain matrices, step by step. */
static void expect_right(work *w, int order)
{
    const product *const p = w->of;
    int const k = p->code == CODE_BF16 || p->code == CODE_F16 ? 16 : 32;
    tensor_unit const u = {GPU_HOPPER, p->code, k, true};
    uint32_t *const sum = calloc((size_t)ROWS * (size_t)p->columns, sizeof *sum);
    cr_assert(sum);
    if (p->a_negated) flip_signs(w->a, p->code);
    if (p->b_negated) flip_signs(w->b, p->code);
    for (int i = 0; p->adds && i < THREADS * p->columns / 2; i++) {
        int const at = place_of_sum(i / (p->columns / 2), i % (p->columns / 2));
        memcpy(&sum[at % ROWS * p->columns + at / ROWS], &w->c[i], 4);
    }
    for (int s = 0; s < w->j.steps; s++) {
        bool const alone = p->twice && s == 1;
        uint32_t *const to = alone ? calloc((size_t)ROWS * (size_t)p->columns, sizeof *sum) : sum;
        cr_assert(to);
        tensor_multiply(&u, ROWS, p->columns, w->a[s][0], w->b[s][0], to, to);
        if (!alone) continue;
        for (int i = 0; i < ROWS * p->columns; i++) sum[i] = add(sum[i], to[i]);
        free(to);
    }
    for (int i = 0; i < THREADS * p->columns / 2; i++) {
        int const at = place_of_sum(i / (p->columns / 2), i % (p->columns / 2));
        uint32_t found;
        memcpy(&found, &w->j.d[i], 4);
        cr_assert_eq(found, sum[at % ROWS * p->columns + at / ROWS], "%s of %s, order %d, row %d, column %d", p->kernel,
                     p->b, order, at % ROWS, at / ROWS);
    }
    free(sum);
}

static const product right[] = {
    {"multiplies_bf16_n8", CODE_BF16, 8, "k 128 bf16", "k 128 bf16", .adds = true},
    {"multiplies_bf16", CODE_BF16, 16, "k 128 bf16", "k none bf16", .adds = true},
    {"multiplies_bf16", CODE_BF16, 16, "k 128 bf16", "k 32 bf16"},
    {"multiplies_bf16", CODE_BF16, 16, "k 128 bf16", "k 64 bf16"},
    {"multiplies_bf16", CODE_BF16, 16, "k 128 bf16", "k 128 bf16", .adds = true},
    {"multiplies_bf16_n256", CODE_BF16, 256, "k 128 bf16", "k 128 bf16", .adds = true},
    {"multiplies_bf16_minus_a", CODE_BF16, 16, "k 128 bf16", "k 128 bf16", .a_negated = true, .adds = true},
    {"multiplies_bf16_minus_b", CODE_BF16, 16, "k 128 bf16", "k 128 bf16", .b_negated = true, .adds = true},
    {"multiplies_bf16_b_mn", CODE_BF16, 128, "k 128 bf16", "mn none bf16"},
    {"multiplies_bf16_b_mn", CODE_BF16, 128, "k 128 bf16", "mn 32 bf16", .adds = true},
    {"multiplies_bf16_b_mn", CODE_BF16, 128, "k 128 bf16", "mn 64 bf16"},
    {"multiplies_bf16_b_mn", CODE_BF16, 128, "k 128 bf16", "mn 128 bf16"},
    {"multiplies_bf16_both_mn", CODE_BF16, 128, "mn none bf16", "mn 128 bf16"},
    {"multiplies_bf16_both_mn", CODE_BF16, 128, "mn 32 bf16", "mn 64 bf16"},
    {"multiplies_bf16_both_mn", CODE_BF16, 128, "mn 64 bf16", "mn 32 bf16"},
    {"multiplies_bf16_both_mn", CODE_BF16, 128, "mn 128 bf16", "mn none bf16", .adds = true},
    {"multiplies_twice", CODE_BF16, 16, "k 128 bf16", "k 64 bf16", .adds = true, .twice = true},
    {"multiplies_f16", CODE_F16, 16, "k 128 bf16", "k 128 bf16", .adds = true},
    {"multiplies_e4m3", CODE_E4M3, 16, "k 128 e4m3", "k none e4m3", .adds = true},
    {"multiplies_e4m3", CODE_E4M3, 16, "k 128 e4m3", "k 32 e4m3"},
    {"multiplies_e4m3", CODE_E4M3, 16, "k 128 e4m3", "k 64 e4m3"},
    {"multiplies_e4m3", CODE_E4M3, 16, "k 128 e4m3", "k 128 e4m3"},
    {"multiplies_e4m3_minus_a", CODE_E4M3, 16, "k 128 e4m3", "k 128 e4m3", .a_negated = true},
    {"multiplies_e5m2", CODE_E5M2, 16, "k 128 e4m3", "k 128 e4m3", .adds = true},
    {"multiplies_bf16_left", CODE_BF16, 16, NULL, "k 128 bf16", .adds = true},
    {"multiplies_bf16_left_mn", CODE_BF16, 128, NULL, "mn 128 bf16"},
    {"multiplies_e4m3_left", CODE_E4M3, 16, NULL, "k 64 e4m3", .adds = true},
};

Test(wgmma, products_are_right_in_every_order)
{
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        for (int order = 0; order < ORDERS; order++) {
            work *const w = open_work(&right[i], order, GPU_HOPPER);
            cr_assert(launch(w, THREADS), "%s", machine_fault(w->m));
            expect_right(w, order);
            close_work(w);
        }
}

Test(wgmma, registers_lie_as_cute_has_them)
{
    expect_line("layout wgmma.m64n16k16.bf16 d ((_4,_8,_4),(_2,_2,_2)):((_128,_1,_16),(_64,_8,_512))");
    expect_line("layout wgmma.m64n256k16.bf16 d ((_4,_8,_4),(_2,_2,_32)):((_128,_1,_16),(_64,_8,_512))");
    expect_line("layout wgmma.m64n8k16.bf16 a ((_4,_8,_4),(_2,_2,_2)):((_128,_1,_16),(_64,_8,_512))");
    expect_line("layout wgmma.m64n8k32.e4m3 a ((_4,_8,_4),(_4,_2,_2)):((_256,_1,_16),(_64,_8,_1024))");
}

/* What bench accumulation says of Hopper is what this PTX gives. */
static void expect_long(const char *name, sum_way way, int k, int order)
{
    uint32_t const grid[3] = {1, 1, 1}, block[3] = {THREADS, 1, 1};
    machine *const m = machine_open((machine_order)order, GPU_HOPPER);
    cr_assert(m);
    uint8_t *const a = room(m, (size_t)SUMS_ROWS * (size_t)k), *const b = room(m, (size_t)SUMS_COLUMNS * (size_t)k);
    float *const d = room(m, SUMS * sizeof *d), *const sum = calloc(SUMS, sizeof *sum);
    uint64_t random = (uint64_t)k + 1;
    bool good = false;
    cr_assert(sum);
    sums_fill(a, (size_t)SUMS_ROWS * (size_t)k, order == 0, &random);
    sums_fill(b, (size_t)SUMS_COLUMNS * (size_t)k, order == 0, &random);
    void *args[] = {(void *)(uintptr_t)&a, (void *)(uintptr_t)&b, &k, (void *)(uintptr_t)&d};
    for (int i = 0; i < listed; i++)
        if (!strcmp(list[i].name, name)) good = machine_launch(m, &list[i], grid, block, 0, args);
    cr_assert(good, "%s", machine_fault(m));
    sums_multiply(way, k, a, b, sum);
    cr_expect(!memcmp(sum, d, SUMS * sizeof *d), "%s, %d products, order %d", name, k, order);
    free(sum);
    machine_close(m);
}

Test(wgmma, long_sums_are_those_of_the_figure)
{
    static const int lengths[] = {128, 512, 4096};
    for (int i = 0; i < 3; i++)
        for (int order = 0; order < ORDERS; order++) {
            expect_long("multiplies_long", SUM_UNIT, lengths[i], order);
            expect_long("multiplies_long_promoted", SUM_PROMOTED, lengths[i], order);
        }
}

static void expect_fault(const char *name, bool left, int order, uint32_t threads, tensor_gpu gpu, const char *says)
{
    product const p = {name, CODE_BF16, 16, left ? NULL : "k 128 bf16", "k 128 bf16", .adds = true};
    work *const w = open_work(&p, order, gpu);
    cr_expect(!launch(w, threads), "%s, order %d: nothing was found", name, order);
    cr_expect(strstr(machine_fault(w->m), says), "%s", machine_fault(w->m));
    cr_expect(strstr(machine_fault(w->m), name), "%s", machine_fault(w->m));
    close_work(w);
}

Test(wgmma, mistakes_are_named)
{
    static const struct {
        const char *kernel, *says;
        bool left;
    } mistakes[] = {
        {"has_no_proxy_fence", "with no fence.proxy.async and barrier between"},
        {"has_no_barrier", " with no barrier between"},
        {"has_no_fence", "before every wgmma.fence"},
        {"does_not_wait", "it touches a register of a wgmma in flight"},
        {"does_not_commit", "it touches a register of a wgmma in flight"},
        {"fills_too_early", "it writes shared memory that a wgmma in flight reads"},
        {"last_warp_fills", "it writes "}, /* what is in flight, or what another thread read */
        {"one_warp_is_absent", "96 for their warp or warpgroup, 32 have returned"},
        {"has_another_descriptor", "another descriptor or scale-d"},
        {"returns_in_flight", "it returns with a wgmma in flight"},
        {"reads_what_is_not_filled", "shared memory that nobody wrote"},
        {"has_no_second_fence", "that was touched before: no wgmma.fence between"},
        {"has_another_shape", "of a wgmma in flight of another shape"},
        {"reads_the_second", "it touches a register of a wgmma in flight"},
        {"touches_the_left_factor", "it touches a register of a wgmma in flight", true},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
        for (int order = 0; order < ORDERS; order++)
            expect_fault(mistakes[i].kernel, mistakes[i].left, order, THREADS, GPU_HOPPER, mistakes[i].says);
}

Test(wgmma, half_a_warpgroup_has_none)
{
    expect_fault("multiplies_bf16", false, 0, 64, GPU_HOPPER, "isn't whole: the block has 64 threads");
}

Test(wgmma, only_hopper_has_it)
{
    static const tensor_gpu others[] = {GPU_AMPERE, GPU_ADA, GPU_BLACKWELL};
    for (int i = 0; i < 3; i++)
        expect_fault("multiplies_bf16", false, 0, THREADS, others[i], "only Hopper has wgmma: DSV3_CUDA_GPU=hopper");
}
