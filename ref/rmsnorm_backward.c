/*
 * RMSNorm's gradients:  g = w grad_y,  grad_x = r (g - x_hat mean(g x_hat)) (+ grad_residual_out),
 * grad_weight = sum_t grad_y x_norm,  r = 1 / sqrt(mean(x^2) + eps),  x_hat = x_norm = x r.
 * Source: the derivative of rmsnorm; pytorch/pytorch, autograd through Hugging Face transformers,
 * models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3RMSNorm; linkedin/Liger-Kernel,
 * src/liger_kernel/ops/rms_norm.py.
 */
#include "rmsnorm.h"
#include "scratch.h"

typedef struct {
    const ref_reading *rd;
    const ref_reading *inner; /* of the norm itself */
    const dsv3_rmsnorm_backward_prob *prob;
    const dsv3_rmsnorm_backward_io *io;
    const dsv3_tensor *weight;
    ball *x, *g, *x_hat; /* (hidden_size): of the token in work */
    sum_record *sum;     /* (hidden_size): of grad_weight */
} gradient;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

static ball g_of(const gradient *d, int64_t t, int64_t i)
{
    ball const grad_y = element_at(d->rd, &d->io->grad_y, t, i);
    if (quirk(d->rd, QUIRK_D4_gain_missing)) return grad_y;
    ball const weight = element(d->rd, ref_decode(d->weight->dtype, d->weight->data, i));
    return round_at(d->inner, POINT_rmsnorm_backward_g, d->io->grad_x.dtype, ball_mul(weight, grad_y));
}

static bool goes_through_mean(const gradient *d)
{
    return !quirk(d->rd, QUIRK_D4_mean_missing);
}

/* ---- a row ---- */

/* Means over the row: of g x_hat, and of g x. */
typedef struct {
    ball by_hat, by_x;
} means;

/* The sum over n, divided here or behind what multiplies it. */
static ball mean_of(const ref_reading *rd, ball sum, double n)
{
    ball const mean = mean_over(rd, sum, n);
    return rd->declared && !ball_is_any(mean) ? either(rd, 1, mean, ball_div(sum, ball_of(n))) : mean;
}

static means means_of(const gradient *d)
{
    int64_t const n = d->prob->hidden_size;
    sum_record by_hat = empty_sum(), by_x = empty_sum();
    for (int64_t i = 0; i < n; i++) {
        add_term(&by_hat, ball_mul(d->g[i], d->x_hat[i]));
        add_term(&by_x, ball_mul(d->g[i], d->x[i]));
    }
    return (means){mean_over(d->inner, sum_of(d->inner, &by_hat), (double)n),
                   mean_of(d->inner, sum_of(d->inner, &by_x), (double)n)};
}

/* What multiplies by r, a product or a quotient by the root. */
static ball over_root(const ref_reading *rd, const rms *r)
{
    ball const quotient = over_rms(rd, ball_of(1), r);
    return rd->declared && !ball_is_any(quotient) ? either(rd, 2, r->inverse, quotient) : r->inverse;
}

/* The summands of an element: r g, and x_hat r m or x r^3 mean(g x), which is taken away. */
typedef struct {
    ball along, back;
} summands;

static summands summands_of(const gradient *d, const rms *r, const means *m, int64_t i)
{
    const ref_reading *const rd = d->inner;
    ball const r1 = over_root(rd, r), by_hat = product_of(rd, (ball[]){d->x_hat[i], r1, m->by_hat}, 3);
    ball const one = ball_of(1); /* of a mean that is divided late */
    ball const by_x = rd->declared ? product_of(rd, (ball[]){d->x[i], r1, r1, r1, m->by_x, one}, 6) : by_hat;
    return (summands){round_op(rd, over_rms(rd, d->g[i], r)), round_op(rd, either(rd, 3, by_hat, by_x))};
}

/* r (g - x_hat m), or r g less the other summand. (Lemma Norm) */
static ball through_norm(const gradient *d, const rms *r, const means *m, int64_t i)
{
    const ref_reading *const rd = d->inner;
    if (!goes_through_mean(d)) return over_rms(rd, d->g[i], r);
    ball const less = round_op(rd, ball_sub(d->g[i], round_op(rd, ball_mul(d->x_hat[i], m->by_hat))));
    ball const last = over_rms(rd, less, r);
    if (!rd->declared) return last;
    summands const s = summands_of(d, r, m, i);
    return either(rd, 4, last, ball_sub(s.along, s.back));
}

/* grad_residual_out added last, or before one of the summands is. */
static ball add_residual(const gradient *d, ball through, const summands *s, ball residual)
{
    const ref_reading *const rd = d->inner;
    ball const norm_first =
        ball_add(round_at(rd, POINT_rmsnorm_backward_grad_norm, d->io->grad_x.dtype, through), residual);
    bool const last = !rd->declared || declared_at(rd, POINT_rmsnorm_backward_grad_norm).must;
    if (last || !goes_through_mean(d)) return norm_first;
    ball const along_first = ball_sub(round_op(rd, ball_add(s->along, residual)), s->back);
    ball const back_first = ball_add(s->along, round_op(rd, ball_sub(residual, s->back)));
    return either(rd, 5, norm_first, either(rd, 6, along_first, back_first));
}

static ball grad_x_of(const gradient *d, const rms *r, const means *m, int64_t t, int64_t i)
{
    ball grad = through_norm(d, r, m, i);
    if (d->prob->residual) {
        summands const s = summands_of(d, r, m, i);
        grad = add_residual(d, grad, &s, element_at(d->rd, &d->io->grad_residual_out, t, i));
    }
    return round_at(d->rd, POINT_rmsnorm_backward_grad_x, d->io->grad_x.dtype, grad);
}

/* grad_y x_norm, as it is added to grad_weight */
static ball term_of(const gradient *d, const rms *r, int64_t t, int64_t i)
{
    dsv3_dtype const format = d->io->grad_x.dtype;
    ball const x_norm = round_at(d->inner, POINT_rmsnorm_backward_x_norm, format, over_rms(d->inner, d->x[i], r));
    return round_at(d->inner, POINT_rmsnorm_backward_terms, format,
                    ball_mul(element_at(d->rd, &d->io->grad_y, t, i), x_norm));
}

/* Reads token t and makes its root. */
static rms read_row(const gradient *d, int64_t t)
{
    int64_t const width = d->prob->hidden_size;
    norm const n = {.rd = d->inner, .width = width, .eps = d->prob->rms_norm_eps};
    for (int64_t i = 0; i < width; i++) d->x[i] = element_at(d->rd, &d->io->x, t, i), d->g[i] = g_of(d, t, i);
    rms const r = norm_root(&n, d->x);
    for (int64_t i = 0; i < width; i++)
        d->x_hat[i] =
            round_at(d->inner, POINT_rmsnorm_backward_x_hat, d->io->grad_x.dtype, over_rms(d->inner, d->x[i], &r));
    return r;
}

void ref_rmsnorm_backward(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_rmsnorm_backward_prob *const p = prob;
    const dsv3_rmsnorm_backward_io *const io = io_;
    int64_t const width = p->hidden_size;
    reading_room room;
    gradient d = {rd,  reading_of(rd, REF_NORM, &room), p, io, dsv3_find(&io->weights, "weight"), NULL, NULL, NULL,
                  NULL};
    d.x = scratch_take(rd->scratch, width, sizeof *d.x);
    d.g = scratch_take(rd->scratch, width, sizeof *d.g);
    d.x_hat = scratch_take(rd->scratch, width, sizeof *d.x_hat);
    d.sum = scratch_take(rd->scratch, width, sizeof *d.sum);
    for (int64_t i = 0; i < width; i++) d.sum[i] = empty_sum();
    for (int64_t t = 0; t < p->n_tokens; t++) {
        rms const r = read_row(&d, t);
        means const m = means_of(&d);
        for (int64_t i = 0; out[0] && i < width; i++) out[0][t * width + i] = value_of(grad_x_of(&d, &r, &m, t, i));
        for (int64_t i = 0; out[1] && i < width; i++) add_term(&d.sum[i], term_of(&d, &r, t, i));
    }
    for (int64_t i = 0; out[1] && i < width; i++)
        out[1][i] = value_of(
            round_at(rd, POINT_rmsnorm_backward_grad_weight, io->grad_weight.dtype, sum_of(d.inner, &d.sum[i])));
}
