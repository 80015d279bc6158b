/* RMSNorm with AVX-512: sixteen lanes of fused squares, then a correctly rounded root and division. */
#include "fast.h"

#if defined(__x86_64__)
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
static __m512 load_z(const norm_row *r, int64_t i, __mmask16 lanes)
{
    const dsv3_rmsnorm_io *const io = r->io;
    if (!r->prob->residual) return load_lanes(io->x.data, io->x.dtype, r->x + i, lanes);
    return load_lanes(io->residual_out.data, io->residual_out.dtype, r->residual_out + i, lanes);
}

static void add_residual(const norm_row *r)
{
    const dsv3_rmsnorm_io *const io = r->io;
    for (int64_t i = 0; i < r->prob->hidden_size; i += WIDTH) {
        __mmask16 const lanes = first_lanes(r->prob->hidden_size - i);
        __m512 const x = load_lanes(io->x.data, io->x.dtype, r->x + i, lanes);
        __m512 const residual = load_lanes(io->residual.data, io->residual.dtype, r->residual + i, lanes);
        store_lanes(io->residual_out.data, io->residual_out.dtype, r->residual_out + i, lanes,
                    _mm512_add_ps(x, residual));
    }
}

static float sum_of_squares(const norm_row *r)
{
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < r->prob->hidden_size; i += WIDTH) {
        __m512 const z = load_z(r, i, first_lanes(r->prob->hidden_size - i));
        sum = _mm512_fmadd_ps(z, z, sum);
    }
    return _mm512_reduce_add_ps(sum);
}

static void scale(const norm_row *r, float inverse_rms)
{
    const dsv3_tensor *const y = &r->io->y;
    __m512 const factor = _mm512_set1_ps(inverse_rms);
    for (int64_t i = 0; i < r->prob->hidden_size; i += WIDTH) {
        __mmask16 const lanes = first_lanes(r->prob->hidden_size - i);
        __m512 const x_norm = _mm512_mul_ps(load_z(r, i, lanes), factor);
        __m512 const weight = load_lanes(r->weight->data, r->weight->dtype, i, lanes);
        store_lanes(y->data, y->dtype, r->y + i, lanes, _mm512_mul_ps(weight, x_norm));
    }
}

static int is_float(const dsv3_tensor *t)
{
    return t && (t->dtype == DSV3_F32 || t->dtype == DSV3_BF16);
}

dsv3_status fast_rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    norm_row r = {.prob = p, .io = io, .weight = dsv3_find(&io->weights, "weight")};
    (void)ctx;
    if (!is_float(&io->x) || !is_float(r.weight) || !is_float(&io->y)) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        r.x = t * io->x.stride[0];
        r.residual = t * io->residual.stride[0];
        r.y = t * io->y.stride[0];
        r.residual_out = t * io->residual_out.stride[0];
        if (p->residual) add_residual(&r);
        scale(&r, 1 / sqrtf(sum_of_squares(&r) / (float)p->hidden_size + (float)p->rms_norm_eps));
    }
    return DSV3_OK;
}

#else

dsv3_status fast_rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    (void)ctx, (void)p, (void)io;
    return DSV3_UNSUPPORTED;
}

#endif

const char *fast_rmsnorm_numerics(const dsv3_rmsnorm_io *io)
{
    return io->y.dtype == DSV3_BF16
               ? "acc 24 rn fused splits=16; rsqrt ieee; div ieee; flush none; z bf16 must; x_norm f32 must"
               : "acc 24 rn fused splits=16; rsqrt ieee; div ieee; flush none; z f32 must; x_norm f32 must";
}
