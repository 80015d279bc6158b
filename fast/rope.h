/* Rotary embedding: a table of cos and sin for one position, which all heads share. */
#ifndef ROPE_H
#define ROPE_H

#include "dsv3.h"

enum { WIDEST_ROPE = 1024 };

/* 1 when nothing is extended, else 0.1 m ln(factor) + 1. */
double mscale(double factor, double m);

/* cos and sin of pair j < r/2 at a position, times the amplitude; angles in binary64. angle f64; sincos 3; cos_sin f32 must */
void rope_table(const dsv3_rope_prob *p, double position, float *cosine, float *sine);

/* Rotates one vector of r numbers. */
void rotate(const dsv3_rope_prob *p, const float *cosine, const float *sine, const float *x, float *y);

#endif
