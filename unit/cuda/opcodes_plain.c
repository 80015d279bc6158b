/* Opcodes of opcodes_plain.ptx beside what NVIDIA's PTX ISA 9.0 says of each thread: 64 threads, 8 by 8, of whom 5 go a way of their own. */
#include "../../cuda/emu/runtime.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(opcodes_plain, .timeout = 60);

static const kernel *list;

/* In the place of the runtime's. */
void runtime_kernels(const kernel *k, int count)
{
    (void)count;
    list = k;
}

enum { THREADS = 64, WORDS = 32 };

static uint32_t out[THREADS][WORDS];

static void run(machine_order order)
{
    uint32_t const grid[3] = {1, 1, 1}, block[3] = {8, 8, 1};
    machine *const m = machine_open(order, GPU_AMPERE);
    void *at = machine_alloc(m, sizeof out), *args[] = {(void *)&at};
    cr_assert(machine_launch(m, &list[0], grid, block, 0, args), "%s", machine_fault(m));
    memcpy(out, at, sizeof out);
    machine_close(m);
}

static void expect(uint32_t t, int word, uint32_t right)
{
    cr_expect_eq(out[t][word], right, "thread %u, word %d: %08x, right is %08x", t, word, out[t][word], right);
}

/* What differs from thread to thread. */
static void expect_place(uint32_t t)
{
    uint32_t const lane = t % 32, row = t / 8 % 4;
    expect(t, 0, lane), expect(t, 1, t / 32), expect(t, 2, 2);
    expect(t, 3, 1u << lane);
    expect(t, 4, (uint32_t)((1ull << lane) - 1));
    expect(t, 5, ~(uint32_t)((1ull << lane) - 1));
    expect(t, 6, t < 5 ? 0x1f : t < 32 ? 0xffffffe0 : 0xffffffff); /* lanes of one way see each other */
    expect(t, 7, 0xffu << 8 * row);
    uint32_t zeros = 64;
    for (uint32_t v = t; v; v /= 2) zeros--;
    expect(t, 19, zeros);
}

/* What is alike: 64 increments that begin again after 9; then 4, and 64 steps down that begin again at 2. */
static void expect_all(uint32_t t)
{
    expect(t, 8, 0), expect(t, 9, 0), expect(t, 10, 0xffffffff);
    expect(t, 11, 5), expect(t, 12, 1), expect(t, 13, 0), expect(t, 14, 1);
    expect(t, 15, 1000u + 3 * 4 + 2 * 5 - 1 - 128 * 127);
    expect(t, 16, 1000u + 3 * 4 + 2 * 5 + 255 + 128 * 127);
    expect(t, 17, 17), expect(t, 18, 0xfffffff9 + 10);
    expect(t, 20, 64 % 10);
    expect(t, 21, 2);
    expect(t, 22, 0), expect(t, 23, 0x3fd55555); /* 1/3: what is below isn't there */
    expect(t, 24, 0), expect(t, 25, 0x7ff00000), expect(t, 26, 0), expect(t, 27, 0x3fe00000);
}

Test(opcodes_plain, are_those_of_the_isa)
{
    for (machine_order order = ORDER_UP; order <= ORDER_SHUFFLED; order++) {
        run(order);
        for (uint32_t t = 0; t < THREADS; t++) expect_place(t), expect_all(t);
    }
}

Test(opcodes_plain, functions_call_each_other)
{
    uint32_t const grid[3] = {1, 1, 1}, block[3] = {2, 1, 1};
    uint32_t depth = 20;
    machine *const m = machine_open(ORDER_UP, GPU_AMPERE);
    uint64_t *at = machine_alloc(m, 16);
    void *args[] = {(void *)&at, &depth};
    cr_assert(machine_launch(m, &list[1], grid, block, 0, args), "%s", machine_fault(m));
    cr_expect_eq(at[0], 20 * 21 / 2);
    cr_expect_eq((uint32_t)at[1], 77); /* of the caller's own array */
    depth = 1000000;
    cr_expect(!machine_launch(m, &list[1], grid, block, 0, args));
    cr_expect(strstr(machine_fault(m), "calls within calls need more than the thread's stack has"), "%s",
              machine_fault(m));
    machine_close(m);
}

Test(opcodes_plain, a_trap_ends_the_launch)
{
    uint32_t const grid[3] = {1, 1, 1}, block[3] = {64, 1, 1};
    uint32_t who = 41;
    machine *const m = machine_open(ORDER_UP, GPU_AMPERE);
    void *args[] = {&who};
    cr_expect(!machine_launch(m, &list[2], grid, block, 0, args));
    cr_expect(strstr(machine_fault(m), "thread (41, 0, 0): it traps"), "%s", machine_fault(m));
    who = 64;
    cr_expect(machine_launch(m, &list[2], grid, block, 0, args), "%s", machine_fault(m));
    machine_close(m);
}

Test(opcodes_plain, lent_memory_is_like_ones_own)
{
    static uint32_t memory[THREADS][WORDS];
    uint32_t const grid[3] = {1, 1, 1}, block[3] = {8, 8, 1};
    machine *const m = machine_open(ORDER_UP, GPU_AMPERE);
    uint32_t *at = memory[0];
    void *args[] = {(void *)&at};
    cr_expect(!machine_launch(m, &list[0], grid, block, 0, args));
    cr_assert(machine_lend(m, memory, sizeof memory));
    cr_expect(machine_launch(m, &list[0], grid, block, 0, args), "%s", machine_fault(m));
    cr_expect(!machine_free(m, memory));
    machine_close(m);
}
