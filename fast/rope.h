/* Rotary embedding: a table of cos and sin for one position, which all heads share. */
#ifndef ROPE_H
#define ROPE_H

#include "dsv3.h"

enum { WIDEST_ROPE = 1024 };

/* 1 when nothing is extended, else 0.1 m ln(factor) + 1. */
double mscale(double factor, double m);

/* What all positions share. */
typedef struct {
    dsv3_rope_prob prob;
    float amplitude;
    double frequency[WIDEST_ROPE / 2]; /* of pair j < r/2: radians a position */
} rope;

/* r <= WIDEST_ROPE */
rope rope_make(const dsv3_rope_prob *p);

/* cos and sin of r/2 pairs at a position, times the amplitude; angles in binary64. angle f64; sincos 3; cos_sin f32 must
 * Room for a multiple of sixteen. */
void rope_table(const rope *m, double position, float *cosine, float *sine);

/* Rotates one vector of r numbers, from x to y, which are apart; f32 or bf16. */
void rotate(const rope *m, const float *cosine, const float *sine, const void *x, dsv3_dtype from, void *y,
            dsv3_dtype to);

#endif
