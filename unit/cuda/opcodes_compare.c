/* Comparisons, min and max, clz, and parameters by a register, in what ptx2c makes of unit/cuda/opcodes_compare.ptx. What is right is
 * said by PTX ISA 9.0, here by how two numbers stand to each other. */
#include "../../cuda/emu/runtime.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

TestSuite(opcodes_compare, .timeout = 60);

static const kernel *list;
static int listed;

/* In the place of the runtime's. */
void runtime_kernels(const kernel *k, int count)
{
    list = k, listed = count;
}

static bool launch(machine *m, const char *name, uint32_t threads, void *const args[])
{
    uint32_t const grid[3] = {1, 1, 1}, block[3] = {threads, 1, 1};
    for (int i = 0; i < listed; i++)
        if (!strcmp(list[i].name, name)) return machine_launch(m, &list[i], grid, block, 0, args);
    cr_assert(false, "there is no kernel %s", name);
    return false;
}

typedef enum { BELOW, SAME, ABOVE, UNORDERED } relation;

/* equ neu ltu leu gtu geu num nan, the first in bit 0. */
static const uint32_t true_of[] = {[BELOW] = 0x4e, [SAME] = 0x69, [ABOVE] = 0x72, [UNORDERED] = 0xbf};

typedef struct {
    double a, b;
    relation is;
    double max, min;
} pair;

static const pair pairs[] = {
    {1, 2, BELOW, 2, 1},
    {2, 1, ABOVE, 2, 1},
    {-1, -2, ABOVE, -1, -2},
    {3, 3, SAME, 3, 3},
    {-0.0, 0.0, SAME, 0.0, -0.0},
    {0.0, -0.0, SAME, 0.0, -0.0},
    {-0.0, -0.0, SAME, -0.0, -0.0},
    {INFINITY, 0x1.fffffep127, ABOVE, INFINITY, 0x1.fffffep127},
    {-INFINITY, INFINITY, BELOW, INFINITY, -INFINITY},
    {INFINITY, INFINITY, SAME, INFINITY, INFINITY},
    {0x1p-149, 0, ABOVE, 0x1p-149, 0},
    {NAN, 5, UNORDERED, 5, 5},
    {-0.0, NAN, UNORDERED, -0.0, -0.0},
    {NAN, -INFINITY, UNORDERED, -INFINITY, -INFINITY},
    {NAN, NAN, UNORDERED, NAN, NAN},
};

enum { PAIRS = sizeof pairs / sizeof *pairs };

/* The same number, of zeros the same one. */
static bool is_same(double a, double b)
{
    return a != a ? b != b : a == b && !signbit(a) == !signbit(b);
}

static double number_at(const uint8_t *at, bool wide)
{
    float narrow;
    double v;
    memcpy(&narrow, at, sizeof narrow), memcpy(&v, at, sizeof v);
    return wide ? v : (double)narrow;
}

static void check_floats(const char *name, bool wide)
{
    machine *const m = machine_open(ORDER_UP, GPU_AMPERE);
    void *const a = machine_alloc(m, PAIRS * 8), *const b = machine_alloc(m, PAIRS * 8);
    uint8_t *const out = machine_alloc(m, (size_t)PAIRS * 24);
    for (int i = 0; i < PAIRS; i++)
        if (wide)
            ((double *)a)[i] = pairs[i].a, ((double *)b)[i] = pairs[i].b;
        else
            ((float *)a)[i] = (float)pairs[i].a, ((float *)b)[i] = (float)pairs[i].b;
    const void *const at[] = {a, b, out};
    void *args[] = {(void *)(uintptr_t)&at[0], (void *)(uintptr_t)&at[1], (void *)(uintptr_t)&at[2]};
    cr_assert(launch(m, name, PAIRS, args), "%s", machine_fault(m));
    for (int i = 0; i < PAIRS; i++) {
        const uint8_t *const got = out + (size_t)i * 24;
        uint32_t said;
        memcpy(&said, got, sizeof said);
        cr_expect_eq(said, true_of[pairs[i].is], "%s, pair %d: %02x", name, i, said);
        cr_expect(is_same(number_at(got + 8, wide), pairs[i].max), "%s, pair %d: max", name, i);
        cr_expect(is_same(number_at(got + 16, wide), pairs[i].min), "%s, pair %d: min", name, i);
    }
    machine_close(m);
}

Test(opcodes_compare, floats_compare_as_the_isa_says)
{
    check_floats("compares_f32", false);
    check_floats("compares_f64", true);
}

Test(opcodes_compare, whole_numbers_have_signs_and_leading_zeros)
{
    enum { N = 5 };
    static const uint32_t a[N] = {0, 1, 0x80000000, 0xffffffff, 0x00012345}, b[N] = {0, 0xfffffffe, 3, 1, 0x00012346},
                          right[N][5] = {{0, 0, 0, 0, 32},
                                         {1, 0xfffffffe, 0xfffffffe, 1, 31},
                                         {3, 0x80000000, 0x80000000, 3, 0},
                                         {1, 0xffffffff, 0xffffffff, 1, 0},
                                         {0x12346, 0x12345, 0x12346, 0x12345, 15}};
    machine *const m = machine_open(ORDER_UP, GPU_AMPERE);
    void *const in[2] = {machine_alloc(m, sizeof a), machine_alloc(m, sizeof b)};
    uint32_t(*const out)[6] = machine_alloc(m, N * sizeof *out);
    const void *const at[] = {in[0], in[1], out};
    void *args[] = {(void *)(uintptr_t)&at[0], (void *)(uintptr_t)&at[1], (void *)(uintptr_t)&at[2]};
    memcpy(in[0], a, sizeof a), memcpy(in[1], b, sizeof b);
    cr_assert(launch(m, "compares_whole", N, args), "%s", machine_fault(m));
    for (int i = 0; i < N; i++) cr_expect_arr_eq(out[i], right[i], sizeof right[i], "pair %d", i);
    machine_close(m);
}

/* Eight numbers as a parameter, one of which each thread asks for. */
static bool pick(machine *m, const int32_t *which, uint32_t threads, uint32_t *picked)
{
    static const uint32_t items[8] = {70, 71, 72, 73, 74, 75, 76, 77};
    int32_t *const at = machine_alloc(m, threads * sizeof *at);
    uint32_t *const out = machine_alloc(m, threads * sizeof *out);
    void *args[] = {(void *)(uintptr_t)&at, (void *)(uintptr_t)&out, (void *)(uintptr_t)items};
    memcpy(at, which, threads * sizeof *at);
    bool const right = launch(m, "picks_parameters", threads, args);
    memcpy(picked, out, threads * sizeof *picked);
    return right;
}

Test(opcodes_compare, parameters_are_read_by_a_register_and_no_others)
{
    static const int32_t order[4] = {7, 0, 3, 7}, beyond[2] = {0, 8}, before[1] = {-5};
    uint32_t got[4];
    machine *const m = machine_open(ORDER_UP, GPU_AMPERE);
    cr_assert(pick(m, order, 4, got), "%s", machine_fault(m));
    for (int i = 0; i < 4; i++) cr_expect_eq(got[i], (uint32_t)(70 + order[i]));
    cr_expect(!pick(m, beyond, 2, got));
    cr_expect(strstr(machine_fault(m), "thread (1, 0, 0): read of 4 bytes at 48 of its parameters, which have 48"),
              "%s", machine_fault(m));
    cr_expect(!pick(m, before, 1, got) && strstr(machine_fault(m), "of its parameters"), "%s", machine_fault(m));
    machine_close(m);
}
