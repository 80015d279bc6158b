/*
 * Linear:  y_o = sum_i W_oi x_i,  no bias. FP8 weights:  W_oi = weight_oi * weight_scale_inv[o/128][i/128].
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 3.3.2; deepseek-ai/DeepSeek-V3, README_WEIGHTS.md and
 * inference/kernel.py, weight_dequant_kernel.
 */
#include "reading.h"

#include <stdlib.h>

enum { BLOCK = 128 };

typedef struct {
    const ref_reading *rd;
    const dsv3_linear_prob *prob;
    const dsv3_linear_io *io;
    const dsv3_tensor *weight, *scale; /* scale: NULL unless FP8 */
    double largest_scale;
} product;

/* The scale of the block of W_oi. */
static double scale_at(const product *p, int64_t o, int64_t i)
{
    int64_t down = o / BLOCK, across = i / BLOCK;
    if (quirk(p->rd, QUIRK_F1_partial_block)) {
        if ((down + 1) * BLOCK > p->prob->out_features && down > 0) down--;
        if ((across + 1) * BLOCK > p->prob->in_features && across > 0) across--;
    }
    int64_t index = down * p->scale->stride[0] + across;
    if (quirk(p->rd, QUIRK_F2_scale_transposed)) index = across * p->scale->shape[0] + down;
    return ref_decode(DSV3_F32, p->scale->data, index);
}

/* W_oi of an FP8 weight. */
static ball dequantised(const product *p, double code, double scale)
{
    ball const s = element(p->rd, scale);
    ball const w = quirk(p->rd, QUIRK_F4_scale_divided) ? ball_div(ball_of(code), s) : ball_mul(ball_of(code), s);
    return at(p->rd, POINT_linear_weight, p->io->y.dtype, w);
}

/* Row o of W as values and radii. */
static row weight_row(const product *p, int64_t o, double *value, double *radius)
{
    int64_t const n = p->prob->in_features;
    const dsv3_tensor *const w = p->weight;
    for (int64_t i = 0; i < n; i++) {
        value[i] = ref_decode(w->dtype, w->data, o * w->stride[0] + i);
        radius[i] = 0;
        if (!p->scale) continue;
        ref_value const v = value_of(dequantised(p, value[i], scale_at(p, o, i)));
        value[i] = v.hi;
        radius[i] = v.lo == 0 ? v.radius : nextafter(v.radius + fabs(v.lo), INFINITY);
    }
    return row_of(value, radius, n);
}

/* The largest factor that a scale is. */
static double largest_scale(const product *p)
{
    double largest = 0;
    for (int64_t i = 0; p->scale && i < p->scale->shape[0]; i++)
        for (int64_t j = 0; j < p->scale->shape[1]; j++) {
            double const s = fabs(ref_decode(DSV3_F32, p->scale->data, i * p->scale->stride[0] + j));
            largest = fmax(largest, quirk(p->rd, QUIRK_F4_scale_divided) ? 1 / s : s);
        }
    return largest;
}

/* Lemma Scale, the exact case: so are the sums of codes and their products with the scales. */
static bool scaling_is_exact(const product *p, const terms *sum)
{
    if (sum->lsb == INT_MAX) return true; /* all terms are 0 */
    return sum->lsb - ilogb(fmax(p->largest_scale, 1)) >= least_exponent(p->rd->port) &&
           sum->sum_abs <= ldexp(1, sum->lsb + digits_of(p->rd->port->arith));
}

/* Lemma Scale: a port may sum the codes of a block first and scale the sum. That rounds three times more, may lose what
 * underflows before the scale or after it, and may overflow where scaled weights do not. */
static ball scaled_sum(const product *p, const row *x, const terms *sum)
{
    ball const total = sum_of(p->rd, sum);
    if (!p->rd->port || !p->scale) return total;
    double const n = (double)p->prob->in_features, u = ref_half_unit(p->rd->port->arith, 1);
    double const growth = 1 + (sum->sum_abs > 0 ? total.r / sum->sum_abs : 0); /* of what is lost early */
    if (!(x->max_abs * 448 * n * growth < 0x1p127)) return ball_any();
    if (ball_is_point(total) && scaling_is_exact(p, sum)) return total;
    double const lost = n * growth * lost_in_one(p->rd->port) * (2 * p->largest_scale + 1);
    return ball_widen(total, 3 * u * (1 + 2 * u) * (sum->sum_abs + total.r) + lost);
}

static row *input_rows(const product *p, double *values)
{
    const dsv3_tensor *const x = &p->io->x;
    int64_t const n = p->prob->in_features;
    row *const rows = malloc((size_t)p->prob->n_tokens * sizeof *rows);
    for (int64_t t = 0; rows && t < p->prob->n_tokens; t++) {
        for (int64_t i = 0; i < n; i++) values[t * n + i] = ref_decode(x->dtype, x->data, t * x->stride[0] + i);
        rows[t] = row_of(values + t * n, NULL, n);
    }
    return rows;
}

bool ref_linear(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_linear_io *const io = io_;
    product p = {rd, prob, io, dsv3_find(&io->weights, "weight"), dsv3_find(&io->weights, "weight_scale_inv"), 0};
    p.largest_scale = largest_scale(&p);
    int64_t const n = p.prob->in_features, outs = p.prob->out_features;
    double *const values = malloc((size_t)(n * (p.prob->n_tokens + 2)) * sizeof *values);
    row *const x = values ? input_rows(&p, values) : NULL;
    for (int64_t o = 0; x && out[0] && o < outs; o++) {
        double *const w = values + n * p.prob->n_tokens;
        row const weight = weight_row(&p, o, w, w + n);
        for (int64_t t = 0; t < p.prob->n_tokens; t++) {
            terms const sum = ball_dot(&x[t], &weight);
            out[0][t * outs + o] = value_of(at(rd, POINT_linear_y, io->y.dtype, scaled_sum(&p, &x[t], &sum)));
        }
    }
    bool const done = x != NULL;
    free(x);
    free(values);
    return done;
}
