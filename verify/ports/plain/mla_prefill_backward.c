/* The gradients of attention with a key and a value for each head: P by lse, D by o. */
#include "plain.h"

/* One head of one sequence. */
typedef struct {
    const dsv3_mla_prefill_backward_io *io;
    int64_t head, first_query, first_key, queries, keys; /* of the sequence */
    int64_t width, columns;                              /* of a query, of a value */
    float scale;
    float *P, *dS; /* (queries, keys) */
} square;

/* Where query i, or key j, has its row of a tensor. */
static int64_t of_query(const square *s, const dsv3_tensor *t, int64_t i)
{
    return (s->first_query + i) * t->stride[0] + s->head * t->stride[1];
}

static int64_t of_key(const square *s, const dsv3_tensor *t, int64_t j)
{
    return (s->first_key + j) * t->stride[0] + s->head * t->stride[1];
}

/* How many keys query i sees: the last one sees all. */
static int64_t seen_by(const square *s, int64_t i)
{
    int64_t const n = s->keys - s->queries + i + 1;
    return n > 0 ? n : 0;
}

static float dot(const dsv3_tensor *a, int64_t at, const dsv3_tensor *b, int64_t bt, int64_t n)
{
    float sum = 0;
    for (int64_t c = 0; c < n; c++) sum += load_at(a, at + c) * load_at(b, bt + c);
    return sum;
}

/* P and dS of query i. */
static void differentiate(const square *s, int64_t i)
{
    const dsv3_mla_prefill_backward_io *const io = s->io;
    int64_t const n = seen_by(s, i), go = of_query(s, &io->grad_o, i);
    float const D = dot(&io->grad_o, go, &io->o, of_query(s, &io->o, i), s->columns);
    float const lse = load_at(&io->lse, (s->first_query + i) * io->lse.stride[0] + s->head);
    for (int64_t j = 0; j < s->keys; j++) {
        float const score = dot(&io->q, of_query(s, &io->q, i), &io->k, of_key(s, &io->k, j), s->width) * s->scale;
        float const dP = dot(&io->grad_o, go, &io->v, of_key(s, &io->v, j), s->columns);
        float const P = j < n ? expf(score - lse) : 0;
        s->P[i * s->keys + j] = P;
        s->dS[i * s->keys + j] = P * (dP - D);
    }
}

static void grad_q_of(const square *s, int64_t i)
{
    const dsv3_mla_prefill_backward_io *const io = s->io;
    for (int64_t c = 0; c < s->width; c++) {
        float sum = 0;
        for (int64_t j = 0; j < s->keys; j++) sum += s->dS[i * s->keys + j] * load_at(&io->k, of_key(s, &io->k, j) + c);
        store_at(&io->grad_q, of_query(s, &io->grad_q, i) + c, sum * s->scale);
    }
}

/* factor times the sum over queries of weight (i, j) x_i */
static void sum_over_queries(const square *s, int64_t j, const float *weight, const dsv3_tensor *x, int64_t n,
                             float factor, const dsv3_tensor *out)
{
    for (int64_t c = 0; c < n; c++) {
        float sum = 0;
        for (int64_t i = 0; i < s->queries; i++) sum += weight[i * s->keys + j] * load_at(x, of_query(s, x, i) + c);
        store_at(out, of_key(s, out, j) + c, sum * factor);
    }
}

static void grads_of_head(const square *s)
{
    const dsv3_mla_prefill_backward_io *const io = s->io;
    for (int64_t i = 0; i < s->queries; i++) differentiate(s, i);
    for (int64_t i = 0; i < s->queries; i++) grad_q_of(s, i);
    for (int64_t j = 0; j < s->keys; j++) {
        sum_over_queries(s, j, s->dS, &io->q, s->width, s->scale, &io->grad_k);
        sum_over_queries(s, j, s->P, &io->grad_o, s->columns, 1, &io->grad_v);
    }
}

dsv3_status plain_mla_prefill_backward(dsv3_ctx *ctx, const dsv3_mla_prefill_backward_prob *p,
                                       const dsv3_mla_prefill_backward_io *io)
{
    square s = {.io = io, .width = p->qk_nope_head_dim + p->qk_rope_head_dim, .columns = p->v_head_dim};
    s.scale = (float)p->softmax_scale;
    if (!is_float(&io->q) || !is_float(&io->k) || !is_float(&io->v)) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++) {
        s.first_query = int_at(&io->cu_seqlens_q, b), s.first_key = int_at(&io->cu_seqlens_k, b);
        s.queries = int_at(&io->cu_seqlens_q, b + 1) - s.first_query;
        s.keys = int_at(&io->cu_seqlens_k, b + 1) - s.first_key;
        s.P = scratch(ctx, 2 * s.queries * s.keys + 1);
        if (!s.P) return DSV3_NO_MEMORY;
        s.dS = s.P + s.queries * s.keys;
        for (s.head = 0; s.head < p->num_attention_heads; s.head++) grads_of_head(&s);
    }
    return DSV3_OK;
}

const char *plain_mla_prefill_backward_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 24 rn splits=1; div ieee; exp 2 0; log 2 0; rescales 0; scaled scores; parts 1; flush none; "
           "scores f32 must; o output must; lse f32 must; P f32 must; P_v f32 must; dP f32 must; D f32 must; "
           "dS f32 must";
}
