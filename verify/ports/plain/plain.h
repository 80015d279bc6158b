/* What the files of the plain port share: stored formats, and the arithmetic that the blocks are made of. */
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

float silu(float gate);

/* Routes one token: its experts and their weights, from n_routed_experts logits. bias: NULL unless noaux_tc. */
enum { MOST_EXPERTS = 1024, MOST_GROUPS = 16 };
int can_route(const dsv3_gate_prob *p);
void route(const dsv3_gate_prob *p, const dsv3_tensor *bias, const float *logits, int32_t *idx, float *weight);

/* Scratch memory of the port; grows, and is kept for the next call. */
struct dsv3_ctx {
    float *scratch;
    size_t size;
    struct dsv3_ctx *parts; /* of the ops that a composition calls */
};

/* ---- block.c ---- */

float *room(dsv3_ctx *ctx, int64_t n); /* for n floats, or NULL */

/* A weight matrix. scale: NULL unless FP8. */
typedef struct {
    const dsv3_tensor *weight, *scale;
} matrix;

matrix find_matrix(const dsv3_weights *weights, const char *name); /* `name`.weight and `name`.weight_scale_inv */
int usable(const matrix *m);
float row_times(const matrix *m, int64_t o, const float *x); /* row o of W times x */
void multiply(const matrix *m, const float *x, float *y);

void load_row(const dsv3_tensor *x, int64_t from, float *row, int64_t n);
void normalise(const dsv3_tensor *weight, double eps, float *x, int64_t n); /* RMSNorm, in place */
void settle(const dsv3_tensor *y, int64_t from, float *row, int64_t n);     /* stored and read again, if asked for */

dsv3_status mla(dsv3_ctx *ctx, const dsv3_mla_prob *p, const dsv3_mla_io *io);

/* ---- moe.c ---- */

dsv3_status experts(dsv3_ctx *ctx, const dsv3_experts_prob *p, const dsv3_experts_io *io);
dsv3_status moe(dsv3_ctx *ctx, const dsv3_moe_prob *p, const dsv3_moe_io *io);

/* ---- mtp.c ---- */

dsv3_status mtp(dsv3_ctx *ctx, const dsv3_mtp_prob *p, const dsv3_mtp_io *io);

#endif
