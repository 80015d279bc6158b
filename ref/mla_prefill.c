/*
 * Attention of the materialised form: keys k_j and values v_j of each head, sequences one after the other,
 *   s_j = softmax_scale q . k_j,  lse = ln sum_j e^s_j,  o = sum_j P_j v_j,  P_j = e^(s_j - lse),
 * causal over j <= L_k - L_q + i; full: over all j.
 * Source: DeepSeek-V2 report (arXiv 2405.04434) 2.1.2; DeepSeek-V3 report (arXiv 2412.19437) 2.1.1, eqs. 9-11;
 * deepseek-ai/DeepSeek-V3, inference/model.py, MLA, naive; deepseek-ai/FlashMLA, flash_attn_varlen_func; of full
 * sgl-project/sglang, python/sglang/srt/models/deepseek_v2.py, _chunked_prefix_attn_mha.
 */
#include "attention.h"
#include "sequence.h"
#include "vectors.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_mla_prefill_prob *prob;
    const dsv3_mla_prefill_io *io;
    sequence at;
} prefill;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

static ball scale_of(const ref_reading *rd, const dsv3_mla_prefill_prob *p)
{
    if (quirk(rd, QUIRK_A1_nope_scale_prefill)) return ball_rsqrt(ball_of((double)p->qk_nope_head_dim));
    if (quirk(rd, QUIRK_R6_mscale_missing_prefill))
        return ball_rsqrt(ball_of((double)(p->qk_nope_head_dim + p->qk_rope_head_dim)));
    return constant(rd, p->softmax_scale);
}

static bool sees_all(const prefill *s)
{
    return s->prob->full && !quirk(s->rd, QUIRK_A9_full_is_causal);
}

/* How many keys query i of the sequence sees. */
static int64_t visible(const prefill *s, int64_t i)
{
    int64_t const len = s->at.len;
    int64_t n = len - s->at.n + i + 1;
    if (sees_all(s)) return len;
    if (n < len && quirk(s->rd, QUIRK_A9_not_causal_prefill)) n = len;
    if (s->at.n < len && quirk(s->rd, QUIRK_A10_square_mask_prefill)) n = i + 1;
    if (quirk(s->rd, QUIRK_A9_not_itself_prefill)) n--;
    if (n > len) n = len;
    return n > 0 ? n : 0;
}

static ball in_base(const ref_reading *rd, ball lse)
{
    return quirk(rd, QUIRK_A12_lse_base_2_prefill) ? ball_div(lse, ball_log(ball_of(2))) : lse;
}

/* ---- the op ---- */

/* Rows [first, first + n) of a tensor of heads, the part of head h. */
static vectors read_head(const prefill *s, const dsv3_tensor *t, int64_t h, int64_t first, int64_t n, int64_t width)
{
    dsv3_tensor const head = rows_of_head(t, h, first, n);
    return vectors_read(s->rd->scratch, &head, n, width);
}

/* o and lse of all heads and sequences. */
static void attend_head(const prefill *s, int64_t h, ref_value *o_out, ref_value *lse_out)
{
    const dsv3_mla_prefill_prob *const p = s->prob;
    scratch *const memory = s->rd->scratch;
    int64_t const qk = p->qk_nope_head_dim + p->qk_rope_head_dim;
    vectors const q = read_head(s, &s->io->q, h, s->at.first_query, s->at.n, qk);
    vectors const k = read_head(s, &s->io->k, h, s->at.first_key, s->at.len, qk);
    vectors const v = read_head(s, &s->io->v, h, s->at.first_key, s->at.len, p->v_head_dim);
    vectors const o = vectors_take(memory, s->at.n, p->v_head_dim), lse = vectors_take(memory, s->at.n, 1);
    int64_t *const seen = scratch_take(memory, s->at.n, sizeof *seen);
    for (int64_t i = 0; i < s->at.n; i++) seen[i] = visible(s, i);
    attention const a = {.rd = s->rd,
                         .scale_q = POINT_mla_prefill_scale,
                         .scores = POINT_mla_prefill_scores,
                         .P = POINT_mla_prefill_P,
                         .output = s->io->q.dtype,
                         .scale = scale_of(s->rd, p),
                         .rows = s->at.n,
                         .len = s->at.len,
                         .width = p->v_head_dim,
                         .query = q.row,
                         .key = k.row,
                         .seen = seen,
                         .number = v.parts,
                         .stride = p->v_head_dim};
    attend(&a, o_out ? o.ball : NULL, lse_out ? lse.ball : NULL);
    for (int64_t i = 0; i < s->at.n; i++) {
        int64_t const r = (s->at.first_query + i) * p->num_attention_heads + h;
        for (int64_t c = 0; o_out && c < a.width; c++)
            o_out[r * a.width + c] = value_of(round_at(s->rd, POINT_mla_prefill_o, a.output, o.ball[i * a.width + c]));
        if (lse_out) lse_out[r] = lse_value(&a, i, POINT_mla_prefill_lse, in_base(s->rd, lse.ball[i]));
    }
}

void ref_mla_prefill(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_mla_prefill_prob *const p = prob;
    const dsv3_mla_prefill_io *const io = io_;
    for (int64_t b = 0; b < p->batch; b++) {
        prefill const s = {rd, p, io, sequence_of(&io->cu_seqlens_q, &io->cu_seqlens_k, b)};
        for (int64_t h = 0; h < p->num_attention_heads; h++) {
            scratch_piece *const mark = scratch_mark(rd->scratch);
            attend_head(&s, h, out[0], out[1]);
            scratch_back(rd->scratch, mark);
        }
    }
}
