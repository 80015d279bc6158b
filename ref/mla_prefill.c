/*
 * Causal attention of the materialised form: keys k_j and values v_j of each head, sequences one after the other,
 *   s_j = softmax_scale q . k_j,  lse = ln sum_j e^s_j,  o = sum_j P_j v_j,  P_j = e^(s_j - lse),  j <= L_k - L_q + i.
 * Source: DeepSeek-V2 report (arXiv 2405.04434) 2.1.2; DeepSeek-V3 report (arXiv 2412.19437) 2.1.1, eqs. 9-11;
 * deepseek-ai/DeepSeek-V3, inference/model.py, MLA, naive; deepseek-ai/FlashMLA, flash_attn_varlen_func.
 */
#include "attention.h"

#include "scratch.h"

#include <stdlib.h>

/* One head of one sequence, and the first of its queries and keys among all. */
typedef struct {
    const ref_reading *rd;
    const dsv3_mla_prefill_prob *prob;
    const dsv3_mla_prefill_io *io;
    int64_t h, first_query, first_key;
    int64_t rows, len; /* queries, keys */
    double *query, *key, *value;
    row *query_row, *key_row;
    int64_t *seen;
    ball *o, *lse;
} head;

static ball scale_of(const ref_reading *rd, const dsv3_mla_prefill_prob *p)
{
    if (quirk(rd, QUIRK_A1_nope_scale_prefill)) return ball_rsqrt(ball_of((double)p->qk_nope_head_dim));
    if (quirk(rd, QUIRK_R6_mscale_missing_prefill))
        return ball_rsqrt(ball_of((double)(p->qk_nope_head_dim + p->qk_rope_head_dim)));
    return constant(rd, p->softmax_scale);
}

/* How many keys query i of the sequence sees. */
static int64_t visible(const head *s, int64_t i)
{
    int64_t n = s->len - s->rows + i + 1;
    if (quirk(s->rd, QUIRK_A9_not_causal_prefill)) n = s->len;
    if (quirk(s->rd, QUIRK_A9_not_itself_prefill)) n--;
    if (quirk(s->rd, QUIRK_A10_square_mask_prefill)) n = i + 1;
    if (n > s->len) n = s->len;
    return n > 0 ? n : 0;
}

static ball in_base(const ref_reading *rd, ball lse)
{
    return quirk(rd, QUIRK_A12_lse_base_2_prefill) ? ball_div(lse, ball_log(ball_of(2))) : lse;
}

/* The head's part of rows `first` on, `width` numbers each. */
static void read_rows(const head *s, const dsv3_tensor *t, int64_t first, int64_t rows, int64_t width, double *out)
{
    for (int64_t i = 0; i < rows; i++)
        ref_decode_all(t->dtype, t->data, (first + i) * t->stride[0] + s->h * t->stride[1], width, out + i * width);
}

static void read_head(const head *s)
{
    int64_t const width = s->prob->qk_nope_head_dim + s->prob->qk_rope_head_dim;
    read_rows(s, &s->io->q, s->first_query, s->rows, width, s->query);
    read_rows(s, &s->io->k, s->first_key, s->len, width, s->key);
    read_rows(s, &s->io->v, s->first_key, s->len, s->prob->v_head_dim, s->value);
    for (int64_t i = 0; i < s->rows; i++) {
        s->query_row[i] = row_of(s->query + i * width, NULL, width);
        s->seen[i] = visible(s, i);
    }
    for (int64_t j = 0; j < s->len; j++) s->key_row[j] = row_of(s->key + j * width, NULL, width);
}

/* o and lse of all heads and sequences. */
static bool run_head(const head *s, ref_value *o, ref_value *lse)
{
    attention const a = {.rd = s->rd,
                         .scores = POINT_mla_prefill_scores,
                         .P = POINT_mla_prefill_P,
                         .output = s->io->q.dtype,
                         .scale = scale_of(s->rd, s->prob),
                         .rows = s->rows,
                         .len = s->len,
                         .width = s->prob->v_head_dim,
                         .query = s->query_row,
                         .key = s->key_row,
                         .seen = s->seen,
                         .number = s->value,
                         .stride = s->prob->v_head_dim};
    read_head(s);
    attend(&a, o ? s->o : NULL, lse ? s->lse : NULL);
    for (int64_t i = 0; i < s->rows; i++) {
        int64_t const r = (s->first_query + i) * s->prob->num_attention_heads + s->h;
        for (int64_t c = 0; o && c < a.width; c++)
            o[r * a.width + c] = value_of(at(s->rd, POINT_mla_prefill_o, a.output, s->o[i * a.width + c]));
        if (lse) lse[r] = lse_value(&a, i, POINT_mla_prefill_lse, in_base(s->rd, s->lse[i]));
    }
    return true;
}

static bool open_head(head *s)
{
    const dsv3_mla_prefill_prob *const p = s->prob;
    size_t const rows = (size_t)s->rows + 1, keys = (size_t)s->len + 1, width = (size_t)p->v_head_dim;
    size_t const key_width = (size_t)(p->qk_nope_head_dim + p->qk_rope_head_dim);
    s->query = malloc(rows * key_width * sizeof *s->query);
    s->key = malloc(keys * key_width * sizeof *s->key);
    s->value = malloc(keys * width * sizeof *s->value);
    s->query_row = malloc(rows * sizeof *s->query_row);
    s->key_row = malloc(keys * sizeof *s->key_row);
    s->seen = malloc(rows * sizeof *s->seen);
    s->o = malloc(rows * width * sizeof *s->o);
    s->lse = malloc(rows * sizeof *s->lse);
    return s->query && s->key && s->value && s->query_row && s->key_row && s->seen && s->o && s->lse;
}

static void close_head(head *s)
{
    free(s->query);
    free(s->key);
    free(s->value);
    free(s->query_row);
    free(s->key_row);
    free(s->seen);
    free(s->o);
    free(s->lse);
}

static int64_t start_of(const dsv3_tensor *cu_seqlens, int64_t b)
{
    return (int64_t)ref_decode(DSV3_I32, cu_seqlens->data, b * cu_seqlens->stride[0]);
}

void ref_mla_prefill(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_mla_prefill_prob *const p = prob;
    const dsv3_mla_prefill_io *const io = io_;
    bool good = true;
    for (int64_t b = 0; good && b < p->batch; b++) {
        head s = {.rd = rd, .prob = p, .io = io};
        s.first_query = start_of(&io->cu_seqlens_q, b);
        s.first_key = start_of(&io->cu_seqlens_k, b);
        s.rows = start_of(&io->cu_seqlens_q, b + 1) - s.first_query;
        s.len = start_of(&io->cu_seqlens_k, b + 1) - s.first_key;
        good = open_head(&s);
        for (s.h = 0; good && s.h < p->num_attention_heads; s.h++) good = run_head(&s, out[0], out[1]);
        close_head(&s);
    }
    scratch_need(rd->scratch, good);
}
