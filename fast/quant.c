/* Activations to FP8, a scale for each tile of 1 x 128. */
#include "quant.h"

#include "ctx.h"
#include "fast.h"
#include "matrix.h"
#include "vec.h"

float largest_size(const dsv3_tensor *x, int64_t from, int64_t n)
{
    vec most = vec_of(0);
    for (int64_t i = 0; i < n; i += WIDTH)
        most = vec_max(most, vec_abs(load_lanes(x->data, x->dtype, from + i, first_lanes(n - i))));
    return vec_largest(most);
}

/* The least power of two that is not below it. */
static float power_above(float scale)
{
    int exponent;
    return frexpf(scale, &exponent) == 0.5f ? scale : ldexpf(1, exponent);
}

void put_codes(uint8_t *to, const dsv3_tensor *x, int64_t from, int64_t n, float scale)
{
    for (int64_t i = 0; i < n; i += WIDTH) {
        lanes const of = first_lanes(n - i);
        store_codes(to + i, of, vec_div(load_lanes(x->data, x->dtype, from + i, of), vec_of(scale)));
    }
}

float tile_scale(double amax_floor, double scale_floor, int scale_fmt, float amax)
{
    float const most = fmaxf(amax, (float)amax_floor), scale = fmaxf(most / 448, (float)scale_floor);
    if (most == 0 && scale_floor == 0) return 1;
    return scale_fmt ? power_above(scale) : scale;
}

void quantise(double amax_floor, int scale_fmt, const dsv3_tensor *x, int64_t from, int64_t n, float *scale, uint8_t *q)
{
    for (int64_t first = 0; first < n; first += BLOCK) {
        int64_t const of_tile = n - first < BLOCK ? n - first : BLOCK;
        float const s = tile_scale(amax_floor, 0, scale_fmt, largest_size(x, from + first, of_tile));
        scale[first / BLOCK] = s;
        put_codes(q + first, x, from + first, of_tile, s);
    }
}

typedef struct {
    const dsv3_quant_prob *p;
    const dsv3_quant_io *io;
} quantiser;

static void quantise_row(const void *job, int64_t t, int worker)
{
    (void)worker;
    const quantiser *const m = job;
    const dsv3_tensor *const x = &m->io->x, *const scale = &m->io->scale, *const q = &m->io->q;
    quantise(m->p->amax_floor, m->p->scale_fmt, x, t * x->stride[0], m->p->in_features,
             (float *)scale->data + t * scale->stride[0], (uint8_t *)q->data + t * q->stride[0]);
}

dsv3_status fast_quant(dsv3_ctx *ctx, const dsv3_quant_prob *p, const dsv3_quant_io *io)
{
    quantiser const m = {p, io};
    if (!is_float(&io->x)) return DSV3_UNSUPPORTED;
    ctx_run(ctx, quantise_row, &m, p->n_tokens);
    return DSV3_OK;
}

const char *fast_quant_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "div ieee; quotient div; flush none";
}
