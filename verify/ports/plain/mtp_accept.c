/* Speculative decoding: how many drafts are accepted, and the token after them. All in binary64. */
#include "plain.h"

static double total(const float *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)v[i];
    return sum;
}

/* Is draft x accepted? */
static int accepts(const dsv3_mtp_accept_prob *m, const float *p, const float *q, float u, int32_t x)
{
    if (m->greedy) return largest(p, m->vocab_size) == x;
    return (double)u * ((double)q[x] / total(q, m->vocab_size)) < (double)p[x] / total(p, m->vocab_size);
}

/* What token v weighs when the next token is drawn; no q: p itself. */
static double left(const float *p, const float *q, double p_sum, double q_sum, int64_t v)
{
    if (!q) return (double)p[v];
    return fmax((double)p[v] / p_sum - (double)q[v] / q_sum, 0);
}

static int64_t sample(const dsv3_mtp_accept_prob *m, const float *p, const float *q, float u)
{
    double const p_sum = total(p, m->vocab_size), q_sum = q ? total(q, m->vocab_size) : 1;
    double whole = 0, prefix = 0;
    int64_t last = 0;
    for (int64_t v = 0; v < m->vocab_size; v++) whole += left(p, q, p_sum, q_sum, v);
    for (int64_t v = 0; v < m->vocab_size; v++) {
        double const weight = left(p, q, p_sum, q_sum, v);
        prefix += weight;
        if ((double)u * whole < prefix) return v;
        if (weight > 0) last = v;
    }
    return last;
}

dsv3_status plain_mtp_accept(dsv3_ctx *ctx, const dsv3_mtp_accept_prob *m, const dsv3_mtp_accept_io *io)
{
    (void)ctx;
    for (int64_t b = 0; b < m->batch; b++) {
        const int32_t *const x = (const int32_t *)io->draft_tokens.data + b * io->draft_tokens.stride[0];
        const float *const q = (const float *)io->draft_probs.data + b * io->draft_probs.stride[0];
        const float *const p = (const float *)io->target_probs.data + b * io->target_probs.stride[0];
        const float *const u = (const float *)io->uniforms.data + b * io->uniforms.stride[0];
        int64_t n = 0;
        int64_t const p_row = io->target_probs.stride[1], q_row = io->draft_probs.stride[1];
        while (n < m->n_draft && accepts(m, p + n * p_row, q + n * q_row, u[n], x[n])) n++;
        const float *const at = p + n * p_row, *const rejected = n < m->n_draft ? q + n * q_row : NULL;
        ((int32_t *)io->accepted.data)[b] = (int32_t)n;
        ((int32_t *)io->next_token.data)[b] =
            (int32_t)(m->greedy ? largest(at, m->vocab_size) : sample(m, at, rejected, u[m->n_draft]));
    }
    return DSV3_OK;
}

const char *plain_mtp_accept_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 53 rn splits=1; div ieee; flush none";
}
