/*
 * RMSNorm:  z = x (+ residual),  ms = (1/n) sum_i z_i^2,  x_norm_i = z_i / sqrt(ms + eps),  y_i = weight_i x_norm_i.
 * Source: Zhang and Sennrich, arXiv 1910.07467, eq. 4; Hugging Face transformers,
 * models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3RMSNorm.
 */
#include "rmsnorm.h"

#include "scratch.h"

rms norm_root(const norm *n, const ball *z)
{
    const ref_reading *const rd = n->rd;
    sum_record sum = empty_sum();
    for (int64_t i = 0; i < n->width; i++) add_term(&sum, ball_mul(z[i], z[i]));
    ball const ms = mean_over(rd, sum_of(rd, &sum), (double)n->width);
    ball const eps = constant(rd, n->eps);
    if (quirk(rd, QUIRK_A3_eps_missing)) return rms_of(rd, ms);
    if (!quirk(rd, QUIRK_A3_eps_outside)) return rms_of(rd, round_op(rd, ball_add(ms, eps)));
    ball const outside = round_op(rd, ball_add(ball_sqrt(ms), eps));
    return (rms){quotient_of(rd, ball_of(1), outside), outside};
}

/* What is normalised; the mistake: less its mean, which is put into y. */
static const ball *norm_input(const norm *n, const ball *z, ball *y)
{
    if (!quirk(n->rd, QUIRK_A2_mean_subtracted)) return z;
    sum_record sum = empty_sum();
    for (int64_t i = 0; i < n->width; i++) add_term(&sum, z[i]);
    ball const mean = mean_over(n->rd, sum_of(n->rd, &sum), (double)n->width);
    for (int64_t i = 0; i < n->width; i++) y[i] = round_op(n->rd, ball_sub(z[i], mean));
    return y;
}

void norm_row(const norm *given, const ball *x, ball *y)
{
    reading_room room;
    norm n = *given;
    n.rd = reading_of(n.rd, REF_NORM, &room);
    const ball *const z = norm_input(&n, x, y);
    rms const r = norm_root(&n, z);
    for (int64_t i = 0; i < n.width; i++) {
        ball const x_norm = round_at(n.rd, n.point_x_norm, n.format, over_rms(n.rd, z[i], &r));
        ball const weight = element(n.rd, ref_decode(n.weight->dtype, n.weight->data, i));
        y[i] = round_at(n.rd, n.point_y, n.format, ball_mul(weight, x_norm));
    }
}

/* ---- the op ---- */

typedef struct {
    const ref_reading *rd;
    const dsv3_rmsnorm_prob *prob;
    const dsv3_rmsnorm_io *io;
} input;

/* x + residual, exactly. */
static ball residual_sum(const input *n, int64_t t, int64_t i)
{
    ball const x = element_at(n->rd, &n->io->x, t, i);
    return n->prob->residual ? ball_add(x, element_at(n->rd, &n->io->residual, t, i)) : x;
}

/* z: the row as the norm reads it. */
static void read_row(const input *n, int64_t t, ball *z)
{
    int64_t const width = n->prob->hidden_size;
    for (int64_t i = 0; i < width; i++) {
        ball const sum = residual_sum(n, t, i);
        z[i] = n->prob->residual ? round_at(n->rd, POINT_rmsnorm_z, n->io->y.dtype, sum) : sum;
    }
}

void ref_rmsnorm(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_rmsnorm_io *const io = io_;
    input const in = {rd, prob, io};
    int64_t const width = in.prob->hidden_size;
    norm const n = {rd,
                    dsv3_find(&io->weights, "weight"),
                    width,
                    in.prob->rms_norm_eps,
                    POINT_rmsnorm_x_norm,
                    POINT_rmsnorm_y,
                    io->y.dtype};
    ball *const z = scratch_take(rd->scratch, width, sizeof *z);
    for (int64_t t = 0; t < in.prob->n_tokens; t++) {
        if (out[0]) {
            read_row(&in, t, z);
            norm_row(&n, z, z);
            for (int64_t i = 0; i < width; i++) out[0][t * width + i] = value_of(z[i]);
        }
        for (int64_t i = 0; out[1] && i < width; i++)
            out[1][t * width + i] =
                value_of(round_at(rd, POINT_rmsnorm_residual_out, io->residual_out.dtype, residual_sum(&in, t, i)));
    }
}
