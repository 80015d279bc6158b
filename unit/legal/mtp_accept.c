/* mtp_accept: docs/components/mtp_accept.md. */
#include "legal.h"

#include <math.h>
#include <string.h>

void legal_mtp_accept_config(legal *c, dsv3_mtp_accept_prob const *p, dsv3_mtp_accept_io const *io)
{
    (void)io;
    legal_start(c, "mtp_accept", p->batch, p->n_draft, p->vocab_size, p->greedy);
    legal_sums(c, false);
    legal_arithmetic(c, false);
    legal_division(c);
}

static void load(legal const *c, dsv3_tensor const *t, int64_t row, int64_t n, double *x)
{
    for (int64_t i = 0; i < n; i++) x[i] = legal_load(c, t, legal_row(t, row) + i);
}

static void put(dsv3_tensor const *t, int64_t at, int32_t x)
{
    memcpy((char *)t->data + 4 * at, &x, 4);
}

static int32_t argmax(int64_t n, double const *x)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return (int32_t)best;
}

static double sum_of(legal const *c, int64_t n, double const *x)
{
    return legal_cast(c, legal_dot(c, n, x, NULL));
}

/* u < p(x) / q(x): by a division, or u q < p; rows divided by their sums, or taken as they are. */
static bool accepts(legal const *c, int64_t n, double u, double const *p, double const *q, int64_t x)
{
    bool const sums = legal_draw(c, "rows_by_sums", 2), closed = legal_draw(c, "closed", 2);
    double const over = sums ? legal_div(c, p[x], sum_of(c, n, p)) : p[x];
    double const under = sums ? legal_div(c, q[x], sum_of(c, n, q)) : q[x];
    if (over == 0) return false;
    if (under == 0) return true;
    double const ratio = legal_div(c, over, under);
    return closed ? u <= ratio : u < ratio;
}

/* The smallest v with u < F(v): every prefix is a sum as declared, compared with u times the whole. */
static int32_t drawn(legal const *c, int64_t n, double u, double const *w)
{
    double const target = legal_op(c, u * sum_of(c, n, w));
    int32_t last = 0;
    for (int64_t v = 0; v < n; v++) {
        if (w[v] == 0) continue;
        last = (int32_t)v;
        if (target < sum_of(c, v + 1, w)) break;
    }
    return last;
}

static void residual(legal const *c, int64_t n, double *p, double const *q)
{
    bool const sums = legal_draw(c, "rows_by_sums", 2);
    double const over = sums ? sum_of(c, n, p) : 1, under = sums ? sum_of(c, n, q) : 1;
    for (int64_t v = 0; v < n; v++) {
        double const a = sums ? legal_div(c, p[v], over) : p[v], b = sums ? legal_div(c, q[v], under) : q[v];
        p[v] = fmax(0, legal_op(c, a - b));
    }
}

dsv3_status legal_mtp_accept(dsv3_ctx *ctx, dsv3_mtp_accept_prob const *p, dsv3_mtp_accept_io const *io)
{
    (void)ctx;
    legal c;
    legal_mtp_accept_config(&c, p, io);
    int64_t const n = p->vocab_size, drafts = p->n_draft;
    double *target = legal_room(n), *draft = legal_room(n);
    if (!target || !draft) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++) {
        int64_t i = 0;
        for (; i < drafts; i++) {
            load(&c, &io->target_probs, b * (drafts + 1) + i, n, target);
            load(&c, &io->draft_probs, b * drafts + i, n, draft);
            int64_t const x = (int64_t)legal_load(&c, &io->draft_tokens, legal_row(&io->draft_tokens, b) + i);
            double const u = legal_load(&c, &io->uniforms, legal_row(&io->uniforms, b) + i);
            if (p->greedy ? x != argmax(n, target) : !accepts(&c, n, u, target, draft, x)) break;
        }
        load(&c, &io->target_probs, b * (drafts + 1) + i, n, target);
        if (i < drafts && !p->greedy) residual(&c, n, target, draft);
        double const last = legal_load(&c, &io->uniforms, legal_row(&io->uniforms, b) + drafts);
        put(&io->accepted, b, (int32_t)i);
        put(&io->next_token, b, p->greedy ? argmax(n, target) : drawn(&c, n, last, target));
    }
    return DSV3_OK;
}
