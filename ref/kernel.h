/*
 * The loops that take the time: behind ball_dot, ball_combine and ball_exp_all. kernel.c is compiled once per instruction
 * set with the same 32 lanes, so that every build gives the same bits; kernels_for_this_cpu picks one at run time. Plain C:
 * the compiler vectorises.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    double hi, lo; /* hi + lo: the sum */
    double abs;    /* the sum of |a[i] b[i]|, as binary64 computes it */
} dot_sum;

/* Of n numbers; the rest is right unless one is odd: subnormal in binary64, infinite or NaN. */
typedef struct {
    bool odd;
    double max_abs;
    double unit;       /* the largest power of two that all are multiples of; infinite when all are 0 */
    uint64_t fraction; /* the bits that some number has behind its leading one, at their place in binary64 */
    int64_t tiny;      /* numbers below 2^-126 that aren't 0 */
} number_survey;

enum {
    LANES = 32,
    PIECES = 4, /* of a weight, at most */
};

typedef struct {
    const char *isa;
    /* One rounding per step; lo is 0. Exact when the sum is certified to be. */
    dot_sum (*plain)(const double *a, const double *b, int64_t n);
    /* TwoSum per step; needs products that are exact in binary64. */
    dot_sum (*compensated)(const double *a, const double *b, int64_t n);
    /* The same of (a + a_low)[i] * (b + b_low)[i], any numbers; NULL: no low words. (Lemma Pairs) */
    dot_sum (*pairs)(const double *a, const double *a_low, const double *b, const double *b_low, int64_t n);
    /* sum[c] + rest[c] grows by the sum over j < n of (hi[j] + lo[j]) * value[j * stride + c], for each c < width.
     * (Lemma Combine) */
    void (*combine)(const double *hi, const double *lo, const double *value, int64_t n, int64_t stride, int64_t width,
                    double *sum, double *rest);
    /* Piece i < 4 of weight j, at piece[i * stride + j], is what is left of hi[j] + lo[j], rounded to a multiple of 2^-cut:
     * round[i] is 1.5 * 2^(52 - cut). What is left at the end is in hi and lo. (Lemma Slices) */
    void (*cut)(double *hi, double *lo, int64_t n, const double *round, int64_t stride, double *piece);
    /* 32 columns: sums[32 i + c] grows by the sum over j < n of piece[i * stride + j] * value[32 j + c], i < pieces <= 4;
     * every product and partial sum must be a binary64 number. (Lemma Slices) */
    void (*slices)(const double *piece, int64_t stride, int pieces, const double *value, int64_t n, double *sums);
    /* hi[j] + lo[j] becomes its exponential, -700 <= hi <= 700. (Lemma Exp) */
    void (*exponential)(double *hi, double *lo, int64_t n);
    /* Ball (hi[j] + lo[j], r[j]) becomes its product with b = {hi, lo, r}, lo not 0; or its sum with b. Radii are
     * those of ball_mul and ball_add before they are rounded up; NaN or infinite if an argument's is. */
    void (*multiply)(double *hi, double *lo, double *r, int64_t n, const double b[3]);
    void (*add)(double *hi, double *lo, double *r, int64_t n, const double b[3]);
    /* Three sums for each column c < width grow by those over j < n, v = value[j * stride + c]: sums[3c] of p[j] |v|,
     * sums[3c + 1] of pe[j] |v - o[c]|, sums[3c + 2] of p[j] |v - o[c]|; rounded to nearest. */
    void (*deviate)(const double *p, const double *pe, const double *value, int64_t n, int64_t stride, int64_t width,
                    const double *o, double *sums);
    /* sup[c] grows to the largest |value[j * stride + c]| over j < n, for each c < width; infinite where one is NaN. */
    void (*column_sup)(const double *value, int64_t n, int64_t stride, int64_t width, double *sup);
    /* What operand_of needs to know. */
    number_survey (*survey)(const double *value, int64_t n);
    /* value[i] = scale times E4M3 number code[i]: exact when scale is a binary32 number. False: it can't, and wrote nothing. */
    bool (*scaled_codes)(const uint8_t *code, int64_t n, double scale, double *value);
    /* Of the sampled tier, whose draws are of the very bits; in eight lanes. The sum of t = a[i] * b[i]; the sums of t, of
     * t^2, of i t and of the signs of t; of v = value[i] the sums of v and of (i + 1) v, and the largest |v|, of those that aren't NaN. */
    double (*terms)(const double *a, const double *b, int64_t n);
    void (*moments)(const double *a, const double *b, int64_t n, double sums[4]);
    void (*digest)(const double *value, int64_t n, double sums[3]);
} kernels;

extern const kernels kernels_baseline;
#if defined(__x86_64__)
extern const kernels kernels_v3, kernels_v4; /* AVX2 and FMA; AVX-512 */
#endif

const kernels *kernels_for_this_cpu(void);

/* 2^(j/128), hi and lo. */
extern const double exp2_table[128][2];

#endif
