/*
 * Which drafted tokens are accepted, and the token after them. Draft x ~ q, target p, uniform u:
 *   accepted while u < min(1, p(x) / q(x));  then from max(0, p - q) / sum max(0, p - q), or, all accepted, from the last p:
 *   the smallest v with u < F(v), F the prefix sums. greedy: accepted while x = argmax p, then argmax p.
 * p and q are divided by their sums. Source: Leviathan, Kalman and Matias, "Fast Inference from Transformers via Speculative
 * Decoding" (arXiv 2211.17192), algorithm 1; DeepSeek-V3 report (arXiv 2412.19437) 5.4.3; Hugging Face transformers,
 * generation/utils.py, _speculative_sampling.
 *
 * Decisions are balls (Lemma Acceptance). A port's `accepted` is legal if each of its decisions can be made by points of the balls,
 * its next_token if the uniform reaches [F(v - 1), F(v)], given its own `accepted`. u q stands beside p: no quotient is needed.
 */
#include "reading.h"

#include <stdlib.h>

typedef struct {
    const ref_reading *rd;
    const dsv3_mtp_accept_prob *prob;
    const dsv3_mtp_accept_io *io;
    int64_t b; /* the sequence in work */
} acceptance;

/* What can be said of a decision. */
typedef struct {
    bool yes, no; /* is it possible? */
    bool own;     /* the reference's */
} decision;

/* ---- inputs ---- */

static ball draft_probability(const acceptance *a, int64_t i, int64_t v)
{
    const dsv3_tensor *const q = &a->io->draft_probs;
    return element(a->rd, ref_decode(q->dtype, q->data, a->b * q->stride[0] + i * q->stride[1] + v));
}

static ball target_probability(const acceptance *a, int64_t i, int64_t v)
{
    const dsv3_tensor *const p = &a->io->target_probs;
    return element(a->rd, ref_decode(p->dtype, p->data, a->b * p->stride[0] + i * p->stride[1] + v));
}

static int64_t draft(const acceptance *a, int64_t i)
{
    const dsv3_tensor *const x = &a->io->draft_tokens;
    return (int64_t)ref_decode(x->dtype, x->data, a->b * x->stride[0] + i);
}

static ball uniform(const acceptance *a, int64_t i)
{
    const dsv3_tensor *const u = &a->io->uniforms;
    return element(a->rd, ref_decode(u->dtype, u->data, a->b * u->stride[0] + i));
}

/* ---- what a port's arithmetic may do ---- */

/* Lemma Acceptance: so many roundings and one division, in any order. */
static ball loosened(const acceptance *a, ball b, int operations)
{
    const ref_numerics *const port = a->rd->declared;
    if (!port || ball_sup(b) == 0) return b;
    double const unit = ref_half_ulp(port->arith, 1), division = quotient_error(a->rd, unit);
    double const relative = operations * unit + division;
    return ball_widen(b, (relative + relative * relative) * ball_sup(b) + (operations + 1) * eta(port));
}

static ball sum_of_row(const acceptance *a, ball (*probability)(const acceptance *, int64_t, int64_t), int64_t i)
{
    sum_record sum = empty_sum();
    for (int64_t v = 0; v < a->prob->vocab_size; v++) add_term(&sum, probability(a, i, v));
    return sum_of(a->rd, &sum);
}

static bool is_one(ball b)
{
    return ball_is_point(b) && ball_lower(b) == 1 && ball_upper(b) == 1;
}

/* How p and q of a position compare: p times `ratio`, Q / P, stands beside q. A port may take both sums for 1. */
typedef struct {
    ball ratio;
    bool rounds; /* unless both sums are 1 */
} scale;

static scale scale_of(const acceptance *a, int64_t i)
{
    ball const P = sum_of_row(a, target_probability, i), Q = sum_of_row(a, draft_probability, i);
    scale s = {ball_div(Q, P), !is_one(P) || !is_one(Q)};
    if (a->rd->declared && !ball_is_any(s.ratio))
        s.ratio = ball_hull(fmin(ball_lower(s.ratio), 1), fmax(ball_upper(s.ratio), 1));
    return s;
}

static ball scaled_target(const acceptance *a, const scale *s, int64_t i, int64_t v)
{
    ball const p = target_probability(a, i, v);
    return s->rounds ? loosened(a, ball_mul(p, s->ratio), 1) : p;
}

static ball scaled_draft(const acceptance *a, const scale *s, int64_t i, int64_t v)
{
    ball const q = draft_probability(a, i, v);
    return s->rounds ? loosened(a, q, 1) : q;
}

static double sign_of(ball b)
{
    double hi, lo, rest;
    centre_split(b.c, &hi, &lo, &rest);
    return hi;
}

/* ---- argmax ---- */

/* Can v be the largest, and of equals the first? */
static bool may_be_largest(const acceptance *a, int64_t i, int64_t v)
{
    double const high = ball_upper(target_probability(a, i, v));
    for (int64_t w = 0; w < a->prob->vocab_size; w++) {
        double const low = ball_lower(target_probability(a, i, w));
        if (w != v && !(w < v ? low < high : low <= high)) return false;
    }
    return true;
}

static int64_t largest(const acceptance *a, int64_t i)
{
    int64_t best = 0;
    for (int64_t v = 1; v < a->prob->vocab_size; v++)
        if (sign_of(ball_sub(target_probability(a, i, v), target_probability(a, i, best))) > 0) best = v;
    return best;
}

/* Can any other token be the largest? */
static bool another_may_be_largest(const acceptance *a, int64_t i, int64_t x)
{
    double const low = ball_lower(target_probability(a, i, x));
    for (int64_t w = 0; w < a->prob->vocab_size; w++) {
        double const high = ball_upper(target_probability(a, i, w));
        if (w != x && (w < x ? low <= high : low < high)) return true;
    }
    return false;
}

/* ---- acceptance ---- */

static bool is_greedy(const acceptance *a)
{
    return a->prob->greedy && !quirk(a->rd, QUIRK_M9_greedy_samples);
}

/* u q(x) < p(x) Q / P: both sides equal is a tie, and a tie is legal either way; but what has no probability is never accepted.
 * A draft with q(x) = 0 was drawn by nobody: anything goes. */
static decision sampled_decision(const acceptance *a, int64_t i)
{
    int64_t const x = draft(a, i);
    scale const s = scale_of(a, i);
    ball const right = scaled_target(a, &s, i, x);
    ball const left = loosened(a, ball_mul(uniform(a, i), scaled_draft(a, &s, i, x)), 2);
    return (decision){.yes = ball_upper(target_probability(a, i, x)) > 0 && ball_lower(left) <= ball_upper(right),
                      .no = ball_lower(draft_probability(a, i, x)) <= 0 || ball_upper(left) >= ball_lower(right),
                      .own = sign_of(ball_sub(right, left)) > 0};
}

static decision decide(const acceptance *a, int64_t i)
{
    int64_t const x = draft(a, i);
    bool const by_argmax = is_greedy(a) || quirk(a->rd, QUIRK_M9_argmax_in_sampling);
    if (i == 0 && quirk(a->rd, QUIRK_M9_first_unchecked)) return (decision){true, false, true};
    if (!by_argmax) return sampled_decision(a, i);
    return (decision){may_be_largest(a, i, x), another_may_be_largest(a, i, x), largest(a, i) == x};
}

static int64_t own_accepted(const acceptance *a)
{
    int64_t n = 0;
    for (int64_t i = 0; i < a->prob->n_draft; i++) {
        bool const accepted = decide(a, i).own;
        if (!accepted && !quirk(a->rd, QUIRK_M9_goes_on)) break;
        n += accepted;
    }
    return n;
}

/* How many may be accepted at least and at most, when those after a rejection count too. */
static bool legal_count(const acceptance *a, int64_t n)
{
    int64_t least = 0, most = 0;
    for (int64_t i = 0; i < a->prob->n_draft; i++) {
        decision const d = decide(a, i);
        least += !d.no;
        most += d.yes;
    }
    return least <= n && n <= most;
}

static bool legal_accepted(const acceptance *a, int64_t n)
{
    if (quirk(a->rd, QUIRK_M9_goes_on)) return legal_count(a, n);
    for (int64_t i = 0; i < n; i++)
        if (!decide(a, i).yes) return false;
    return n == a->prob->n_draft || decide(a, n).no;
}

/* ---- the next token ---- */

/* What it is drawn from: p of a position, or what is left of it after a rejection there. */
typedef struct {
    int64_t i;
    bool rest;
    scale scale; /* where `rest` */
} source;

static source source_after(const acceptance *a, int64_t n)
{
    bool const all = n == a->prob->n_draft;
    source s = {.i = n, .rest = !all && !quirk(a->rd, QUIRK_M9_residual_is_p)};
    if (all && quirk(a->rd, QUIRK_M9_bonus_position)) s.i = n - 1;
    if (s.rest) s.scale = scale_of(a, s.i);
    return s;
}

/* max(0, p Q / P - q), or p. */
static ball mass(const acceptance *a, const source *s, int64_t v)
{
    if (!s->rest) return target_probability(a, s->i, v);
    ball const p = scaled_target(a, &s->scale, s->i, v), q = scaled_draft(a, &s->scale, s->i, v);
    ball const left = round_op(a->rd, ball_sub(p, q));
    if (ball_is_any(left) || ball_lower(left) >= 0) return left;
    return ball_hull(0, fmax(ball_upper(left), 0));
}

/* The prefix sum that `sum` has gathered; a port's may be part of a scan over all. */
static ball prefix(const acceptance *a, sum_record sum)
{
    sum.n = a->prob->vocab_size;
    return sum_of(a->rd, &sum);
}

static ball whole_mass(const acceptance *a, const source *s)
{
    sum_record sum = empty_sum();
    for (int64_t v = 0; v < a->prob->vocab_size; v++) add_term(&sum, mass(a, s, v));
    return prefix(a, sum);
}

/* The smallest v with u T < F(v). */
static int64_t own_draw(const acceptance *a, const source *s)
{
    ball const target = ball_mul(uniform(a, a->prob->n_draft), whole_mass(a, s));
    sum_record sum = empty_sum();
    int64_t last = 0;
    for (int64_t v = 0; v < a->prob->vocab_size; v++) {
        ball const m = mass(a, s, v);
        add_term(&sum, m);
        if (!(sign_of(m) > 0)) continue;
        if (sign_of(ball_sub(prefix(a, sum), target)) > 0) return v;
        last = v;
    }
    return last;
}

static bool legal_draw(const acceptance *a, const source *s, int64_t token)
{
    ball const total = whole_mass(a, s);
    ball const target = loosened(a, ball_mul(uniform(a, a->prob->n_draft), total), 3);
    sum_record sum = empty_sum();
    for (int64_t v = 0; v < token; v++) add_term(&sum, mass(a, s, v));
    ball const before = prefix(a, sum), m = mass(a, s, token);
    add_term(&sum, m);
    if (!(ball_upper(total) > 0)) return true; /* nothing is left to draw from */
    return ball_upper(m) > 0 && ball_lower(before) <= ball_upper(target) &&
           ball_lower(target) <= ball_upper(prefix(a, sum));
}

static int64_t own_next(const acceptance *a, int64_t n)
{
    source const s = source_after(a, n);
    return is_greedy(a) ? largest(a, s.i) : own_draw(a, &s);
}

static bool legal_next(const acceptance *a, int64_t n, int64_t token)
{
    source const s = source_after(a, n);
    if (!is_greedy(a)) return legal_draw(a, &s, token);
    bool const refused = n < a->prob->n_draft && token == draft(a, n) && !quirk(a->rd, QUIRK_M9_goes_on);
    return !refused && may_be_largest(a, s.i, token);
}

/* ---- */

static ref_value choice(bool legal, int64_t number)
{
    return (ref_value){legal ? (double)number : (double)NAN, 0, 0};
}

/* The port's own answer, tested unless the reading is exact. */
static void judge_port(const acceptance *a, ref_value *accepted, ref_value *next)
{
    double const n = ref_decode(a->io->accepted.dtype, a->io->accepted.data, a->b);
    double const token = ref_decode(a->io->next_token.dtype, a->io->next_token.data, a->b);
    bool const counted = n >= 0 && n <= (double)a->prob->n_draft;
    bool const known = token >= 0 && token < (double)a->prob->vocab_size, tested = a->rd->declared;
    *accepted = choice(counted && (!tested || legal_accepted(a, (int64_t)n)), (int64_t)n);
    *next = choice(known && (!tested || !counted || legal_next(a, (int64_t)n, (int64_t)token)), (int64_t)token);
}

void ref_mtp_accept(const ref_reading *rd, const void *prob, const void *io, ref_value *const out[])
{
    acceptance a = {.rd = rd, .prob = prob, .io = io};
    for (a.b = 0; a.b < a.prob->batch; a.b++) {
        ref_value accepted, next;
        if (rd->teacher_forced) {
            judge_port(&a, &accepted, &next);
        } else {
            int64_t const n = own_accepted(&a);
            accepted = choice(true, n);
            next = choice(true, own_next(&a, n));
        }
        if (out[0]) out[0][a.b] = accepted;
        if (out[1]) out[1][a.b] = next;
    }
}
