/* RMSNorm: sixteen lanes of fused squares, then a correctly rounded root and division. */
#include "ctx.h"
#include "fast.h"
#include "matrix.h"
#include "norm.h"
#include "vec.h"

#include <math.h>

/* One row. */
typedef struct {
    const dsv3_rmsnorm_prob *prob;
    const dsv3_rmsnorm_io *io;
    const dsv3_tensor *weight;
    int64_t x, residual, y, residual_out; /* index of the row's first element in each */
} norm_row;

/* z: x, or x + residual as it was rounded and stored. */
static vec load_z(const norm_row *r, int64_t i, lanes of)
{
    const dsv3_rmsnorm_io *const io = r->io;
    if (!r->prob->residual) return load_lanes(io->x.data, io->x.dtype, r->x + i, of);
    return load_lanes(io->residual_out.data, io->residual_out.dtype, r->residual_out + i, of);
}

static void add_residual(const norm_row *r)
{
    const dsv3_rmsnorm_io *const io = r->io;
    for (int64_t i = 0; i < r->prob->hidden_size; i += WIDTH) {
        lanes const of = first_lanes(r->prob->hidden_size - i);
        vec const x = load_lanes(io->x.data, io->x.dtype, r->x + i, of);
        vec const residual = load_lanes(io->residual.data, io->residual.dtype, r->residual + i, of);
        store_lanes(io->residual_out.data, io->residual_out.dtype, r->residual_out + i, of, vec_add(x, residual));
    }
}

static float sum_of_squares(const norm_row *r)
{
    vec sum = vec_of(0);
    for (int64_t i = 0; i < r->prob->hidden_size; i += WIDTH) {
        vec const z = load_z(r, i, first_lanes(r->prob->hidden_size - i));
        sum = vec_fma(z, z, sum);
    }
    return vec_sum(sum);
}

static void scale(const norm_row *r, float inverse_rms)
{
    const dsv3_tensor *const y = &r->io->y;
    vec const factor = vec_of(inverse_rms);
    for (int64_t i = 0; i < r->prob->hidden_size; i += WIDTH) {
        lanes const of = first_lanes(r->prob->hidden_size - i);
        vec const x_norm = vec_mul(load_z(r, i, of), factor);
        vec const weight = load_lanes(r->weight->data, r->weight->dtype, i, of);
        store_lanes(y->data, y->dtype, r->y + i, of, vec_mul(weight, x_norm));
    }
}

static void norm_row_of(const void *job, int64_t t, int worker)
{
    (void)worker;
    norm_row r = *(const norm_row *)job;
    r.x = t * r.io->x.stride[0];
    r.residual = t * r.io->residual.stride[0];
    r.y = t * r.io->y.stride[0];
    r.residual_out = t * r.io->residual_out.stride[0];
    if (r.prob->residual) add_residual(&r);
    scale(&r, 1 / sqrtf(sum_of_squares(&r) / (float)r.prob->hidden_size + (float)r.prob->rms_norm_eps));
}

dsv3_status fast_rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    norm_row const r = {.prob = p, .io = io, .weight = dsv3_find(&io->weights, "weight")};
    if (!is_float(&io->x) || !is_float(r.weight) || !is_float(&io->y)) return DSV3_UNSUPPORTED;
    ctx_run(ctx, norm_row_of, &r, p->n_tokens);
    return DSV3_OK;
}

void normalise(const dsv3_tensor *weight, double eps, const float *x, float *y, int64_t n)
{
    dsv3_rmsnorm_prob const p = {1, n, eps, 0};
    dsv3_rmsnorm_io const io = {.x = {(void *)(uintptr_t)x, DSV3_F32, 2, {1, n}, {n, 1}},
                                .y = {y, DSV3_F32, 2, {1, n}, {n, 1}}};
    norm_row const r = {.prob = &p, .io = &io, .weight = weight};
    norm_row_of(&r, 0, 0);
}

const char *fast_rmsnorm_numerics(const void *prob, const void *io)
{
    (void)prob;
    return ((const dsv3_rmsnorm_io *)io)->y.dtype == DSV3_BF16
               ? "acc 24 rn fused splits=16; rsqrt recip; div ieee; flush none; z bf16 must; x_norm f32 must"
               : "acc 24 rn fused splits=16; rsqrt recip; div ieee; flush none; z f32 must; x_norm f32 must";
}
