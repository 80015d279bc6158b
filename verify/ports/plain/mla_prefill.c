/* Attention with a key and a value for each head, sequences one after the other. */
#include "plain.h"

static float key_of_head(const heads *s, int64_t j, int64_t c)
{
    const dsv3_tensor *const k = &((const dsv3_mla_prefill_io *)s->io)->k;
    return load_at(k, (s->first + j) * k->stride[0] + s->head * k->stride[1] + c);
}

static float value_of_head(const heads *s, int64_t j, int64_t c)
{
    const dsv3_tensor *const v = &((const dsv3_mla_prefill_io *)s->io)->v;
    return load_at(v, (s->first + j) * v->stride[0] + s->head * v->stride[1] + c);
}

/* How many of its keys query i of a sequence sees: the last one sees all; without a mask, each does. */
static int64_t seen_by(int full, int64_t i, int64_t queries, int64_t keys)
{
    int64_t const n = full ? keys : keys - queries + i + 1;
    return n > 0 ? n : 0;
}

/* Query i of a sequence whose queries start at `from`, all heads. */
static void prefill_query(heads *s, int64_t from, int64_t i, int64_t n)
{
    const dsv3_mla_prefill_io *const io = s->io;
    int64_t const t = from + i;
    for (s->head = 0; s->head < io->q.shape[1]; s->head++) {
        int64_t const q = t * io->q.stride[0] + s->head * io->q.stride[1];
        int64_t const o = t * io->o.stride[0] + s->head * io->o.stride[1];
        store_at(&io->lse, t * io->lse.stride[0] + s->head, attend(s, n, q, o));
    }
}

dsv3_status plain_mla_prefill(dsv3_ctx *ctx, const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io)
{
    (void)ctx;
    heads s = {.prob = p, .io = io, .key = key_of_head, .value = value_of_head, .q = &io->q, .o = &io->o};
    s.width = p->qk_nope_head_dim + p->qk_rope_head_dim;
    s.columns = p->v_head_dim;
    s.scale = (float)p->softmax_scale; /* of mla_prefill */
    if (!is_float(&io->q) || !is_float(&io->k) || !is_float(&io->v)) return DSV3_UNSUPPORTED;
    for (int64_t b = 0; b < p->batch; b++) {
        int64_t const from = int_at(&io->cu_seqlens_q, b), queries = int_at(&io->cu_seqlens_q, b + 1) - from;
        s.first = int_at(&io->cu_seqlens_k, b);
        int64_t const keys = int_at(&io->cu_seqlens_k, b + 1) - s.first;
        for (int64_t i = 0; i < queries; i++) prefill_query(&s, from, i, seen_by(p->full, i, queries, keys));
    }
    return DSV3_OK;
}

const char *plain_mla_prefill_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 24 rn splits=1; div ieee; exp 2 0; log 2 0; rescales 0; scaled scores; parts 1; flush none; scores f32 "
           "must; P f32 must";
}
