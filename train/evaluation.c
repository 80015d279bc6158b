/* See evaluation.h. */
#include "evaluation.h"

#include "sampling.h"

#include <math.h>
#include <stdlib.h>

double const evaluation_temperature[TEMPERATURES] = {0.25, 0.5, 0.7, 1, 1.5};

double max_violation(const int64_t *load, int64_t n_routed_experts)
{
    int64_t most = 0, sum = 0;
    for (int64_t e = 0; e < n_routed_experts; e++) {
        sum += load[e];
        if (load[e] > most) most = load[e];
    }
    return sum ? (double)most * (double)n_routed_experts / (double)sum - 1 : 0;
}

/* ---- one batch ---- */

static const float *logits_of(const pass *p, int depth, int64_t b, int64_t t)
{
    return (const float *)p->logits.data + ((depth * p->d.n + b * p->length + t) * p->logits.shape[1]);
}

static int largest(const float *v, int64_t n)
{
    int at = 0;
    for (int64_t i = 1; i < n; i++)
        if (v[i] > v[at]) at = (int)i;
    return at;
}

static double overlap(const float *a, const float *b, int64_t n, double temperature, double *space)
{
    double sum = 0;
    softmax_at(a, n, temperature, space), softmax_at(b, n, temperature, space + n);
    for (int64_t i = 0; i < n; i++) sum += fmin(space[i], space[n + i]);
    return sum;
}

/* How often something was so, of how many. */
typedef struct {
    double hits, all;
} share;

static double rate(const share *s)
{
    return s->all > 0 ? s->hits / s->all : 0;
}

static void count(share *s, double hit)
{
    s->hits += hit, s->all++;
}

typedef struct {
    share top1[MOST_MODULES + 1], agree[MOST_MODULES + 1], in_turn[MOST_MODULES + 1];
    share accept[MOST_MODULES + 1][TEMPERATURES], greedy_draft[TEMPERATURES], reused, shifted, frequent;
    double *space; /* (2, vocab_size) */
    int *best;     /* (depth, n) */
    int frequent_byte;
} tally;

/* Sampled: the overlap of both distributions, which is in y->space afterwards, the main model's first. */
static void tally_sampled(tally *y, const pass *p, int64_t b, int64_t t, int k)
{
    int64_t const vocab = p->logits.shape[1];
    int const draft = y->best[k * p->d.n + b * p->length + t];
    for (int i = 0; i < TEMPERATURES; i++) {
        count(&y->accept[k][i],
              overlap(logits_of(p, 0, b, t + k), logits_of(p, k, b, t), vocab, evaluation_temperature[i], y->space));
        if (k == 1) count(&y->greedy_draft[i], y->space[draft]);
    }
}

/* Place t of window b: depth k spoke there of byte t + k + 1, and the main model at t + k of the same one. */
static void tally_place(tally *y, const pass *p, int64_t b, int64_t t)
{
    int64_t const at = b * p->length + t;
    bool in_turn = true;
    for (int k = 0; k <= p->modules; k++) count(&y->top1[k], y->best[k * p->d.n + at] == p->labels[k * p->d.n + at]);
    count(&y->frequent, y->best[at] == y->frequent_byte);
    for (int k = 1; k <= p->modules && t + k < p->length; k++) {
        bool const agrees = y->best[k * p->d.n + at] == y->best[at + k];
        count(&y->agree[k], agrees);
        if (k == 1 && t + 2 < p->length) count(&y->shifted, y->best[p->d.n + at] == y->best[at + 2]);
        in_turn = in_turn && agrees;
        count(&y->in_turn[k], in_turn);
        tally_sampled(y, p, b, t, k);
    }
}

static void tally_pass(tally *y, const pass *p)
{
    for (int64_t i = 0; i < (p->modules + 1) * p->d.n; i++)
        y->best[i] = largest((const float *)p->logits.data + i * p->logits.shape[1], p->logits.shape[1]);
    for (int64_t b = 0; b < p->d.batch; b++)
        for (int64_t t = 0; t < p->length; t++) tally_place(y, p, b, t);
}

/* Depth 2 by module 1, at the places where depth 1 agreed. */
static void tally_reused(tally *y, const pass *p)
{
    for (int64_t i = 0; i < p->d.n; i++)
        y->best[2 * p->d.n + i] =
            largest((const float *)p->logits.data + (2 * p->d.n + i) * p->logits.shape[1], p->logits.shape[1]);
    for (int64_t i = 0; i < p->d.n; i++)
        if (i % p->length + 2 < p->length && y->best[p->d.n + i] == y->best[i + 1])
            count(&y->reused, y->best[2 * p->d.n + i] == y->best[i + 2]);
}

/* ---- all of them ---- */

static void add_loads(evaluation *e, const model *m)
{
    int64_t const experts = m->config.n_routed_experts;
    for (int i = 0; i < model_moe_layers(m); i++)
        for (int64_t x = 0; x < experts; x++) e->load[i * experts + x] += model_moe_layer(m, i)->load[x];
}

static int most_frequent(const training_text *t)
{
    int64_t seen[256] = {0};
    int most = 0;
    for (int64_t i = 0; i < t->learned; i++) seen[t->byte[i]]++;
    for (int v = 1; v < 256; v++)
        if (seen[v] > seen[most]) most = v;
    return most;
}

int64_t held_out_windows(const pass *p, const training_text *t, int64_t windows)
{
    int64_t const held_out = t->count - t->learned;
    int64_t const there = (held_out - window_bytes(p)) / (3 * p->length) + 1;
    if (windows > there) windows = there;
    windows -= windows % p->d.batch;
    return windows < p->d.batch ? p->d.batch : windows; /* for which there is text: evaluation_bytes */
}

void held_out_set(pass *p, const training_text *t, int64_t first)
{
    for (int64_t b = 0; b < p->d.batch; b++) pass_set(p, b, t->byte + t->learned + (first + b) * 3 * p->length);
}

static bool run_batches(evaluation *e, tally *y, pass *p, const training_text *t, int64_t windows)
{
    for (int64_t w = 0; w < windows; w += p->d.batch, e->windows += p->d.batch) {
        held_out_set(p, t, w);
        if (!pass_forward(p)) return false;
        for (int k = 0; k <= p->modules; k++) e->loss[k] += p->loss[k];
        add_loads(e, p->m);
        tally_pass(y, p);
        if (p->modules > 1 && !pass_reuse_first_module(p)) return false;
        if (p->modules > 1) tally_reused(y, p);
    }
    return true;
}

static void settle(evaluation *e, const tally *y, const pass *p)
{
    double const batches = (double)(e->windows / p->d.batch);
    for (int k = 0; k <= p->modules; k++) {
        e->loss[k] /= batches;
        e->top1[k] = rate(&y->top1[k]);
        e->agree[k] = rate(&y->agree[k]), e->agree_in_turn[k] = rate(&y->in_turn[k]);
        for (int i = 0; i < TEMPERATURES; i++) e->accept[k][i] = rate(&y->accept[k][i]);
    }
    for (int i = 0; i < TEMPERATURES; i++) e->greedy_draft[i] = rate(&y->greedy_draft[i]);
    e->reused = rate(&y->reused), e->shifted = rate(&y->shifted), e->frequent = rate(&y->frequent);
}

int64_t evaluation_bytes(int64_t batch, int64_t length, int64_t modules)
{
    return (batch - 1) * 3 * length + length + 1 + modules;
}

bool evaluate(evaluation *e, pass *p, const training_text *t, int64_t windows, complaint *why)
{
    const model *const m = p->m;
    *e = (evaluation){.load = calloc((size_t)(model_moe_layers(m) * m->config.n_routed_experts), sizeof *e->load)};
    tally y = {.space = calloc((size_t)(2 * p->logits.shape[1]), sizeof *y.space),
               .best = calloc((size_t)((p->modules + 1) * p->d.n), sizeof *y.best),
               .frequent_byte = most_frequent(t)};
    bool const there_is = e->load && y.space && y.best;
    if (!there_is) refuse(why, "no memory for an evaluation");
    bool const good = there_is && run_batches(e, &y, p, t, held_out_windows(p, t, windows));
    if (good) settle(e, &y, p);
    free(y.space), free(y.best);
    if (!good) evaluation_close(e);
    return good;
}

void evaluation_close(evaluation *e)
{
    free(e->load);
    e->load = NULL;
}
