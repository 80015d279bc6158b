/* The number formats of the machine (cuda/emu), of the kernels and of ref beside NVIDIA's: the host's code in cuda_bf16.h, cuda_fp16.h
 * and cuda_fp8.h. Of binary32 by 16 bits: all upper halves with each lower half in which or beside which a rounding can turn;
 * --all: all 2^32. Back: all codes. A line for each conversion; the exit code is 1 if one differs. */
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#define _Static_assert static_assert /* C11 by its name in C++ */
extern "C" {
#include "../../cuda/emu/translated.h"
#include "../../ref/ref.h"
}

/* What of CUDA e4m3.cuh has. */
static float __uint_as_float(uint32_t bits)
{
    return of_bits_f32(bits);
}

static uint32_t __float_as_uint(float v)
{
    return bits_of_f32(v);
}

#include "../../cuda/e4m3.cuh"

/* ---- NVIDIA's ---- */

static uint32_t their_bf16(double v)
{
    return __nv_bfloat16_raw(__float2bfloat16_rn((float)v)).x;
}

static uint32_t their_bf16_of_double(double v)
{
    return __nv_bfloat16_raw(__double2bfloat16(v)).x;
}

static uint32_t their_f16(double v)
{
    return __half_raw(__float2half_rn((float)v)).x;
}

static uint32_t their_f16_of_double(double v)
{
    return __half_raw(__double2half(v)).x;
}

static uint32_t their_e4m3(double v)
{
    return __nv_cvt_float_to_fp8((float)v, __NV_SATFINITE, __NV_E4M3);
}

static float their_of_bf16(uint32_t code)
{
    __nv_bfloat16_raw raw;
    raw.x = (unsigned short)code;
    return __bfloat162float(raw);
}

static float their_of_f16(uint32_t code)
{
    __half_raw raw;
    raw.x = (unsigned short)code;
    return __half2float(raw);
}

static float their_of_e4m3(uint32_t code)
{
    return __half2float(__nv_cvt_fp8_to_halfraw((__nv_fp8_storage_t)code, __NV_E4M3));
}

static float their_of_e5m2(uint32_t code)
{
    return __half2float(__nv_cvt_fp8_to_halfraw((__nv_fp8_storage_t)code, __NV_E5M2));
}

/* ---- ours ---- */

static uint32_t our_bf16(double v)
{
    return bf16_of((float)v);
}

static uint32_t our_bf16_of_double(double v)
{
    return bf16_of_double(v);
}

static uint32_t our_f16(double v)
{
    return half_of(v);
}

static uint32_t kernels_e4m3(double v)
{
    return to_e4m3((float)v);
}

template <dsv3_dtype FORMAT> static uint32_t ref_code(double v)
{
    uint16_t code = 0;
    ref_encode(FORMAT, &code, 0, v);
    return code;
}

static float our_of_bf16(uint32_t code)
{
    return of_bf16((uint16_t)code);
}

static float our_of_f16(uint32_t code)
{
    return of_half((uint16_t)code);
}

static float kernels_bf16_of_e4m3(uint32_t code)
{
    return of_bf16(bf16_of_e4m3(code));
}

template <dsv3_dtype FORMAT> static float ref_value_of(uint32_t code)
{
    uint16_t const bits = (uint16_t)code;
    return (float)ref_decode(FORMAT, &bits, 0);
}

/* The code times 1 by the matrix unit. */
template <tensor_code CODE, uint16_t ONE, int K> static float unit_value_of(uint32_t code)
{
    tensor_unit const u = {GPU_BLACKWELL, CODE, K, false};
    uint8_t a[TENSOR_DEPTH] = {(uint8_t)code, (uint8_t)(code >> 8)}, b[TENSOR_DEPTH] = {(uint8_t)ONE, ONE >> 8};
    uint32_t c = 0;
    tensor_multiply(&u, 1, 1, a, b, &c, &c);
    return of_bits_f32(c);
}

/* ---- the comparison ---- */

/* An instruction's result is NVIDIA's to the bit. Of others any NaN will do; of a sum, any zero. */
enum likeness { TO_THE_BIT, ANY_NAN, ANY_NAN_OR_ZERO };

struct narrowing {
    const char *name;
    uint32_t (*ours)(double), (*theirs)(double);
    bool (*is_nan)(uint32_t);
    likeness like;
    bool of_double;
};

struct widening {
    const char *name;
    int codes;
    float (*ours)(uint32_t), (*theirs)(uint32_t);
    likeness like;
};

static bool is_nan_bf16(uint32_t code)
{
    return (code & 0x7fff) > 0x7f80;
}

static bool is_nan_f16(uint32_t code)
{
    return (code & 0x7fff) > 0x7c00;
}

static bool is_nan_e4m3(uint32_t code)
{
    return (code & 0x7f) == 0x7f;
}

static narrowing const narrowings[] = {
    {"cvt.rn.bf16.f32 of the machine", our_bf16, their_bf16, is_nan_bf16, TO_THE_BIT, false},
    {"cvt.rn.f16.f32 of the machine", our_f16, their_f16, is_nan_f16, TO_THE_BIT, false},
    {"bf16 of a double, in the machine's sums of bf16", our_bf16_of_double, their_bf16_of_double, is_nan_bf16,
     TO_THE_BIT, true},
    {"f16 of a double, in the machine's sums of f16", our_f16, their_f16_of_double, is_nan_f16, TO_THE_BIT, true},
    {"e4m3 of quant", kernels_e4m3, their_e4m3, is_nan_e4m3, ANY_NAN, false},
    {"bf16 of ref", ref_code<DSV3_BF16>, their_bf16, is_nan_bf16, ANY_NAN, false},
    {"e4m3 of ref", ref_code<DSV3_F8_E4M3>, their_e4m3, is_nan_e4m3, ANY_NAN, false},
};

static widening const widenings[] = {
    {"cvt.f32.bf16 of the machine", 1 << 16, our_of_bf16, their_of_bf16, TO_THE_BIT},
    {"cvt.f32.f16 of the machine", 1 << 16, our_of_f16, their_of_f16, TO_THE_BIT},
    {"bf16 in the matrix unit", 1 << 16, unit_value_of<CODE_BF16, 0x3f80, 16>, their_of_bf16, ANY_NAN_OR_ZERO},
    {"f16 in the matrix unit", 1 << 16, unit_value_of<CODE_F16, 0x3c00, 16>, their_of_f16, ANY_NAN_OR_ZERO},
    {"e4m3 in the matrix unit", 1 << 8, unit_value_of<CODE_E4M3, 0x38, 32>, their_of_e4m3, ANY_NAN_OR_ZERO},
    {"e5m2 in the matrix unit", 1 << 8, unit_value_of<CODE_E5M2, 0x3c, 32>, their_of_e5m2, ANY_NAN_OR_ZERO},
    {"e4m3 of the kernels, as f32", 1 << 8, of_e4m3, their_of_e4m3, ANY_NAN},
    {"e4m3 of the kernels, as bf16", 1 << 8, kernels_bf16_of_e4m3, their_of_e4m3, ANY_NAN},
    {"bf16 of ref, back", 1 << 16, ref_value_of<DSV3_BF16>, their_of_bf16, ANY_NAN},
    {"e4m3 of ref, back", 1 << 8, ref_value_of<DSV3_F8_E4M3>, their_of_e4m3, ANY_NAN},
};

struct count {
    uint64_t tried, wrong;
    double first; /* that was wrong */
};

static void try_number(const narrowing *n, double v, count *c)
{
    uint32_t const ours = n->ours(v), theirs = n->theirs(v);
    bool const right = ours == theirs || (n->like != TO_THE_BIT && n->is_nan(ours) && n->is_nan(theirs));
    if (!right && !c->wrong) c->first = v;
    c->tried++, c->wrong += !right;
}

/* A float; of doubles also its neighbours among them. */
static void try_float(const narrowing *n, uint32_t bits, count *c)
{
    double const v = (double)of_bits_f32(bits);
    try_number(n, v, c);
    if (n->of_double) try_number(n, std::nextafter(v, -HUGE_VAL), c), try_number(n, std::nextafter(v, HUGE_VAL), c);
}

/* Upper halves first, first + step, ...; of f16, whose last bit is the 13th, a tie is an odd multiple of 0x1000. */
static void try_halves(const narrowing *n, bool all, uint32_t first, uint32_t step, count *c)
{
    for (uint32_t upper = first; upper < 1 << 16; upper += step) {
        for (uint32_t lower = 0; all && lower < 1 << 16; lower++) try_float(n, upper << 16 | lower, c);
        for (uint32_t lower = 0; !all && lower < 1 << 16; lower += 0x1000)
            for (uint32_t beside = 0; beside < 3; beside++)
                try_float(n, upper << 16 | ((lower + beside - 1) & 0xffff), c);
    }
}

static bool report(const char *name, const char *what, const count *c)
{
    printf("%s: %llu %s, %llu differ", name, (unsigned long long)c->tried, what, (unsigned long long)c->wrong);
    if (c->wrong) printf(", the first is %a", c->first);
    printf("\n");
    fflush(stdout);
    return !c->wrong;
}

static bool compare(const narrowing *n, bool all)
{
    unsigned const threads = std::max(1u, std::thread::hardware_concurrency());
    std::vector<count> counts(threads, count{0, 0, 0});
    std::vector<std::thread> running;
    for (unsigned i = 0; i < threads; i++) running.emplace_back(try_halves, n, all, i, threads, &counts[i]);
    count sum = {0, 0, 0};
    for (unsigned i = 0; i < threads; i++) {
        running[i].join();
        if (counts[i].wrong && !sum.wrong) sum.first = counts[i].first;
        sum.tried += counts[i].tried, sum.wrong += counts[i].wrong;
    }
    return report(n->name, n->of_double ? "doubles" : "floats", &sum);
}

static bool is_like(likeness like, float a, float b)
{
    if (like == TO_THE_BIT) return false;
    return (a != a && b != b) || (like == ANY_NAN_OR_ZERO && a == 0 && b == 0);
}

static bool compare(const widening *w)
{
    count c = {0, 0, 0};
    for (int code = 0; code < w->codes; code++) {
        float const ours = w->ours((uint32_t)code), theirs = w->theirs((uint32_t)code);
        bool const right = bits_of_f32(ours) == bits_of_f32(theirs) || is_like(w->like, ours, theirs);
        if (!right && !c.wrong) c.first = code;
        c.tried++, c.wrong += !right;
    }
    return report(w->name, "codes", &c);
}

int main(int argc, char **argv)
{
    bool const all = argc == 2 && !strcmp(argv[1], "--all");
    bool good = true;
    if (argc > 1 && !all) return fprintf(stderr, "formats: '%s': the only option is --all\n", argv[1]), 2;
    for (const narrowing &n : narrowings) good &= compare(&n, all);
    for (const widening &w : widenings) good &= compare(&w);
    return !good;
}
