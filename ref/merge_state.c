/*
 * Attention over two sets of keys becomes attention over all of them: a softmax over two keys, whose scores are the two lse and
 * whose values are the two o.
 *   m = max(lse_a, lse_b),  a = e^(lse_a - m),  b = e^(lse_b - m),  o = (a o_a + b o_b) / (a + b),  lse = m + ln(a + b)
 * A part without keys has lse = -infinity, weight 0, and an o that nobody reads.
 * Source: the softmax over all keys (Milakov and Gimelshein, arXiv 1805.02867); vllm-project/vllm,
 * vllm/v1/attention/ops/triton_merge_attn_states.py; sgl-project/sglang, merge_state_v2; flashinfer-ai/flashinfer,
 * include/flashinfer/attention/cascade.cuh.
 */
#include "attention_error.h"
#include "scratch.h"

enum { PARTS = 2 };

/* One query of one head. */
typedef struct {
    const ref_reading *rd;
    const dsv3_merge_state_prob *prob;
    const dsv3_merge_state_io *io;
    int64_t t, h;
    int64_t n;           /* parts that have keys */
    ball score[PARTS];   /* of these: their lse, natural */
    double error[PARTS]; /* E_j */
    double *value;       /* (PARTS, v_head_dim): of these, their o */
} merge;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

static bool has_base_2(const merge *s)
{
    return quirk(s->rd, QUIRK_A12_merge_other_base) ? s->prob->lse_base == 0 : s->prob->lse_base == 1;
}

static bool has_keys(const merge *s, double lse)
{
    return lse != -HUGE_VAL && !(s->prob->empty && lse == HUGE_VAL);
}

/* The part whose o goes with score k. */
static int64_t part_of(const merge *s, int64_t k)
{
    return s->n == PARTS && quirk(s->rd, QUIRK_A12_merge_exchanged) ? PARTS - 1 - k : k;
}

static ball divided(const merge *s, ball sum, ball weights)
{
    return s->n == PARTS && quirk(s->rd, QUIRK_A12_merge_not_divided) ? sum : ball_div(sum, weights);
}

static bool has_lse_of_a(const merge *s)
{
    return s->n == PARTS && quirk(s->rd, QUIRK_A12_merge_lse_of_a);
}

/* Where the lse of this query and head stands, among all. */
static int64_t place_of_lse(const merge *s)
{
    bool const by_heads = quirk(s->rd, QUIRK_A12_merge_transposed);
    return by_heads ? s->h * s->prob->n_tokens + s->t : s->t * s->prob->num_attention_heads + s->h;
}

static bool forgets_the_smaller(const merge *s)
{
    return s->n == PARTS && quirk(s->rd, QUIRK_A12_merge_lse_is_maximum);
}

/* ---- the op ---- */

/* A port may convert what has another base: a product with a constant, each rounded. */
static ball natural(const merge *s, double lse)
{
    ball const own = element(s->rd, lse);
    return has_base_2(s) ? round_op(s->rd, ball_mul(own, round_op(s->rd, ball_log(ball_of(2))))) : own;
}

static ball in_base(const merge *s, ball lse)
{
    return has_base_2(s) ? round_op(s->rd, ball_div(lse, round_op(s->rd, ball_log(ball_of(2))))) : lse;
}

static void read_value(const merge *s, const dsv3_tensor *o, double *value)
{
    for (int64_t c = 0; c < s->prob->v_head_dim; c++)
        value[c] = ref_decode(o->dtype, o->data, s->t * o->stride[0] + s->h * o->stride[1] + c);
}

/* Scores and values of the parts that have keys. */
static void read_parts(merge *s)
{
    const dsv3_tensor *const o[PARTS] = {&s->io->o_a, &s->io->o_b}, *const lse[PARTS] = {&s->io->lse_a, &s->io->lse_b};
    int64_t const heads = s->prob->num_attention_heads, at = place_of_lse(s);
    int64_t part[PARTS];
    for (int64_t k = 0; k < PARTS; k++) {
        double const v = ref_decode(lse[k]->dtype, lse[k]->data, at / heads * lse[k]->stride[0] + at % heads);
        if (!has_keys(s, v)) continue;
        part[s->n] = k;
        s->score[s->n++] = natural(s, v);
    }
    for (int64_t k = 0; k < s->n; k++) read_value(s, o[part[part_of(s, k)]], s->value + k * s->prob->v_head_dim);
}

/* m + ln(a + b); of a single part a + b is 1. */
static ball lse_of(const merge *s, const attention *a, const softmax *m, ball own)
{
    softmax sum = *m;
    if (has_lse_of_a(s)) return own;
    if (forgets_the_smaller(s)) sum.sum = ball_of(1);
    return softmax_lse(s->rd, &sum, s->n == PARTS ? rounding_of_weights(a, m) : 0);
}

/* sum_j w_j o_j / sum_j w_j, and what a port may make of it. */
static void average(const merge *s, const attention_rows *b, ball *o)
{
    const attention *const a = b->a;
    weight_rows const w = {b->weight, 1, s->n, s->n};
    value_bounds const v = value_bounds_of(a);
    ball_combine(s->rd->scratch, &w, a->number, a->stride, a->width, o);
    for (int64_t c = 0; c < a->width; c++) o[c] = divided(s, o[c], b->of_row->sum);
    widen_means(b, &v, o);
}

/* A port may take each o times e^(its lse - lse): two parts of a key each. (Parts) */
static ball merge_parts(merge *s, const attention *a, ball *o)
{
    ball const own = s->score[0];
    softmax m = softmax_weigh(s->rd, s->score, s->error, s->n, most_parts(s->rd, s->n));
    attention_rows const b = {
        .a = a, .seen = &s->n, .rows = 1, .len = s->n, .weight = s->score, .error = s->error, .of_row = &m, .mean = o};
    round_weights(&b, 0);
    ball const lse = lse_of(s, a, &m, own);
    average(s, &b, o);
    return in_base(s, lse);
}

static void merge_row(merge *s, ref_value *o_out, ref_value *lse_out)
{
    int64_t const width = s->prob->v_head_dim;
    ball *const o = scratch_zeros(s->rd->scratch, width, sizeof *o);
    s->value = scratch_take(s->rd->scratch, PARTS * width, sizeof *s->value);
    read_parts(s);
    attention const a = {.rd = s->rd,
                         .P = POINT_merge_state_P,
                         .output = s->io->o_a.dtype,
                         .rows = 1,
                         .len = s->n,
                         .width = width,
                         .seen = &s->n,
                         .number = s->value,
                         .stride = width};
    ball lse = ball_any();
    if (s->n) lse = merge_parts(s, &a, o);
    for (int64_t c = 0; !s->n && c < width; c++) o[c] = ball_of(0);
    for (int64_t c = 0; o_out && c < width; c++)
        o_out[c] = value_of(round_at(s->rd, POINT_merge_state_o, a.output, o[c]));
    if (lse_out) *lse_out = lse_value(&a, 0, POINT_merge_state_lse, lse);
}

void ref_merge_state(const ref_reading *rd, const void *prob, const void *io, ref_value *const out[])
{
    const dsv3_merge_state_prob *const p = prob;
    for (int64_t r = 0; r < p->n_tokens * p->num_attention_heads; r++) {
        scratch_piece *const mark = scratch_mark(rd->scratch);
        merge s = {.rd = rd, .prob = p, .io = io, .t = r / p->num_attention_heads, .h = r % p->num_attention_heads};
        merge_row(&s, out[0] ? out[0] + r * p->v_head_dim : NULL, out[1] ? out[1] + r : NULL);
        scratch_back(rd->scratch, mark);
    }
}
