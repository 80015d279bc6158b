/* Attention, causal or full, with keys and values of each head; sequences follow one another. */
#include "attention.h"
#include "attention_squares.h"
#include "fast.h"
#include "matrix.h"

#include <stdbool.h>

/* The rows of one head of a tensor (tokens, heads, width). */
static void find_head(const dsv3_tensor *t, int64_t first, int64_t n, int64_t h, stored_row *row)
{
    for (int64_t j = 0; j < n; j++) row[j] = row_of(t, (first + j) * t->stride[0] + h * t->stride[1]);
}

/* One head of a sequence, in binary32; o and lse of its queries. 0: no memory. */
static int attend_head(dsv3_ctx *ctx, const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io, int64_t b,
                       int64_t h)
{
    const int32_t *const at_q = io->cu_seqlens_q.data, *const at_k = io->cu_seqlens_k.data;
    int64_t const rows = at_q[b + 1] - at_q[b], len = at_k[b + 1] - at_k[b], columns = p->v_head_dim;
    int64_t const width = p->qk_nope_head_dim + p->qk_rope_head_dim;
    stored_row *const key = ctx_take(ctx, len, sizeof *key), *const value = ctx_take(ctx, len, sizeof *value);
    float *const q = ctx_take(ctx, rows * width, sizeof *q), *const o = ctx_take(ctx, rows * columns, sizeof *o);
    float *const lse = ctx_take(ctx, rows, sizeof *lse);
    int64_t *const seen = ctx_take(ctx, rows, sizeof *seen);
    if (!key || !value || !q || !o || !lse || !seen) return 0;
    find_head(&io->k, at_k[b], len, h, key);
    find_head(&io->v, at_k[b], len, h, value);
    for (int64_t i = 0; i < rows; i++) {
        stored_row const from = row_of(&io->q, (at_q[b] + i) * io->q.stride[0] + h * io->q.stride[1]);
        load_row(&from, width, q + i * width);
        seen[i] = p->full ? len : len - rows + i + 1 > 0 ? len - rows + i + 1 : 0;
    }
    attention_group const group = {rows, q, width, width, key, value, len, columns, (float)p->softmax_scale,
                                   seen, o, lse};
    int const done = attend(ctx, &group);
    for (int64_t i = 0; done && i < rows; i++) {
        store_row(&io->o, (at_q[b] + i) * io->o.stride[0] + h * io->o.stride[1], o + i * columns, columns);
        ((float *)io->lse.data)[(at_q[b] + i) * io->lse.stride[0] + h] = lse[i];
    }
    return done;
}

/* Head by head. 0: no memory. */
static int attend_in_turn(dsv3_ctx *ctx, const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io, int64_t b)
{
    size_t const mark = ctx_mark(ctx);
    for (int64_t h = 0; h < p->num_attention_heads; h++) {
        int const done = attend_head(ctx, p, io, b, h);
        ctx_back(ctx, mark);
        if (!done) return 0;
    }
    return 1;
}

/* ---- in BF16: all heads of a sequence at once ---- */

/* Row t of a head of the sequence that begins with row `first`. */
static head_rows rows_of_head(const dsv3_tensor *t, int64_t first, int64_t h)
{
    int64_t const from = first * t->stride[0] + h * t->stride[1];
    return (head_rows){(char *)t->data + from * size_in(t->dtype), t->dtype, t->stride[0], t->stride[0]};
}

static key_rows keys_of_head(const dsv3_tensor *t, int64_t first, int64_t h)
{
    return (key_rows){NULL, rows_of_head(t, first, h).data, t->stride[0] * size_in(t->dtype)};
}

/* Without a mask the queries are heads of one token. */
static square_group group_of(const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io, int64_t b, int64_t h)
{
    const int32_t *const at_q = io->cu_seqlens_q.data, *const at_k = io->cu_seqlens_k.data;
    int64_t const queries = at_q[b + 1] - at_q[b];
    return (square_group){.tokens = p->full ? 1 : queries,
                          .heads = p->full ? queries : 1,
                          .q = rows_of_head(&io->q, at_q[b], h),
                          .o = rows_of_head(&io->o, at_q[b], h),
                          .lse = (float *)io->lse.data + at_q[b] * io->lse.stride[0] + h,
                          .lse_token = io->lse.stride[0],
                          .lse_head = io->lse.stride[0],
                          .key = keys_of_head(&io->k, at_k[b], h),
                          .value = keys_of_head(&io->v, at_k[b], h),
                          .len = at_k[b + 1] - at_k[b],
                          .width = p->qk_nope_head_dim + p->qk_rope_head_dim,
                          .columns = p->v_head_dim,
                          .scale = (float)p->softmax_scale};
}

/* 0: no memory. */
static int attend_heads(dsv3_ctx *ctx, const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io, int64_t b)
{
    square_group *const group = ctx_take(ctx, p->num_attention_heads, sizeof *group);
    for (int64_t h = 0; group && h < p->num_attention_heads; h++) group[h] = group_of(p, io, b, h);
    return group && attend_squares(ctx, group, p->num_attention_heads);
}

/* ---- the op ---- */

dsv3_status fast_mla_prefill(dsv3_ctx *ctx, const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io)
{
    if (!is_float(&io->q) || io->k.dtype != io->q.dtype || io->v.dtype != io->q.dtype) return DSV3_UNSUPPORTED;
    bool const squares = ctx_path(ctx) != PATH_FMA && io->q.dtype == DSV3_BF16;
    for (int64_t b = 0; b < p->batch; b++) {
        size_t const mark = ctx_mark(ctx);
        int const done = squares ? attend_heads(ctx, p, io, b) : attend_in_turn(ctx, p, io, b);
        ctx_back(ctx, mark);
        if (!done) return DSV3_NO_MEMORY;
    }
    return DSV3_OK;
}

#define STEPS "div ieee; exp 2 0; log 2 0; scaled scores; parts 1; scores f32 must; "

const char *fast_mla_prefill_numerics(const void *prob, const void *io)
{
    (void)prob;
    dsv3_dtype const q = ((const dsv3_mla_prefill_io *)io)->q.dtype;
    if (by_amx(q)) return STEPS "acc amx.bf16; rescales 4; flush daz; P bf16 must";
    if (by_pairs(q)) return STEPS "acc avx512.bf16 promote=288 bits2=24; rescales 4; flush daz; P bf16 must";
    return STEPS "acc 24 rn fused; rescales 0; flush none; P f32 must";
}
