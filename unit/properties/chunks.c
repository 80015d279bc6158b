/* Cached keys may be attended to chunk by chunk: mla_prefill with full=1 over each chunk and with full=0 over the new tokens, merged by
 * merge_state, is mla_prefill over all of them. A chunk may be empty, and longer or shorter than the queries. */
#include "case/fill.h"
#include "case/problem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

TestSuite(chunks, .timeout = 120);

extern const dsv3_backend dsv3_backend_portable;

enum { BATCH = 4, PARTS = 3, NEW = PARTS - 1 };
#define CASE "mla_prefill@odd:q_lens=3+5+2+1,kv_lens=10+5+9+3"

/* Of each sequence the keys of a part: chunks of at most four, the rest, those of the queries themselves. */
static const int64_t lengths[PARTS][BATCH] = {{4, 0, 4, 2}, {3, 0, 3, 0}, {3, 5, 2, 1}};

typedef struct {
    problem p;
    void **data;
    dsv3_mla_prefill_prob prob;
    dsv3_mla_prefill_io *io;
    int64_t rows, width; /* of lse; of o: rows of so many numbers */
} whole;

typedef struct {
    dsv3_mla_prefill_prob prob;
    dsv3_mla_prefill_io io;
    int32_t starts[BATCH + 1];
    char *k, *v;
} part;

static whole whole_of(const char *id)
{
    whole w;
    complaint why;
    cr_assert(problem_parse(id, &w.p, &why) && tensors_open(&w.p, &w.data), "%s", id);
    memcpy(&w.prob, w.p.prob.bytes, sizeof w.prob);
    cr_assert(w.io = problem_bind(&w.p, w.data));
    w.rows = w.prob.n_tokens * w.prob.num_attention_heads, w.width = w.prob.v_head_dim;
    return w;
}

static void close_whole(whole *w)
{
    free(w->io);
    tensors_close(&w->p, w->data);
    problem_close(&w->p);
}

/* Rows `from` to `from + n` of t, behind those that are there. */
static void append(dsv3_tensor *t, const dsv3_tensor *all, int64_t from, int64_t n)
{
    size_t const row = (size_t)all->stride[0] * ref_dtype_size(all->dtype);
    if (n)
        memcpy((char *)t->data + (size_t)t->shape[0] * row, (const char *)all->data + (size_t)from * row,
               (size_t)n * row);
    t->shape[0] += n;
}

static void cut(const whole *w, int number, part *s)
{
    const int32_t *const starts = w->io->cu_seqlens_k.data;
    *s = (part){.prob = w->prob, .io = *w->io};
    size_t const size = ref_dtype_size(w->io->k.dtype);
    s->k = malloc((size_t)(w->prob.n_keys * w->io->k.stride[0]) * size);
    s->v = malloc((size_t)(w->prob.n_keys * w->io->v.stride[0]) * size);
    cr_assert(s->k && s->v);
    s->io.k.data = s->k, s->io.v.data = s->v, s->io.cu_seqlens_k.data = s->starts;
    s->io.k.shape[0] = s->io.v.shape[0] = 0;
    for (int b = 0; b < BATCH; b++) {
        int64_t from = starts[b];
        for (int i = 0; i < number; i++) from += lengths[i][b];
        append(&s->io.k, &w->io->k, from, lengths[number][b]), append(&s->io.v, &w->io->v, from, lengths[number][b]);
        s->starts[b + 1] = (int32_t)s->io.k.shape[0];
    }
    s->prob.n_keys = s->starts[BATCH], s->prob.full = number != NEW;
}

static void drop(part *s)
{
    free(s->k), free(s->v);
}

/* ---- exactly ---- */

typedef struct {
    long double *o, *lse;
} attended;

static long double number(const ref_value *v)
{
    return isfinite(v->hi) ? (long double)v->hi + (long double)v->lo : (long double)v->hi;
}

static attended exactly(const whole *w, const dsv3_mla_prefill_prob *prob, const dsv3_mla_prefill_io *io)
{
    ref_reading const exact = {.declared = NULL};
    ref_value *const o = calloc((size_t)(w->rows * w->width), sizeof *o), *const lse =
                                                                              calloc((size_t)w->rows, sizeof *lse);
    attended const a = {calloc((size_t)(w->rows * w->width), sizeof *a.o), calloc((size_t)w->rows, sizeof *a.lse)};
    cr_assert(o && lse && a.o && a.lse && ref_256.mla_prefill(&exact, prob, io, (ref_value *const[]){o, lse}));
    for (int64_t i = 0; i < w->rows * w->width; i++) a.o[i] = number(&o[i]);
    for (int64_t i = 0; i < w->rows; i++) a.lse[i] = number(&lse[i]);
    free(o), free(lse);
    return a;
}

static void forget(attended *a)
{
    free(a->o), free(a->lse);
}

/* What `to` holds becomes attention over both. */
static void merge(const whole *w, attended *to, const attended *more)
{
    for (int64_t r = 0; r < w->rows; r++) {
        long double const most = fmaxl(to->lse[r], more->lse[r]);
        if (most == -HUGE_VALL) continue;
        long double const a = expl(to->lse[r] - most), b = expl(more->lse[r] - most);
        for (int64_t i = r * w->width; i < (r + 1) * w->width; i++)
            to->o[i] = (a * to->o[i] + b * more->o[i]) / (a + b);
        to->lse[r] = most + logl(a + b);
    }
}

static long double distance(const long double *a, const long double *b, int64_t n)
{
    long double worst = 0;
    for (int64_t i = 0; i < n; i++) worst = fmaxl(worst, fabsl(a[i] - b[i]) / (1 + fabsl(b[i])));
    return worst;
}

Test(chunks, exactly_the_whole)
{
    static const char *const ids[] = {CASE ",q=f32", CASE, CASE ",q=f32;fill=adversarial", CASE ",q=f32;fill=uniform"};
    for (size_t k = 0; k < sizeof ids / sizeof *ids; k++) {
        whole w = whole_of(ids[k]);
        attended all = exactly(&w, &w.prob, w.io), merged = {NULL, NULL};
        for (int i = 0; i < PARTS; i++) {
            part s;
            cut(&w, i, &s);
            attended one = exactly(&w, &s.prob, &s.io);
            if (i)
                merge(&w, &merged, &one), forget(&one);
            else
                merged = one;
            drop(&s);
        }
        cr_expect(distance(merged.o, all.o, w.rows * w.width) < 0x1p-55L, "%s: o is off by %Lg", ids[k],
                  distance(merged.o, all.o, w.rows * w.width));
        cr_expect(distance(merged.lse, all.lse, w.rows) < 0x1p-55L, "%s: lse is off by %Lg", ids[k],
                  distance(merged.lse, all.lse, w.rows));
        forget(&all), forget(&merged), close_whole(&w);
    }
}

/* ---- by a port ---- */

/* o and lse of its own, in binary32. */
static void give_outputs(const whole *w, dsv3_tensor *o, dsv3_tensor *lse)
{
    *o = w->io->o, *lse = w->io->lse;
    cr_assert(o->data = calloc((size_t)(w->rows * w->width), sizeof(float)));
    cr_assert(lse->data = calloc((size_t)w->rows, sizeof(float)));
}

static float worst_of_port(const whole *w, const attended *all, const dsv3_tensor *o, const dsv3_tensor *lse)
{
    float worst = 0;
    for (int64_t i = 0; i < w->rows * w->width; i++)
        worst = fmaxf(worst, (float)(fabsl(((const float *)o->data)[i] - all->o[i]) / (1 + fabsl(all->o[i]))));
    for (int64_t i = 0; i < w->rows; i++)
        worst = fmaxf(worst, (float)(fabsl(((const float *)lse->data)[i] - all->lse[i]) / (1 + fabsl(all->lse[i]))));
    return worst;
}

/* A port merges what it wrote, in binary32. */
Test(chunks, by_a_port)
{
    const dsv3_backend *const port = &dsv3_backend_portable;
    dsv3_ctx *ctx = NULL;
    whole w = whole_of(CASE ",q=f32");
    attended all = exactly(&w, &w.prob, w.io);
    dsv3_merge_state_prob const prob = {w.prob.n_tokens, w.prob.num_attention_heads, w.width, 0, 0};
    dsv3_merge_state_io merging = {.weights = {0, NULL}};
    cr_assert(port->open(&ctx, 0) == DSV3_OK);
    give_outputs(&w, &merging.o_a, &merging.lse_a);
    for (int i = 0; i < PARTS; i++) {
        part s;
        cut(&w, i, &s);
        give_outputs(&w, &merging.o_b, &merging.lse_b), give_outputs(&w, &merging.o, &merging.lse);
        s.io.o = merging.o_b, s.io.lse = merging.lse_b;
        cr_assert(port->mla_prefill(ctx, &s.prob, &s.io) == DSV3_OK);
        for (int64_t r = 0; !i && r < w.rows; r++) ((float *)merging.lse_a.data)[r] = -INFINITY;
        cr_assert(port->merge_state(ctx, &prob, &merging) == DSV3_OK);
        free(merging.o_a.data), free(merging.lse_a.data), free(merging.o_b.data), free(merging.lse_b.data);
        merging.o_a = merging.o, merging.lse_a = merging.lse;
        drop(&s);
    }
    float const worst = worst_of_port(&w, &all, &merging.o, &merging.lse);
    cr_expect(worst < 0x1p-20f, "off by %g", (double)worst);
    free(merging.o.data), free(merging.lse.data);
    port->close(ctx);
    forget(&all), close_whole(&w);
}
