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
#include "index.h"
#include "reading.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_mtp_accept_prob *prob;
    const dsv3_mtp_accept_io *io;
    int64_t b; /* the sequence in work */
} acceptance;

/* Acceptance of one draft. */
typedef struct {
    bool yes, no; /* may a port accept it, and may it reject it? */
    bool own;     /* does the reference accept it? */
} decision;

/* What a token is drawn from: p of a position, or the residual after a rejection there, max(0, p r - q). */
typedef struct {
    int64_t i;
    bool residual;
} source;

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

static bool is_greedy(const acceptance *a)
{
    return a->prob->greedy && !quirk(a->rd, QUIRK_M9_greedy_samples);
}

static bool accepts_argmax(const acceptance *a)
{
    return is_greedy(a) || quirk(a->rd, QUIRK_M9_argmax_in_sampling);
}

static bool accepts_unseen(const acceptance *a, int64_t i)
{
    return i == 0 && quirk(a->rd, QUIRK_M9_first_unchecked);
}

/* The first rejection ends the sequence; the mistake: drafts after it count too. */
static bool goes_on(const acceptance *a)
{
    return quirk(a->rd, QUIRK_M9_goes_on);
}

/* What the token after n accepted drafts is drawn from. */
static source source_after(const acceptance *a, int64_t n)
{
    bool const all = n == a->prob->n_draft;
    if (all) return (source){quirk(a->rd, QUIRK_M9_bonus_position) ? n - 1 : n, false};
    return (source){n, !quirk(a->rd, QUIRK_M9_residual_is_p)};
}

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

/* -1: no token. */
static int64_t draft(const acceptance *a, int64_t i)
{
    const dsv3_tensor *const x = &a->io->draft_tokens;
    return read_index(x, a->b * x->stride[0] + i, a->prob->vocab_size);
}

static ball uniform(const acceptance *a, int64_t i)
{
    const dsv3_tensor *const u = &a->io->uniforms;
    return element(a->rd, ref_decode(u->dtype, u->data, a->b * u->stride[0] + i));
}

/* ---- what a port's arithmetic may do ---- */

/* Lemma Acceptance: so many roundings and one division in any order, s + s^2 relative. */
static ball rounded(const acceptance *a, ball b, int roundings)
{
    const ref_numerics *const port = a->rd->declared;
    if (!port || ball_sup(b) == 0) return b;
    double const u = ref_half_ulp(port->arith, 1), s = roundings * u + quotient_error(a->rd, u);
    return off_by(a->rd, b, (s + s * s) * ball_sup(b) + (roundings + 1) * eta(port));
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

/* r = Q / P of a position: p r stands beside q. A port may take both sums for 1. */
typedef struct {
    ball r;
    bool rounds; /* unless both sums are 1 */
} ratio;

static ratio ratio_of(const acceptance *a, int64_t i)
{
    ball const P = sum_of_row(a, target_probability, i), Q = sum_of_row(a, draft_probability, i);
    ratio s = {ball_div(Q, P), !is_one(P) || !is_one(Q)};
    if (a->rd->declared && !ball_is_any(s.r)) s.r = ball_hull(fmin(ball_lower(s.r), 1), fmax(ball_upper(s.r), 1));
    return s;
}

/* p r */
static ball scaled_target(const acceptance *a, const ratio *s, int64_t i, int64_t v)
{
    ball const p = target_probability(a, i, v);
    return s->rounds ? rounded(a, ball_mul(p, s->r), 1) : p;
}

/* q, which a port may have divided by its sum */
static ball scaled_draft(const acceptance *a, const ratio *s, int64_t i, int64_t v)
{
    ball const q = draft_probability(a, i, v);
    return s->rounds ? rounded(a, q, 1) : q;
}

static double sign_of(ball b)
{
    double hi, lo, rest;
    centre_split(b.c, &hi, &lo, &rest);
    return hi;
}

/* ---- argmax ---- */

/* Can v be the largest, or one of several that are? */
static bool may_be_largest(const acceptance *a, int64_t i, int64_t v)
{
    double const high = ball_upper(target_probability(a, i, v));
    for (int64_t w = 0; w < a->prob->vocab_size; w++) {
        double const low = ball_lower(target_probability(a, i, w));
        if (w != v && low > high) return false;
    }
    return true;
}

/* Of equals the first: the reference's own choice. */
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
        if (w != x && low <= high) return true;
    }
    return false;
}

/* ---- acceptance ---- */

/* Accepted while u q(x) < p(x) r. A tie is legal either way. A token that the target excludes is never accepted; one with
 * q(x) = 0 can't be drafted, so that both are legal. */
static decision sampled_decision(const acceptance *a, int64_t i)
{
    int64_t const x = draft(a, i);
    ratio const s = ratio_of(a, i);
    ball const right = scaled_target(a, &s, i, x);
    double const near = tie(a->rd, ball_sup(right));
    ball const left = rounded(a, ball_mul(uniform(a, i), scaled_draft(a, &s, i, x)), 2);
    return (decision){.yes =
                          ball_upper(target_probability(a, i, x)) > 0 && ball_lower(left) <= ball_upper(right) + near,
                      .no = ball_lower(draft_probability(a, i, x)) <= 0 || ball_upper(left) >= ball_lower(right) - near,
                      .own = sign_of(ball_sub(right, left)) > 0};
}

static decision decide(const acceptance *a, int64_t i)
{
    int64_t const x = draft(a, i);
    if (x < 0) return (decision){.yes = true, .no = true, .own = false}; /* no such token can be drafted */
    if (accepts_unseen(a, i)) return (decision){.yes = true, .no = false, .own = true};
    if (!accepts_argmax(a)) return sampled_decision(a, i);
    return (decision){may_be_largest(a, i, x), another_may_be_largest(a, i, x), largest(a, i) == x};
}

static int64_t own_accepted(const acceptance *a)
{
    int64_t n = 0;
    for (int64_t i = 0; i < a->prob->n_draft; i++) {
        bool const accepted = decide(a, i).own;
        if (!accepted && !goes_on(a)) break;
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
    if (goes_on(a)) return legal_count(a, n);
    for (int64_t i = 0; i < n; i++)
        if (!decide(a, i).yes) return false;
    return n == a->prob->n_draft || decide(a, n).no;
}

/* ---- the next token ---- */

/* Weights of a source: max(0, p r - q), or p. */
typedef struct {
    source from;
    ratio scale; /* of a residual */
} weights;

static weights weights_after(const acceptance *a, int64_t n)
{
    weights w = {.from = source_after(a, n)};
    if (w.from.residual) w.scale = ratio_of(a, w.from.i);
    return w;
}

/* m(v) */
static ball mass(const acceptance *a, const weights *w, int64_t v)
{
    int64_t const i = w->from.i;
    if (!w->from.residual) return target_probability(a, i, v);
    ball const left = round_op(a->rd, ball_sub(scaled_target(a, &w->scale, i, v), scaled_draft(a, &w->scale, i, v)));
    if (ball_is_any(left) || ball_lower(left) >= 0) return left;
    return ball_hull(0, fmax(ball_upper(left), 0));
}

/* F(v) of the terms so far. A port's may be part of a scan over the whole vocabulary. */
static ball prefix(const acceptance *a, sum_record sum)
{
    sum.n = a->prob->vocab_size;
    return sum_of(a->rd, &sum);
}

/* T = F(V - 1) */
static ball total_mass(const acceptance *a, const weights *w)
{
    sum_record sum = empty_sum();
    for (int64_t v = 0; v < a->prob->vocab_size; v++) add_term(&sum, mass(a, w, v));
    return prefix(a, sum);
}

/* The smallest v with u T < F(v). */
static int64_t own_draw(const acceptance *a, const weights *w)
{
    ball const target = ball_mul(uniform(a, a->prob->n_draft), total_mass(a, w));
    sum_record sum = empty_sum();
    int64_t last = 0;
    for (int64_t v = 0; v < a->prob->vocab_size; v++) {
        ball const m = mass(a, w, v);
        add_term(&sum, m);
        if (!(sign_of(m) > 0)) continue;
        if (sign_of(ball_sub(prefix(a, sum), target)) > 0) return v;
        last = v;
    }
    return last;
}

/* F(v - 1) <= u T <= F(v) at the ends that favour v, and m(v) may be above 0. (Lemma Acceptance) */
static bool legal_draw(const acceptance *a, const weights *w, int64_t token)
{
    ball const total = total_mass(a, w);
    ball const target = rounded(a, ball_mul(uniform(a, a->prob->n_draft), total), 3);
    sum_record sum = empty_sum();
    for (int64_t v = 0; v < token; v++) add_term(&sum, mass(a, w, v));
    ball const before = prefix(a, sum), m = mass(a, w, token);
    add_term(&sum, m);
    if (!(ball_upper(total) > 0)) return true; /* nothing is left to draw from */
    return ball_upper(m) > 0 && ball_lower(before) <= ball_upper(target) &&
           ball_lower(target) <= ball_upper(prefix(a, sum));
}

static int64_t own_next(const acceptance *a, int64_t n)
{
    weights const w = weights_after(a, n);
    return is_greedy(a) ? largest(a, w.from.i) : own_draw(a, &w);
}

static bool legal_next(const acceptance *a, int64_t n, int64_t token)
{
    weights const w = weights_after(a, n);
    if (!is_greedy(a)) return legal_draw(a, &w, token);
    bool const refused = n < a->prob->n_draft && token == draft(a, n) && !goes_on(a);
    return !refused && may_be_largest(a, w.from.i, token);
}

/* ---- how many choices are legal ---- */

static int64_t legal_counts(const acceptance *a)
{
    int64_t legal = 0, least = 0, most = 0;
    bool reached = true;
    for (int64_t i = 0; i < a->prob->n_draft; i++) {
        decision const d = decide(a, i);
        legal += reached && d.no;
        reached &= d.yes;
        least += !d.no;
        most += d.yes;
    }
    return goes_on(a) ? most - least + 1 : legal + reached;
}

static int64_t legal_draws(const acceptance *a, const weights *w)
{
    ball const total = total_mass(a, w);
    double const near = tie(a->rd, ball_sup(total));
    ball const target = ball_widen(rounded(a, ball_mul(uniform(a, a->prob->n_draft), total), 3), near);
    sum_record sum = empty_sum();
    int64_t legal = 0;
    if (!(ball_upper(total) > 0)) return a->prob->vocab_size;
    for (int64_t v = 0; v < a->prob->vocab_size; v++) {
        ball const before = prefix(a, sum), m = mass(a, w, v);
        add_term(&sum, m);
        legal += ball_upper(m) > 0 && ball_lower(before) <= ball_upper(target) &&
                 ball_lower(target) <= ball_upper(prefix(a, sum));
    }
    return legal;
}

/* Tokens that may_be_largest takes, in one pass: their upper end is at least every lower end. */
static int64_t legal_argmaxima(const acceptance *a, int64_t n, int64_t i)
{
    double most = -INFINITY;
    int64_t legal = 0;
    for (int64_t v = 0; v < a->prob->vocab_size; v++) most = fmax(most, ball_lower(target_probability(a, i, v)));
    for (int64_t v = 0; v < a->prob->vocab_size; v++) {
        bool const refused = n < a->prob->n_draft && v == draft(a, n) && !goes_on(a);
        legal += !refused && ball_upper(target_probability(a, i, v)) >= most;
    }
    return legal;
}

/* Tokens that legal_next takes after n accepted drafts. */
static int64_t legal_tokens(const acceptance *a, int64_t n)
{
    weights const w = weights_after(a, n);
    return is_greedy(a) ? legal_argmaxima(a, n, w.from.i) : legal_draws(a, &w);
}

/* ---- the op ---- */

/* rivals: what is legal besides, of a port's choice. */
static ref_value choice(bool legal, int64_t number, int64_t rivals)
{
    return (ref_value){legal ? (double)number : (double)NAN, 0, (double)(rivals > 0 ? rivals : 0)};
}

/* The port's own answer, tested unless the reading is exact. */
static void judge_port(const acceptance *a, ref_value *accepted, ref_value *next)
{
    int64_t const n = read_index(&a->io->accepted, a->b, a->prob->n_draft + 1);
    int64_t const token = read_index(&a->io->next_token, a->b, a->prob->vocab_size);
    bool const tested = a->rd->declared;
    *accepted = choice(n >= 0 && (!tested || legal_accepted(a, n)), n, legal_counts(a) - 1);
    *next = choice(token >= 0 && (!tested || n < 0 || legal_next(a, n, token)), token,
                   n >= 0 ? legal_tokens(a, n) - 1 : a->prob->vocab_size - 1);
}

void ref_mtp_accept(const ref_reading *rd, const void *prob, const void *io, ref_value *const out[])
{
    acceptance a = {.rd = rd, .prob = prob, .io = io};
    for (a.b = 0; a.b < a.prob->batch; a.b++) {
        ref_value accepted, next;
        if (rd->teacher_forced) {
            judge_port(&a, &accepted, &next);
        } else {
            int64_t const n = own_accepted(&a); /* accepted while u < min(1, p(x) / q(x)) */
            accepted = choice(true, n, 0);      /* then drawn from max(0, p - q), or, all accepted, from p */
            next = choice(true, own_next(&a, n), 0);
        }
        if (out[0]) out[0][a.b] = accepted;
        if (out[1]) out[1][a.b] = next;
    }
}
