/*
 * The complementary sequence-wise balance loss, for one sequence of T tokens:
 *   f_i = E / (K T) count_i,  P_i = 1/T sum_t s_it / sum_j s_jt,  loss = aux_loss_alpha sum_i f_i P_i.
 * With seq_aux 0 the classic loss: f and P over the whole batch, P of the scores as they are.
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1.2, eqs. 17-20; DeepSeekMoE (arXiv 2401.06066) 3.3; deepseek-ai/DeepSeek-V2,
 * modeling_deepseek.py on Hugging Face, MoEGate (seq_aux, aux_loss_alpha); NVIDIA/Megatron-LM, switch_load_balancing_loss_func.
 *
 * Read as aux_loss_alpha E / (K T^2) sum_i count_i sum_t share_it: a port may form the constant in any way (Lemma Balance).
 */
#include "index.h"
#include "reading.h"

#include "scratch.h"

#include <limits.h>

/* Tokens [first, last). */
typedef struct {
    int64_t first, last;
} tokens;

typedef struct {
    const ref_reading *rd;
    const dsv3_balance_loss_prob *prob;
    const dsv3_balance_loss_io *io;
    double *count;     /* (experts): c_i, assignments */
    tokens counted;    /* those that count[] is of */
    sum_record *share; /* (experts): g_i, the sum of its shares over the tokens */
    ball *score;       /* (experts): of the token in work */
} loss;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* Tokens whose shares are summed up, for loss b. */
static tokens tokens_of(const loss *l, int64_t b)
{
    const dsv3_tensor *const cu = &l->io->cu_seqlens;
    if (!l->prob->seq_aux) return (tokens){0, l->prob->n_tokens};
    return (tokens){(int64_t)ref_decode(cu->dtype, cu->data, b), (int64_t)ref_decode(cu->dtype, cu->data, b + 1)};
}

/* Tokens whose assignments are counted: the same. */
static tokens counted_for(const loss *l, tokens of_shares)
{
    return quirk(l->rd, QUIRK_T6_batch_counts) && l->prob->seq_aux ? (tokens){0, l->prob->n_tokens} : of_shares;
}

/* Is a score divided by the sum of its token's? */
static bool normalises(const loss *l)
{
    return l->prob->seq_aux && !quirk(l->rd, QUIRK_T6_not_normalised);
}

/* E / (K T T'), T tokens counted and T' with shares. */
static ball constant_of(const loss *l, double counted, double shared)
{
    if (quirk(l->rd, QUIRK_T6_counts_raw)) return ball_div(ball_of(1), ball_of(shared));
    double const E = (double)l->prob->n_routed_experts, K = (double)l->prob->num_experts_per_tok;
    return ball_div(ball_of(E), ball_of(K * counted * shared));
}

/* ---- what a port may do ---- */

/* Is 1/n a number of few bits? */
static bool power_of_two(double n)
{
    return n > 0 && ldexp(1, ilogb(n)) == n;
}

/* Is a sum of the accumulator a number of `arith` whenever it is exact? */
static bool sums_fit(const ref_numerics *port)
{
    int const promoted = port->acc.promote ? port->acc.promote_bits : 0;
    return port->acc.bits <= digits_of(port->arith) && promoted <= digits_of(port->arith);
}

/* Do the constants keep what they meet a number of few bits? E and K T^2 are powers of two, sums are numbers of `arith`. */
static bool constants_are_exact(const loss *l, double KTT)
{
    const ref_numerics *const port = l->rd->declared;
    bool const scales_exactly = power_of_two((double)l->prob->n_routed_experts) && power_of_two(KTT);
    return !port || (scales_exactly && sums_fit(port) && port->div.ieee);
}

/* Lemma Balance: where constants round, no sum of shares is certain to be exact, nor one of their means. */
static ball sum_of_shares(const loss *l, double KTT, const sum_record *share)
{
    sum_record sum = *share;
    if (sum.lsb != INT_MAX && !constants_are_exact(l, KTT)) sum.lsb = INT_MIN;
    return sum_of(l->rd, &sum);
}

/* Lemma Balance: three divisions and six other roundings, s + s^2 relative, unless the sum is a point and constants are exact. */
static ball widen_by_constants(const loss *l, ball sum, double KTT)
{
    if (constants_are_exact(l, KTT) && (ball_is_point(sum) || !l->rd->declared)) return sum;
    double const u = ref_half_ulp(l->rd->declared->arith, 1);
    double const s = 6 * u + 3 * quotient_error(l->rd, u);
    return off_by(l->rd, sum, (s + s * s) * ball_sup(sum));
}

/* ---- the sums ---- */

/* c_i += 1 for each expert of the token */
static void add_assignments(const loss *l, int64_t t)
{
    const dsv3_tensor *const idx = &l->io->topk_idx;
    for (int64_t k = 0; k < l->prob->num_experts_per_tok; k++) {
        int64_t const e = read_index(idx, t * idx->stride[0] + k, l->prob->n_routed_experts);
        if (e >= 0) l->count[e]++;
    }
}

/* c_i of these tokens, unless it has them. */
static void count_assignments(loss *l, tokens of)
{
    if (of.first == l->counted.first && of.last == l->counted.last) return;
    for (int64_t e = 0; e < l->prob->n_routed_experts; e++) l->count[e] = 0;
    for (int64_t t = of.first; t < of.last; t++) add_assignments(l, t);
    l->counted = of;
}

/* g_i += s_it / sum_j s_jt */
static void add_shares(const loss *l, int64_t t)
{
    const dsv3_tensor *const s = &l->io->scores;
    int64_t const experts = l->prob->n_routed_experts;
    sum_record sum = empty_sum();
    for (int64_t e = 0; e < experts; e++) {
        l->score[e] = element(l->rd, ref_decode(s->dtype, s->data, t * s->stride[0] + e));
        add_term(&sum, l->score[e]);
    }
    ball const total = normalises(l) ? guarded(l->rd, round_op(l->rd, sum_of(l->rd, &sum))) : ball_of(1);
    for (int64_t e = 0; e < experts; e++)
        add_term(&l->share[e], normalises(l) ? share_of(l->rd, l->score[e], total) : l->score[e]);
}

/* The numbers of equations are those of the V3 report: f_i = E / (K T) c_i, P_i = g_i / T. */
static ball loss_of(loss *l, tokens of_shares)
{
    tokens const counted = counted_for(l, of_shares);
    double const T = (double)(counted.last - counted.first), T_shares = (double)(of_shares.last - of_shares.first);
    sum_record sum = empty_sum();
    if (l->prob->seq_aux && of_shares.first == of_shares.last) return ball_of(0);
    for (int64_t e = 0; e < l->prob->n_routed_experts; e++) l->share[e] = empty_sum();
    count_assignments(l, counted);                                               /* (18)  c_i */
    for (int64_t t = of_shares.first; t < of_shares.last; t++) add_shares(l, t); /* (19, 20)  g_i */
    double const KTT = (double)l->prob->num_experts_per_tok * T * T_shares;
    for (int64_t e = 0; e < l->prob->n_routed_experts; e++) /* (17)  sum_i c_i g_i */
        add_term(&sum, ball_mul(ball_of(l->count[e]), sum_of_shares(l, KTT, &l->share[e])));
    ball const C = constant_of(l, T, T_shares), alpha = constant(l->rd, l->prob->aux_loss_alpha);
    ball const cg = widen_by_constants(l, sum_of(l->rd, &sum), KTT);
    return round_at(l->rd, POINT_balance_loss_loss, l->io->loss.dtype, ball_mul(alpha, ball_mul(C, cg))); /* (17) */
}

/* ---- the op ---- */

void ref_balance_loss(const ref_reading *rd, const void *prob, const void *io, ref_value *const out[])
{
    loss l = {.rd = rd, .prob = prob, .io = io};
    l.count = scratch_zeros(rd->scratch, l.prob->n_routed_experts, sizeof *l.count);
    l.share = scratch_take(rd->scratch, l.prob->n_routed_experts, sizeof *l.share);
    l.score = scratch_take(rd->scratch, l.prob->n_routed_experts, sizeof *l.score);
    for (int64_t b = 0; out[0] && b < l.prob->batch; b++) {
        bool const same = b > 0 && !l.prob->seq_aux; /* the loss of the whole batch */
        out[0][b] = same ? out[0][0] : value_of(loss_of(&l, tokens_of(&l, b)));
    }
}
