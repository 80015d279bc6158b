/* Opcodes of opcodes_others.ptx beside values worked out by hand from NVIDIA's PTX ISA 9.0; half formats beside all of their values. */
#include "../../cuda/emu/opcodes.h"
#include "../../cuda/emu/runtime.h"

#include <criterion/criterion.h>
#include <stdlib.h>

TestSuite(opcodes_others, .timeout = 60);

static const kernel *list;
static int listed;

/* In the place of the runtime's. */
void runtime_kernels(const kernel *k, int count)
{
    list = k, listed = count;
}

static size_t arrays;

void runtime_memory(const char *name, void *memory, size_t bytes)
{
    (void)name, (void)memory;
    arrays += bytes;
}

/* In the order of the kernel. */
/* clang-format off */
enum { EX2, LG2, RCP, RCP_RN, RSQRT, SQRT, SIN, COS, TANH, DIV, DIV_FULL, ADD_FTZ, MUL_SAT, FMA_FTZ_SAT, ADD_RZ, SUB_RM, MUL_RP,
       FMA_RM, FMA_RP, COPYSIGN, LT_FTZ, CVT_SAT, RNI, RMI, S32_RZI, S32_RNI, S32_RPI, U32_RMI, F16, OF_F16, BF16X2, F16X2,
       FMA_BF16X2, ADD_F16X2, SUB_F16X2, MUL_F16X2, FMA_F16X2, NEG_BF16X2, ABS, POPC, BREV, MUL_HI_S, MUL_HI_U, MAD_HI_U, BFE_U,
       BFE_S, SHF_L, SHF_R, LOP3, BFIND, SHIFTAMT, BARE, OPCODES };
/* clang-format on */

#define ONE  0x3f800000
#define TWO  0x40000000
#define NEXT 0x3f800001 /* 1 + 2^-23 */
#define TINY 0x00000001
#define INF  0x7f800000
#define NANS 0x7fc00000

static const struct {
    int opcode;
    uint32_t in[3], out;
} known[] = {
    {EX2, {0x40400000}, 0x41000000}, /* 2^3 */
    {EX2, {0xc3160000}, 0},          /* 2^-150: flushed */
    {LG2, {0x41000000}, 0x40400000},
    {LG2, {0}, 0xff800000},
    {RCP, {0x40800000}, 0x3e800000},
    {RCP, {TINY}, INF}, /* flushed to 0 first */
    {RCP_RN, {0x40400000}, 0x3eaaaaab},
    {RCP_RN, {0x80000000}, 0xff800000},
    {RSQRT, {0x40800000}, 0x3f000000},
    {RSQRT, {0}, INF},
    {SQRT, {0x41100000}, 0x40400000},
    {SIN, {0}, 0},
    {COS, {0}, ONE},
    {TANH, {INF}, ONE},
    {DIV, {ONE, 0x40400000}, 0x3eaaaaab},
    {DIV_FULL, {ONE, TWO}, 0x3f000000},
    {ADD_FTZ, {TINY, 0x00800000}, 0x00800000},
    {ADD_FTZ, {0x00800001, 0x80800000}, 0}, /* what comes out is subnormal */
    {MUL_SAT, {TWO, TWO}, ONE},
    {MUL_SAT, {TWO, 0xbf800000}, 0},
    {MUL_SAT, {NANS, ONE}, 0},
    {FMA_FTZ_SAT, {0x3f000000, 0x3f000000, 0x3e800000}, 0x3f000000},
    {ADD_RZ, {ONE, 0xb3000000}, 0x3f7fffff}, /* 1 - 2^-25 */
    {SUB_RM, {ONE, 0x30000000}, 0x3f7fffff},
    {MUL_RP, {NEXT, NEXT}, 0x3f800003},
    {FMA_RM, {NEXT, NEXT, 0}, 0x3f800002},
    {FMA_RP, {NEXT, NEXT, 0}, 0x3f800003},
    {FMA_RM, {ONE, ONE, 0xbf800000}, 0x80000000}, /* down, an exact 0 is -0 */
    {COPYSIGN, {0x80000000, ONE}, 0xbf800000},
    {LT_FTZ, {0, TINY}, 0},
    {LT_FTZ, {ONE, TWO}, 1},
    {CVT_SAT, {0x40400000}, ONE},
    {CVT_SAT, {0xbf000000}, 0},
    {RNI, {0x40200000}, TWO}, /* 2.5 */
    {RMI, {0xbf000000}, 0xbf800000},
    {S32_RZI, {0xc0200000}, 0xfffffffe},
    {S32_RZI, {0x4f000000}, 0x7fffffff}, /* 2^31 */
    {S32_RZI, {NANS}, 0},
    {S32_RNI, {0x40200000}, 2},
    {S32_RPI, {0x40200000}, 3},
    {U32_RMI, {0xbf000000}, 0},
    {U32_RMI, {0x4f800000}, 0xffffffff},
    {F16, {0x3f801000}, 0x3c00}, /* 1 + 2^-11: a tie, to even */
    {F16, {0x3f803000}, 0x3c02},
    {F16, {0x477ff000}, 0x7c00}, /* 65520 */
    {OF_F16, {0xc000}, 0xc0000000},
    {BF16X2, {ONE, TWO}, 0x3f804000}, /* the first is the upper half */
    {F16X2, {ONE, TWO}, 0x3c004000},
    {FMA_BF16X2, {0x3f804000, 0x40404040, 0x3f803f80}, 0x408040e0},
    {ADD_F16X2, {0x3c004000, 0x3c003c00}, 0x40004200},
    {SUB_F16X2, {0x3c004000, 0x3c003c00}, 0x00003c00},
    {MUL_F16X2, {0x40004200, 0x40004000}, 0x44004600},
    {FMA_F16X2, {0x3c013c01, 0x3c013c01, 0x00000001}, 0x3c023c02},
    {NEG_BF16X2, {0x3f80c000}, 0xbf804000},
    {ABS, {0xfffffffb}, 5},
    {POPC, {0xf0f00001}, 9},
    {BREV, {0x80000001}, 0x80000001},
    {BREV, {0x0000000f}, 0xf0000000},
    {MUL_HI_S, {0xffffffff, 2}, 0xffffffff},
    {MUL_HI_U, {0xffffffff, 2}, 1},
    {MAD_HI_U, {0xffffffff, 2, 5}, 6},
    {BFE_U, {0x00000f00, 8, 4}, 0xf},
    {BFE_S, {0x00000f00, 8, 4}, 0xffffffff},
    {BFE_S, {0x00000700, 8, 4}, 7},
    {BFE_U, {0xffffffff, 4, 0}, 0},
    {SHF_L, {0x80000000, 0x00000001, 1}, 3},
    {SHF_R, {0x80000000, 0x00000001, 1}, 0xc0000000},
    {SHF_L, {0x12345678, 0x9abcdef0, 32}, 0x9abcdef0},
    {LOP3, {0xffff0000, 0x12345678, 0x9abcdef0}, 0x1234def0}, /* a ? b : c */
    {BFIND, {0x00010000}, 16},
    {BFIND, {0}, 0xffffffff},
    {SHIFTAMT, {0x00010000}, 15},
    {BARE, {1}, 0x80008001},
};

enum { KNOWN = sizeof known / sizeof *known, BYTES = 1 << 16 };

/* The output of one block over so many words. */
static const uint32_t *run(machine *m, int which, uint32_t threads, const uint32_t *in, size_t words)
{
    uint32_t const grid[3] = {1, 1, 1}, block[3] = {threads, 1, 1};
    void *from = machine_alloc(m, words * sizeof *in), *to = machine_alloc(m, BYTES), *args[] = {&from, &to};
    cr_assert(listed == 3 && from && to);
    memcpy(from, in, words * sizeof *in), memset(to, 0, BYTES);
    cr_assert(machine_launch(m, &list[which], grid, block, 0, args), "%s", machine_fault(m));
    return to;
}

Test(opcodes_others, are_what_the_isa_says)
{
    uint32_t in[KNOWN][3];
    machine *const m = machine_open(ORDER_UP, GPU_AMPERE);
    for (int i = 0; i < KNOWN; i++) memcpy(in[i], known[i].in, sizeof *in);
    const uint32_t *const out = run(m, 0, KNOWN, *in, 3 * KNOWN);
    for (int i = 0; i < KNOWN; i++) {
        uint32_t const got = out[i * OPCODES + known[i].opcode];
        cr_expect_eq(got, known[i].out, "%d, opcode %d: %08x, right is %08x", i, known[i].opcode, got, known[i].out);
    }
    machine_close(m);
}

Test(opcodes_others, warps)
{
    for (int order = 0; order < 3; order++) {
        uint32_t in[32];
        machine *const m = machine_open((machine_order)order, GPU_AMPERE);
        for (int i = 0; i < 32; i++) in[i] = (uint32_t)(i - 3); /* -3 to 28; more than 10 from lane 14 on */
        const uint32_t *const out = run(m, 1, 32, in, 32);
        float sum;
        memcpy(&sum, out, sizeof sum);
        cr_expect_eq(sum, 400, "order %d: atomics give %g", order, (double)sum);
        cr_expect(out[1] >= 1 && (order != ORDER_UP || out[1] == 32), "order %d: swaps give %u", order, out[1]);
        static const uint32_t right[] = {0xffffc000, 1, 0, 400, (uint32_t)-3, 0xffffffff};
        uint32_t all = 0;
        for (int i = 0; i < 32; i++) all ^= in[i];
        for (int lane = 0; lane < 32; lane++) {
            const uint32_t *const of = out + 8 + 8 * lane;
            for (int k = 0; k < 6; k++)
                cr_expect_eq(of[k], right[k], "order %d, lane %d, %d: %08x", order, lane, k, of[k]);
            cr_expect_eq(of[6], all);
        }
        machine_close(m);
    }
}

/* in[thread] is where it reads its own array of 16 bytes, of which it wrote the second word. */
Test(opcodes_others, arrays_of_threads_and_files)
{
    static const uint32_t in[] = {4, 0, 12, 4};
    machine *const m = machine_open(ORDER_UP, GPU_AMPERE);
    cr_expect_eq(arrays, 12);
    for (uint32_t before = 0; before < 8; before += 4) {
        const uint32_t *const out = run(m, 2, 4, in, 4);
        for (uint32_t t = 0; t < 4; t++) {
            cr_expect_eq(out[4 * t], in[t] == 4 ? t : 0xffffffff, "thread %u: %08x", t, out[4 * t]);
            cr_expect_eq(out[4 * t + 1], ONE);
            cr_expect_eq(out[4 * t + 2], 0);
            cr_expect_eq(out[4 * t + 3], before + t + 1, "a variable of the file keeps its value: %u", out[4 * t + 3]);
        }
    }
    machine_close(m);
}

Test(opcodes_others, own_arrays_have_ends)
{
    for (uint32_t at = 13; at < 20; at++) {
        uint32_t const grid[3] = {1, 1, 1}, block[3] = {1, 1, 1};
        machine *const m = machine_open(ORDER_UP, GPU_AMPERE);
        uint32_t *const from = machine_alloc(m, sizeof at);
        void *to = machine_alloc(m, 16), *args[] = {(void *)(uintptr_t)&from, &to};
        *from = at;
        cr_expect(!machine_launch(m, &list[2], grid, block, 0, args), "%u", at);
        cr_expect(strstr(machine_fault(m), "read of 4 bytes outside every allocation"), "%s", machine_fault(m));
        machine_close(m);
    }
}

/* Of neighbours the middle goes to the even one, and what is a little beside it to the nearer. */
static void check_middle(uint16_t code, float a, float b, uint16_t (*make)(double))
{
    double const middle = ((double)a + (double)b) / 2, step = ((double)b - (double)a) / 1024;
    cr_expect_eq(make(middle), code & 1 ? code + 1 : code, "%04x", code);
    cr_expect_eq(make(middle - step), code, "%04x", code);
    cr_expect_eq(make(middle + step), code + 1, "%04x", code);
    cr_expect_eq(make((double)a), code, "%04x", code);
}

Test(opcodes_others, half_formats_round_once)
{
    for (uint32_t c = 0; c < 0x7bff; c++)
        check_middle((uint16_t)c, of_half((uint16_t)c), of_half((uint16_t)(c + 1)), half_of);
    for (uint32_t c = 0x80; c < 0x7f7f; c++)
        check_middle((uint16_t)c, of_bf16((uint16_t)c), of_bf16((uint16_t)(c + 1)), bf16_of_double);
    cr_expect_eq(half_of(-0.0), 0x8000);
    cr_expect_eq(half_of((double)NAN), 0x7fff);
    /* (1 + 2^-7)^2 + 2^-60: a hair above the middle of two numbers of 8 bits plus 2^-14: the hair alone decides nothing here, */
    cr_expect_eq(bf16_of_double(odd_fma(1.0078125, 1.0078125, 0x1p-60)), 0x3f82);
    /* and here, 1 + 2^-8 + 2^-60, it decides. */
    cr_expect_eq(bf16_of_double(odd_fma(1, 1.00390625, 0x1p-60)), 0x3f81);
    cr_expect_eq(bf16_of_double(odd_fma(1, 1.00390625, -0x1p-60)), 0x3f80);
}
