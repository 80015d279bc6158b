/*
 * What the ops of the plain port share: stored formats here, the rest in the file that each section names.
 * The ops themselves and what they declare come last.
 */
#ifndef PLAIN_H
#define PLAIN_H

#include "dsv3.h"

#include <math.h>

enum { BLOCK = 128, LANES = 8 }; /* entries under one FP8 scale; partial sums of a product */

/* ---- stored formats ---- */

static inline float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* E4M3FN: sign, 4 bits of exponent (bias 7), 3 of fraction; no infinity, 0x7f and 0xff are NaN. */
static inline float from_e4m3(uint8_t code)
{
    int const exponent = code >> 3 & 15, fraction = code & 7;
    float const sign = code & 0x80 ? -1.0f : 1.0f;
    if ((code & 0x7f) == 0x7f) return NAN;
    if (exponent == 0) return sign * (float)fraction * 0x1p-9f;
    return sign * from_bits((uint32_t)(exponent + 120) << 23 | (uint32_t)fraction << 20);
}

/* BF16 is the upper half of binary32; to nearest, ties to even, NaN stays NaN. */
static inline uint16_t to_bf16(float f)
{
    uint32_t const bits = to_bits(f);
    if (f != f) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Element `at` of a tensor's memory; f32, bf16 and f8_e4m3 are read, f32 and bf16 written. */
static inline float load_at(const dsv3_tensor *x, int64_t at)
{
    switch (x->dtype) {
    case DSV3_F32: return ((const float *)x->data)[at];
    case DSV3_BF16: return from_bits((uint32_t)((const uint16_t *)x->data)[at] << 16);
    case DSV3_F8_E4M3: return from_e4m3(((const uint8_t *)x->data)[at]);
    default: return NAN;
    }
}

/* A scale: f32, or u8, the exponent byte b of 2^(b - 127). */
static inline float scale_at(const dsv3_tensor *scale, int64_t at)
{
    if (scale->dtype != DSV3_U8) return load_at(scale, at);
    return ldexpf(1, ((const uint8_t *)scale->data)[at] - 127);
}

static inline void store_at(const dsv3_tensor *y, int64_t at, float value)
{
    if (y->dtype == DSV3_F32)
        ((float *)y->data)[at] = value;
    else
        ((uint16_t *)y->data)[at] = to_bf16(value);
}

/* Element `at` of a tensor's memory, which is i32. */
static inline int32_t int_at(const dsv3_tensor *x, int64_t at)
{
    return ((const int32_t *)x->data)[at];
}

/* Element i of row t; a vector is one row. */
static inline float load(const dsv3_tensor *x, int64_t t, int64_t i)
{
    return load_at(x, x->ndim == 1 ? i : t * x->stride[0] + i);
}

static inline void store(const dsv3_tensor *y, int64_t t, int64_t i, float value)
{
    store_at(y, t * y->stride[0] + i, value);
}

/* Is it present, and f32 or bf16? */
static inline int is_float(const dsv3_tensor *x)
{
    return x && (x->dtype == DSV3_F32 || x->dtype == DSV3_BF16);
}

/* ---- rope.c ---- */

/* Rotates one vector of qk_rope_head_dim elements. */
void rotate(const dsv3_rope_prob *p, double position, const float *x, float *y);

/* 1 when nothing is extended, else 0.1 m ln(factor) + 1. */
double mscale(const dsv3_rope_prob *p, double m);

/* ---- gate.c ---- */

enum { MOST_EXPERTS = 1024, MOST_GROUPS = 16 };

/* The index of the largest value; of equals the first. */
int64_t largest(const float *v, int64_t n);

/* Routes one token: its experts and their weights, from n_routed_experts logits. bias: NULL unless noaux_tc. */
int can_route(const dsv3_gate_prob *p);
void route(const dsv3_gate_prob *p, const dsv3_tensor *bias, const float *logits, int32_t *idx, float *weight);

/* ---- quant.c ---- */

uint8_t to_e4m3(float f); /* to nearest, ties to even, saturating */

/* ---- swiglu.c ---- */

float silu(float gate);

/* ---- matrix.c ---- */

/* Scratch memory of the port; grows, and is kept for the next call. */
struct dsv3_ctx {
    float *scratch;
    size_t size;
    struct dsv3_ctx *parts; /* of the ops that a composition calls */
};

float *scratch(dsv3_ctx *ctx, int64_t n); /* for n floats, or NULL */

/* A weight matrix. scale: NULL unless FP8. */
typedef struct {
    const dsv3_tensor *weight, *scale;
} matrix;

matrix find_matrix(const dsv3_weights *weights, const char *name); /* `name`.weight and `name`.weight_scale_inv */
int usable(const matrix *m);
float row_times(const matrix *m, int64_t o, const float *x); /* row o of W times x */

/* The same of codes that have scales too: element `from` on of x_scale, one a block. */
float coded_row_times(const matrix *m, int64_t o, const float *x, const dsv3_tensor *x_scale, int64_t from);
void multiply(const matrix *m, const float *x, float *y);

/* The sum of a[i] b[i * stride], in LANES partial sums. */
float product(const float *a, const float *b, int64_t stride, int64_t n);

void load_row(const dsv3_tensor *x, int64_t from, float *row, int64_t n);
void round_trip(const dsv3_tensor *y, int64_t from, float *row, int64_t n); /* stored and read again, if asked for */
void normalise(const dsv3_tensor *weight, double eps, float *x, int64_t n); /* RMSNorm, in place */

/* ---- quant.c ---- */

/* A row to FP8: scales, one a tile of BLOCK, and codes. */
void quantise_row(double amax_floor, int scale_fmt, const float *x, int64_t n, float *scale, uint8_t *q);

/* ---- attention.c ---- */

/* One query of one head, and where its keys and values come from. */
typedef struct heads heads;
struct heads {
    const void *prob, *io;
    int64_t sequence, head, first;                        /* of its keys, where sequences lie one after the other */
    float (*key)(const heads *s, int64_t j, int64_t c);   /* entry c of key j */
    float (*value)(const heads *s, int64_t j, int64_t c); /* entry c of value j */
    const dsv3_tensor *q, *o;
    int64_t width, columns; /* entries of a key, of a value */
    float scale, kv_scale;
};

/* The query at q over its first n keys, to o. Returns lse. */
float attend(const heads *s, int64_t n, int64_t q, int64_t o);

/* ---- experts.c ---- */

/* One feed-forward network. */
typedef struct {
    matrix gate, up, down;
} network;

network find_network(const dsv3_weights *weights, const char *name);
int usable_network(const network *f);

/* The tokens of a layer, and the sums of what its experts add. */
typedef struct {
    const dsv3_weights *weights;
    const dsv3_tensor *x;
    int64_t n_tokens, hidden_size, experts, k;
    float *row, *act, *sum; /* of one token; the widest network; (n_tokens, hidden_size) */

    /* W8A8: codes have scales, and act is quantised into the io's stages, or into memory; NULL: neither. */
    const dsv3_experts_prob *p;
    const dsv3_experts_io *io;
    float *act_scale; /* (tiles) */
    uint8_t *act_q;   /* (width) */
} layer;

int usable_experts(const layer *m);
int open_layer(layer *m, dsv3_ctx *ctx, int64_t widest); /* its memory; 0 if there is none */
void load_token(const layer *m, int64_t t);

/* Adds weight times the network's output for token t to its sum; `from`: where its activations go. */
void add_network(const layer *m, const network *f, int64_t t, float weight, const dsv3_tensor *act, int64_t from);

/* Adds every expert, for the tokens that chose it. */
void add_experts(const layer *m, const dsv3_tensor *idx, const dsv3_tensor *weight, const dsv3_tensor *act);
void store_sums(const layer *m, const dsv3_tensor *y);

/* ---- the ops, each in the file of its name, and how they round, beside them ---- */

/* A copy that has fewer ops lists its own: #define PLAIN_OPS(OP) OP(rmsnorm) OP(linear) */
#define PLAIN_OPS(OP) DSV3_OPS(OP)

#define OP(op)                                                                                                         \
    dsv3_status plain_##op(dsv3_ctx *ctx, const dsv3_##op##_prob *p, const dsv3_##op##_io *io);                        \
    const char *plain_##op##_numerics(const void *prob, const void *io);
PLAIN_OPS(OP)
#undef OP

#endif
