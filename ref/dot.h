/*
 * The loops behind ball_dot. dot.c is compiled once per instruction set with the same 32 lanes, so that every build
 * gives the same bits; dot_for_this_cpu picks one at run time. Plain C: the compiler vectorises.
 */
#ifndef DOT_H
#define DOT_H

#include <stdint.h>

typedef struct {
    double hi, lo; /* hi + lo: the sum */
    double abs;    /* the sum of |a[i] b[i]|, as binary64 computes it */
} dot_sum;

enum { DOT_LANES = 32 };

typedef struct {
    const char *isa;
    /* One rounding per step; lo is 0. Exact when the sum is certified to be. */
    dot_sum (*plain)(const double *a, const double *b, int64_t n);
    /* TwoSum per step; needs products that are exact in binary64. */
    dot_sum (*compensated)(const double *a, const double *b, int64_t n);
} dot_kernel;

extern const dot_kernel dot_baseline;
#if defined(__x86_64__)
extern const dot_kernel dot_v3, dot_v4; /* AVX2 and FMA; AVX-512 */
#endif

const dot_kernel *dot_for_this_cpu(void);

#endif
