/*
 * The complementary sequence-wise balance loss, for one sequence of T tokens:
 *   f_i = E / (K T) count_i,  P_i = 1/T sum_t s_it / sum_j s_jt,  loss = aux_loss_alpha sum_i f_i P_i.
 * With seq_aux 0 the classic loss: f and P over the whole batch, P of the scores as they are.
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1.2, eqs. 17-20; DeepSeekMoE (arXiv 2401.06066) 3.3; deepseek-ai/DeepSeek-V2,
 * modeling_deepseek.py on Hugging Face, MoEGate (seq_aux, aux_loss_alpha); NVIDIA/Megatron-LM, switch_load_balancing_loss_func.
 *
 * Read as aux_loss_alpha E / (K T^2) sum_i count_i sum_t share_it: a port may form the constant in any way (Lemma Balance).
 */
#include "reading.h"

#include "scratch.h"

#include <stdlib.h>

typedef struct {
    const ref_reading *rd;
    const dsv3_balance_loss_prob *prob;
    const dsv3_balance_loss_io *io;
    double *count;        /* (experts): assignments */
    sum_record *gathered; /* (experts): shares, over the tokens */
    ball *score;          /* (experts): of the token in work */
} loss;

static int64_t boundary(const dsv3_balance_loss_io *io, int64_t b)
{
    return (int64_t)ref_decode(io->cu_seqlens.dtype, io->cu_seqlens.data, b);
}

static void add_shares(const loss *l, int64_t token)
{
    const dsv3_tensor *const s = &l->io->scores;
    int64_t const experts = l->prob->n_routed_experts;
    sum_record sum = empty_sum();
    for (int64_t e = 0; e < experts; e++) {
        l->score[e] = element(l->rd, ref_decode(s->dtype, s->data, token * s->stride[0] + e));
        add_term(&sum, l->score[e]);
    }
    bool const divided = l->prob->seq_aux && !quirk(l->rd, QUIRK_T6_not_normalised);
    ball const total = divided ? guarded(l->rd, round_op(l->rd, sum_of(l->rd, &sum))) : ball_of(1);
    for (int64_t e = 0; e < experts; e++)
        add_term(&l->gathered[e], divided ? quotient_of(l->rd, l->score[e], total) : l->score[e]);
}

static void add_assignments(const loss *l, int64_t token)
{
    const dsv3_tensor *const idx = &l->io->topk_idx;
    for (int64_t k = 0; k < l->prob->num_experts_per_tok; k++) {
        double const e = ref_decode(idx->dtype, idx->data, token * idx->stride[0] + k);
        if (e >= 0 && e < (double)l->prob->n_routed_experts) l->count[(int64_t)e]++;
    }
}

/* Is 1/n a number of few bits? */
static bool power_of_two(double n)
{
    return n > 0 && ldexp(1, ilogb(n)) == n;
}

/* Lemma Balance: six more operations and three divisions, unless none of them rounds. */
static ball with_constant(const loss *l, ball sum, double constants)
{
    const ref_numerics *const port = l->rd->declared;
    if (!port || (ball_is_point(sum) && power_of_two(constants))) return sum;
    double const unit = ref_half_ulp(port->arith, 1), division = quotient_error(l->rd, unit);
    double const relative = 6 * unit + 3 * division;
    return ball_widen(sum, (relative + relative * relative) * ball_sup(sum));
}

/* Assignments of first <= token < last are counted, shares gathered over from <= token < to. */
static ball loss_of(const loss *l, int64_t first, int64_t last, int64_t from, int64_t to)
{
    double const experts = (double)l->prob->n_routed_experts, chosen = (double)l->prob->num_experts_per_tok;
    double const counted = (double)(last - first), tokens = (double)(to - from);
    sum_record sum = empty_sum();
    for (int64_t e = 0; e < l->prob->n_routed_experts; e++) l->count[e] = 0, l->gathered[e] = empty_sum();
    for (int64_t t = first; t < last; t++) add_assignments(l, t);
    for (int64_t t = from; t < to; t++) add_shares(l, t);
    for (int64_t e = 0; e < l->prob->n_routed_experts; e++)
        add_term(&sum, ball_mul(ball_of(l->count[e]), sum_of(l->rd, &l->gathered[e])));
    bool const raw = quirk(l->rd, QUIRK_T6_counts_raw);
    ball const scale = ball_div(ball_of(raw ? 1 : experts), ball_of(raw ? tokens : chosen * counted * tokens));
    ball const gathered = with_constant(l, sum_of(l->rd, &sum), chosen * counted * tokens);
    ball const alpha = constant(l->rd, l->prob->aux_loss_alpha);
    return round_at(l->rd, POINT_balance_loss_loss, l->io->loss.dtype, ball_mul(alpha, ball_mul(scale, gathered)));
}

static ball loss_of_sequence(const loss *l, int64_t b)
{
    int64_t const from = boundary(l->io, b), to = boundary(l->io, b + 1), all = l->prob->n_tokens;
    if (!l->prob->seq_aux) return loss_of(l, 0, all, 0, all);
    if (from == to) return ball_of(0);
    bool const by_batch = quirk(l->rd, QUIRK_T6_batch_counts);
    return loss_of(l, by_batch ? 0 : from, by_batch ? all : to, from, to);
}

void ref_balance_loss(const ref_reading *rd, const void *prob, const void *io, ref_value *const out[])
{
    loss l = {.rd = rd, .prob = prob, .io = io};
    size_t const experts = (size_t)l.prob->n_routed_experts;
    l.count = calloc(experts, sizeof *l.count);
    l.gathered = calloc(experts, sizeof *l.gathered);
    l.score = calloc(experts, sizeof *l.score);
    bool const memory = l.count && l.gathered && l.score;
    for (int64_t b = 0; memory && out[0] && b < l.prob->batch; b++) out[0][b] = value_of(loss_of_sequence(&l, b));
    free(l.count);
    free(l.gathered);
    free(l.score);
    scratch_need(rd->scratch, memory);
}
