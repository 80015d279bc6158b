/* Speculative decoding: how many drafts are accepted, and the token after them. Sums in binary64, in order. */
#include "ctx.h"
#include "elementwise.h"
#include "fast.h"

typedef struct {
    const dsv3_mtp_accept_prob *p;
    const dsv3_mtp_accept_io *io;
} acceptance;

static double total(const float *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)v[i];
    return sum;
}

static bool accepts(const dsv3_mtp_accept_prob *m, const float *p, const float *q, float u, int32_t x)
{
    if (m->greedy) return first_largest(p, m->vocab_size) == x;
    return (double)u * ((double)q[x] / total(q, m->vocab_size)) < (double)p[x] / total(p, m->vocab_size);
}

/* What token v weighs; q NULL: p itself. */
static double left(const float *p, const float *q, double p_sum, double q_sum, int64_t v)
{
    return q ? fmax((double)p[v] / p_sum - (double)q[v] / q_sum, 0) : (double)p[v];
}

static int32_t sample(const float *p, const float *q, int64_t n, float u)
{
    double const p_sum = total(p, n), q_sum = q ? total(q, n) : 1;
    double whole = 0, prefix = 0;
    int32_t last = 0;
    for (int64_t v = 0; v < n; v++) whole += left(p, q, p_sum, q_sum, v);
    for (int32_t v = 0; v < n; v++) {
        double const weight = left(p, q, p_sum, q_sum, v);
        prefix += weight;
        if ((double)u * whole < prefix) return v;
        if (weight > 0) last = v;
    }
    return last;
}

static void accept_sequence(const void *job, int64_t b, int worker)
{
    (void)worker;
    const acceptance *const m = job;
    const dsv3_mtp_accept_io *const io = m->io;
    const int32_t *const x = (const int32_t *)io->draft_tokens.data + b * io->draft_tokens.stride[0];
    const float *const q = (const float *)io->draft_probs.data + b * io->draft_probs.stride[0];
    const float *const p = (const float *)io->target_probs.data + b * io->target_probs.stride[0];
    const float *const u = (const float *)io->uniforms.data + b * io->uniforms.stride[0];
    int64_t const vocab = m->p->vocab_size, drafts = m->p->n_draft;
    int64_t const p_row = io->target_probs.stride[1], q_row = io->draft_probs.stride[1];
    int64_t n = 0;
    while (n < drafts && accepts(m->p, p + n * p_row, q + n * q_row, u[n], x[n])) n++;
    const float *const at = p + n * p_row, *const rejected = n < drafts ? q + n * q_row : NULL;
    ((int32_t *)io->accepted.data)[b] = (int32_t)n;
    ((int32_t *)io->next_token.data)[b] =
        m->p->greedy ? (int32_t)first_largest(at, vocab) : sample(at, rejected, vocab, u[drafts]);
}

dsv3_status fast_mtp_accept(dsv3_ctx *ctx, const dsv3_mtp_accept_prob *p, const dsv3_mtp_accept_io *io)
{
    acceptance const m = {p, io};
    ctx_run(ctx, accept_sequence, &m, p->batch);
    return DSV3_OK;
}

const char *fast_mtp_accept_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 53 rn splits=1; div ieee; flush none";
}
