/* What the two files of the plain port share: stored formats, and the arithmetic that the blocks are made of. */
#ifndef PLAIN_H
#define PLAIN_H

#include "dsv3.h"

/* Element `at` of a tensor's memory; f32, bf16 and f8_e4m3 are read, f32 and bf16 written. */
float load_at(const dsv3_tensor *x, int64_t at);
void store_at(const dsv3_tensor *y, int64_t at, float value);
int is_float(const dsv3_tensor *x); /* present, and f32 or bf16 */

/* Rotates one vector of qk_rope_head_dim elements. */
void rotate(const dsv3_rope_prob *p, double position, const float *x, float *y);

/* 1 when nothing is extended, else 0.1 m ln(factor) + 1. */
double mscale(const dsv3_rope_prob *p, double m);

/* Scratch memory of the port; grows, and is kept for the next call. */
struct dsv3_ctx {
    float *scratch;
    size_t size;
};

/* block.c */
dsv3_status mla(dsv3_ctx *ctx, const dsv3_mla_prob *p, const dsv3_mla_io *io);

#endif
