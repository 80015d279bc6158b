/* Opcodes of opcodes_gate.ptx beside values worked out by hand from NVIDIA's PTX ISA 9.0, and what races with atomics. */
#include "../../cuda/emu/runtime.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(opcodes_gate, .timeout = 60);

enum { THREADS = 64, ORDERS = 3, BYTES = 4096 };

static const kernel *list;
static int listed;

/* In the place of the runtime's. */
void runtime_kernels(const kernel *k, int count)
{
    list = k, listed = count;
}

static const kernel *find(const char *name)
{
    for (int i = 0; i < listed; i++)
        if (!strcmp(list[i].name, name)) return &list[i];
    cr_assert(false, "there is no kernel %s", name);
    abort();
}

/* Copies `in`, runs one block over it and copies `out`, BYTES of it, both ways. False: what the machine says is in `fault`. */
static bool run(const char *name, int order, uint32_t threads, const void *in, size_t bytes, void *out, char fault[600])
{
    uint32_t const grid[3] = {1, 1, 1}, block[3] = {threads, 1, 1};
    machine *const m = machine_open((machine_order)order, GPU_AMPERE);
    cr_assert(m);
    void *from = machine_alloc(m, bytes), *to = machine_alloc(m, BYTES), *args[] = {&from, &to};
    cr_assert(from && to);
    memcpy(from, in, bytes), memcpy(to, out, BYTES);
    bool const ran = machine_launch(m, find(name), grid, block, 0, args);
    memcpy(out, to, BYTES);
    snprintf(fault, 600, "%s", machine_fault(m));
    machine_close(m);
    return ran;
}

/* max and min in bits; equ neu ltu leu gtu geu num nan. */
static const struct {
    uint32_t a, b, max, min;
    const char *holds;
} floats[] = {
    {0x3f800000, 0x40000000, 0x40000000, 0x3f800000, "01110010"}, /* 1, 2 */
    {0x40000000, 0xbf800000, 0x40000000, 0xbf800000, "01001110"}, /* 2, -1 */
    {0x40400000, 0x40400000, 0x40400000, 0x40400000, "10010110"}, /* 3, 3 */
    {0x80000000, 0x00000000, 0x00000000, 0x80000000, "10010110"}, /* -0, +0 */
    {0x00000000, 0x80000000, 0x00000000, 0x80000000, "10010110"}, /* +0, -0 */
    {0x00000001, 0x80000001, 0x00000001, 0x80000001, "01001110"}, /* subnormal */
    {0xff800000, 0x7f800000, 0x7f800000, 0xff800000, "01110010"}, /* -infinity, infinity */
    {0x7fc00000, 0x3f800000, 0x3f800000, 0x3f800000, "11111101"}, /* NaN, 1 */
    {0xff800000, 0xffc00001, 0xff800000, 0xff800000, "11111101"}, /* -infinity, NaN */
    {0xffc00001, 0x7fc00002, 0x7fffffff, 0x7fffffff, "11111101"}, /* NaN, NaN */
};

Test(opcodes_gate, comparisons_of_floats)
{
    enum { N = sizeof floats / sizeof *floats };
    static const char *const names[] = {"equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};
    uint32_t in[2 * N], out[BYTES / 4] = {0};
    char fault[600];
    for (int i = 0; i < N; i++) in[2 * i] = floats[i].a, in[2 * i + 1] = floats[i].b;
    cr_assert(run("floats", ORDER_UP, N, in, sizeof in, out, fault), "%s", fault);
    for (int i = 0; i < N; i++) {
        const uint32_t *const of = out + 10 * i;
        cr_expect_eq(of[0], floats[i].max, "%d: max is %08x", i, of[0]);
        cr_expect_eq(of[1], floats[i].min, "%d: min is %08x", i, of[1]);
        for (int c = 0; c < 8; c++)
            cr_expect_eq(of[2 + c], (uint32_t)(floats[i].holds[c] - '0'), "%d: setp.%s is %u", i, names[c], of[2 + c]);
    }
}

/* a and b; div, rem, min and max, in 64 bits. */
static const struct {
    const char *kernel;
    int bytes;
    int64_t in[2], right[4];
} whole[] = {
    {"whole_s32", 4, {7, -2}, {-3, 1, -2, 7}},
    {"whole_s32", 4, {-7, 2}, {-3, -1, -7, 2}},
    {"whole_s32", 4, {INT32_MIN, -1}, {INT32_MIN, 0, INT32_MIN, -1}},
    {"whole_u32", 4, {0xfffffff9, 2}, {0x7ffffffc, 1, 2, 0xfffffff9}},
    {"whole_s64", 8, {-7, 2}, {-3, -1, -7, 2}},
    {"whole_s64", 8, {(1LL << 40) + 1, 1LL << 20}, {1 << 20, 1, 1 << 20, (1LL << 40) + 1}},
    {"whole_s64", 8, {INT64_MIN, -1}, {INT64_MIN, 0, INT64_MIN, -1}},
    {"whole_u64", 8, {-1, 10}, {1844674407370955161, 5, 10, -1}},
};

Test(opcodes_gate, whole_numbers)
{
    static const char *const names[] = {"div", "rem", "min", "max"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        size_t const bytes = (size_t)whole[i].bytes;
        uint8_t in[16], out[BYTES] = {0};
        char fault[600];
        for (size_t k = 0; k < 2; k++) memcpy(in + k * bytes, &whole[i].in[k], bytes);
        cr_assert(run(whole[i].kernel, ORDER_UP, 1, in, 2 * bytes, out, fault), "%s", fault);
        for (size_t k = 0; k < 4; k++)
            cr_expect(!memcmp(out + k * bytes, &whole[i].right[k], bytes), "%s, %zu: %s", whole[i].kernel, i, names[k]);
    }
}

/* Words that all threads changed, and what atom.exch gave each. */
typedef struct {
    uint32_t add, and, or, xor;
    int32_t min, max;
    uint32_t umin, umax;
    uint64_t wide;
    uint32_t last, were[THREADS];
} changed;

static changed before(void)
{
    return (changed){.and = 0xffffffff, .max = INT32_MIN, .min = INT32_MAX, .umin = 0xffffffff, .last = 1000};
}

static void change(changed *c, uint32_t v)
{
    int32_t const s = (int32_t)v;
    c->add += v, c->and &= v, c->or |= v, c->xor ^= v, c->wide += (uint64_t)(int64_t)s;
    if (s < c->min) c->min = s;
    if (s > c->max) c->max = s;
    if (v < c->umin) c->umin = v;
    if (v > c->umax) c->umax = v;
}

Test(opcodes_gate, atomics_change_words)
{
    uint32_t v[THREADS];
    changed right = before();
    for (uint32_t t = 0; t < THREADS; t++) v[t] = 0x40000010 + (t - 40) * 0x2000000 + t, change(&right, v[t]);
    for (int order = 0; order < ORDERS; order++) {
        union {
            changed is;
            uint8_t bytes[BYTES];
        } out = {before()};
        char fault[600];
        cr_assert(run("atomics", order, THREADS, v, sizeof v, &out, fault), "%s", fault);
        cr_expect(!memcmp(&out, &right, offsetof(changed, last)), "order %d", order);
        uint32_t left = out.is.last, first = 0; /* each number was there once */
        for (uint32_t t = 0; t < THREADS; t++) left += out.is.were[t] - v[t], first += out.is.were[t] == 1000;
        cr_expect_eq(left, 1000, "order %d: what atom.exch gave adds up to %u", order, left);
        cr_expect_eq(first, 1, "order %d: 1000 was there %u times", order, first);
    }
}

/* Threads count into the words that `in` names; each sees another number before. */
static void check_counts(const char *name, const uint32_t in[THREADS], bool sees)
{
    for (int order = 0; order < ORDERS; order++) {
        uint32_t right[THREADS] = {0}, out[BYTES / 4] = {0};
        uint64_t seen[THREADS] = {0};
        char fault[600];
        for (int t = 0; t < THREADS; t++) right[in[t]]++;
        cr_assert(run(name, order, THREADS, in, THREADS * sizeof *in, out, fault), "%s", fault);
        for (int t = 0; t < THREADS; t++) cr_expect_eq(out[t], right[t], "%s, order %d, word %d", name, order, t);
        for (int t = 0; t < THREADS && sees; t++) seen[in[t]] |= 1ULL << out[THREADS + t];
        for (int t = 0; t < THREADS && sees; t++)
            cr_expect_eq(seen[t], (1ULL << right[t]) - 1, "%s, order %d, word %d", name, order, t);
    }
}

Test(opcodes_gate, atomics_count_in_every_order)
{
    uint32_t any[THREADS], own[THREADS]; /* words of any warp's threads; of one's own warp */
    for (uint32_t t = 0; t < THREADS; t++) any[t] = t * t % 7, own[t] = t / 32 * 32 + t % 5;
    check_counts("counts", any, true);
    check_counts("counts_by_warps", own, false);
}

/* Behind a barrier of its warp one thread has the word to itself. */
Test(opcodes_gate, a_meeting_parts_atomics_of_a_warp)
{
    for (int order = 0; order < ORDERS; order++) {
        uint32_t in[THREADS], out[BYTES / 4] = {0};
        char fault[600];
        for (uint32_t t = 0; t < THREADS; t++) in[t] = t / 2;
        cr_assert(run("last_adds_once_more", order, THREADS, in, sizeof in, out, fault), "%s", fault);
        cr_expect_eq(out[0], 3, "order %d: %u", order, out[0]);
    }
}

/* Thread t adds to word t / 2, (t + 1) mod 32 or t mod 32. What is said in the order of the threads' numbers. */
typedef enum { HALF, NEXT, MOD } way;

static const struct {
    const char *kernel;
    way way;
    const char *says;
} mistakes[] = {
    {"adds_before_anybody_wrote", HALF, "it reads shared memory that nobody wrote"},
    {"lacks_barrier_before_atomics", HALF, "race: an atomic on what thread 0 wrote"},
    {"lacks_barrier_behind_own_atomic", HALF, "race: an atomic on what thread 0 wrote"},
    {"lacks_barrier_behind_atomics", NEXT, "race: it reads what an atomic of thread 0 changed"},
    {"writes_over_atomics", NEXT, "race: it writes what an atomic of thread 0 changed"},
    {"adds_to_what_others_read", HALF, "race: an atomic on what thread 0 read"},
    {"last_reads_its_own", HALF, "race: it reads what an atomic of thread 63 changed"},
    {"last_reads_its_own", MOD, "race: it reads what an atomic of thread 63 changed"},
    {"last_reads_behind_its_warp", MOD, "race: it reads what an atomic of thread 63 changed"},
    {"lacks_warp_barrier_before_atomics", HALF, "race: an atomic on what thread 0 wrote"}, /* shuffles order nothing */
    {"last_reads_behind_a_shuffle", HALF, "race: it reads what an atomic of thread 63 changed"},
};

Test(opcodes_gate, races_with_atomics_are_named)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
        for (int order = 0; order < ORDERS; order++) {
            uint32_t in[THREADS], out[BYTES / 4] = {0};
            char fault[600];
            for (uint32_t t = 0; t < THREADS; t++)
                in[t] = mistakes[i].way == HALF ? t / 2 : (mistakes[i].way == NEXT ? t + 1 : t) % 32;
            cr_expect(!run(mistakes[i].kernel, order, THREADS, in, sizeof in, out, fault), "%s", mistakes[i].kernel);
            cr_expect(order != ORDER_UP || strstr(fault, mistakes[i].says), "%s, %d: %s", mistakes[i].kernel,
                      mistakes[i].way, fault);
            cr_expect(strstr(fault, mistakes[i].kernel) && strstr(fault, "opcodes_gate.ptx:"), "%s", fault);
        }
}
