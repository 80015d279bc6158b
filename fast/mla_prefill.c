/* Causal attention with keys and values of each head; sequences follow one another. */
#include "attention.h"
#include "fast.h"
#include "matrix.h"

#include <stdbool.h>

/* The rows of one head of a tensor (tokens, heads, width), binary32 or as they are stored. */
static void find_head(const dsv3_tensor *t, int64_t first, int64_t n, int64_t h, stored_row *row)
{
    for (int64_t j = 0; j < n; j++) row[j] = row_of(t, (first + j) * t->stride[0] + h * t->stride[1]);
}

/* One head of a sequence; o and lse of its queries. 0: no memory. */
static int attend_head(dsv3_ctx *ctx, const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io, int64_t b,
                       int64_t h)
{
    const int32_t *const at_q = io->cu_seqlens_q.data, *const at_k = io->cu_seqlens_k.data;
    int64_t const rows = at_q[b + 1] - at_q[b], len = at_k[b + 1] - at_k[b], columns = p->v_head_dim;
    int64_t const width = p->qk_nope_head_dim + p->qk_rope_head_dim;
    stored_row *const key = ctx_take(ctx, len, sizeof *key), *const value = ctx_take(ctx, len, sizeof *value);
    bool const f32 = io->q.dtype == DSV3_F32 || ctx_path(ctx) != PATH_PAIRS;
    dsv3_tensor const q = {ctx_take(ctx, rows * width, f32 ? 4 : 2), f32 ? DSV3_F32 : DSV3_BF16, 0, {0}, {0}};
    float *const o = ctx_take(ctx, rows * columns, sizeof *o), *const row = ctx_take(ctx, width, sizeof *row);
    float *const lse = ctx_take(ctx, rows, sizeof *lse);
    int64_t *const seen = ctx_take(ctx, rows, sizeof *seen);
    if (!key || !value || !q.data || !row || !o || !lse || !seen) return 0;
    find_head(&io->k, at_k[b], len, h, key);
    find_head(&io->v, at_k[b], len, h, value);
    for (int64_t i = 0; i < rows; i++) {
        stored_row const from = row_of(&io->q, (at_q[b] + i) * io->q.stride[0] + h * io->q.stride[1]);
        load_row(&from, width, row);
        store_row(&q, i * width, row, width);
        seen[i] = len - rows + i + 1 > 0 ? len - rows + i + 1 : 0;
    }
    attention_group const group = {
        rows, q.data, width, width, q.dtype, key, value, len, columns, (float)p->softmax_scale, seen, o, lse};
    int const done = attend(ctx, &group);
    for (int64_t i = 0; done && i < rows; i++) {
        store_row(&io->o, (at_q[b] + i) * io->o.stride[0] + h * io->o.stride[1], o + i * columns, columns);
        ((float *)io->lse.data)[(at_q[b] + i) * io->lse.stride[0] + h] = lse[i];
    }
    return done;
}

dsv3_status fast_mla_prefill(dsv3_ctx *ctx, const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io)
{
    if (!is_float(&io->q) || io->k.dtype != io->q.dtype || io->v.dtype != io->q.dtype) return DSV3_UNSUPPORTED;
    size_t const mark = ctx_mark(ctx);
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t h = 0; h < p->num_attention_heads; h++) {
            int const done = attend_head(ctx, p, io, b, h);
            ctx_back(ctx, mark);
            if (!done) return DSV3_NO_MEMORY;
        }
    return DSV3_OK;
}

#define STEPS "acc 24 rn fused; div ieee; exp 2 0; log 2 0; rescales 0; scaled scores; parts 1; scores f32 must; "

const char *fast_mla_prefill_numerics(const void *prob, const void *io)
{
    (void)prob;
    return by_pairs(((const dsv3_mla_prefill_io *)io)->q.dtype) ? STEPS "flush daz; P bf16 must"
                                                                : STEPS "flush none; P f32 must";
}
