/* See sense.h. */
#include "sense.h"

#include "excerpt.h"
#include "finding.h"
#include "ladder.h"

#include <math.h>
#include <stdio.h>

enum { FIRST_SEED = 1, SECOND_SEED = 2 };
enum { MOST_PLAIN_RUNGS = 2 * MOST_SUMS };

/* ---- where it holds ---- */

/* Fills that are like real data, of ops whose outputs are numbers of their own. */
static bool is_like_real_data(const problem *p)
{
    static const char *const fills[] = {"real", "far", "trained"}, *const without[] = {"quant", "bias_update",
                                                                                       "mtp_accept", "embed"};
    bool generic = false, tried = true;
    for (size_t i = 0; i < sizeof fills / sizeof *fills; i++) generic |= !strcmp(p->fill->name, fills[i]);
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) tried &= strcmp(p->op->name, without[i]) != 0;
    return generic && tried;
}

/* Arithmetic whose hooks were tried on honest ports, and accused none: of binary32 and better. */
static bool is_fine(const ref_numerics *n)
{
    bool fine = n->arith != DSV3_BF16 && n->acc.bits >= 24 && (!n->acc.promote || n->acc.promote_bits >= 24);
    for (int i = 0; i < REF_PIECES; i++) fine = fine && n->arith_of[i] != DSV3_BF16;
    return fine;
}

/* ---- the verdict ---- */

/* A search for the rung that explains everything, or most. */
typedef struct {
    nulls *kept;
    const ref_numerics *declared;
    rung best;
    senses found; /* beside the best */
    int64_t lost; /* likewise */
    bool any, memory;
} search;

/* Does the port round so little that it isn't what the rung says? Of the narrowest rung it may be any better one. */
static bool is_too_wide(const rung *r, const finding *f)
{
    static const double THIN = 0.125;
    return (r->sums > 0 || !ref_is_empty(r->rounded)) && f->thin < THIN;
}

/* Does it explain more of the elements of the first, or as many better? */
static bool explains_more(const search *s, const finding *f)
{
    return !s->any || (f->lost <= s->lost && unexplained(&f->found) < unexplained(&s->found));
}

/* Is it the best so far? */
static bool try_rung(search *s, const rung *r)
{
    const char *const name = s->kept->all.p->op->name;
    ref_numerics const n = ladder_numerics(name, s->declared, r);
    finding f;
    s->memory = s->memory && find_beside(s->kept, &n, FIRST_SEED, &f);
    if (!s->memory || is_too_wide(r, &f) || !explains_more(s, &f)) return false;
    ladder_describe(name, s->declared, r, f.found.rung, sizeof f.found.rung);
    s->any = true, s->best = *r, s->found = f.found, s->lost = f.lost;
    return true;
}

static bool is_done(const search *s)
{
    return !s->memory || (s->any && !is_suspect(&s->found));
}

/* Sums of each kind, with no intermediate rounded, then with all. Returns how many there are. */
static int plain_rungs(const char *of, const ref_numerics *declared, rung rungs[])
{
    ref_set const open = ladder_points(of, declared), rounded[] = {ref_none(), open};
    int const sums = ladder_sums(declared), count = ref_is_empty(open) ? sums : 2 * sums;
    for (int i = 0; i < count; i++) rungs[i] = (rung){i % sums, rounded[i / sums]};
    return count;
}

static void try_plain_rungs(search *s)
{
    rung rungs[MOST_PLAIN_RUNGS];
    int const count = plain_rungs(s->kept->all.p->op->name, s->declared, rungs);
    for (int i = 0; i < count && !is_done(s); i++) try_rung(s, &rungs[i]);
}

/* From the best one on, one matter after another is settled the other way if that explains more. */
static void change_one_by_one(search *s, ref_set open)
{
    enum { MOST_TRIES = 40 };
    bool better = true;
    int tries = 0;
    while (better && !is_done(s)) {
        better = false;
        for (int i = 0; ref_point(i) && tries < MOST_TRIES && !is_done(s); i++) {
            if (!ref_has(open, i)) continue;
            rung other = s->best;
            other.rounded.word[i / 64] ^= (uint64_t)1 << i % 64;
            better |= try_rung(s, &other);
            tries++;
        }
        for (int k = 0; k < ladder_sums(s->declared) && tries < MOST_TRIES && !is_done(s); k++, tries++)
            if (k != s->best.sums) better |= try_rung(s, &(rung){k, s->best.rounded});
    }
}

/* The rung's arithmetic in *n. False: no memory. */
static bool find_rung(nulls *kept, const ref_numerics *declared, ref_numerics *n, senses *found)
{
    ref_set const open = ladder_points(kept->all.p->op->name, declared);
    search s = {.kept = kept, .declared = declared, .memory = true};
    try_plain_rungs(&s);
    change_one_by_one(&s, open);
    *n = ladder_numerics(kept->all.p->op->name, declared, &s.best);
    *found = s.found;
    return s.memory;
}

static void describe(const senses *s, char *text, size_t cap)
{
    if (is_along(s))
        snprintf(text, cap, "%.0f sigmas from any port that rounds %s: %s%s", fabs(s->t), s->rung, s->words,
                 s->alone ? "" : ", and more that this doesn't explain");
    else
        snprintf(text, cap, "%s is scattered %.3g times as much as in any port that rounds %s", s->population, s->ratio,
                 s->rung);
}

/* Is every output of numbers that the balls leave open shown by filters? */
static bool replaces_balls(const senses *s, const result *r)
{
    for (int i = 0; i < r->outputs; i++)
        if (r->output[i].vacuous && !(s->shown >> i & 1)) return false;
    return true;
}

static void decide(const senses *s, bool confirmed, result *r)
{
    if (!is_suspect(s) && !replaces_balls(s, r)) return;
    r->statistical = true;
    if (!is_suspect(s)) {
        r->v = PASS;
        *r->why = 0;
        return;
    }
    r->v = confirmed ? FAIL : SUSPECT;
    describe(s, r->why, sizeof r->why);
}

/* False: no memory. */
static bool sense_legal(nulls *kept, const ref_numerics *declared, result *r)
{
    ref_numerics n;
    finding again;
    if (!find_rung(kept, declared, &n, &r->sensed)) return false;
    bool const settled = ladder_sums(declared) == 1; /* else the rungs stand for too few ports */
    bool const wrong = settled && is_wrong(&r->sensed);
    if (wrong && !find_beside(kept, &n, SECOND_SEED, &again)) return false;
    if (is_suspect(&r->sensed) || r->v == VACUOUS) decide(&r->sensed, wrong && is_wrong(&again.found), r);
    return true;
}

/* An answer that the balls refuse has its verdict; beside the first rung it gets a name. */
static bool sense_illegal(nulls *kept, const ref_numerics *declared, result *r)
{
    search s = {.kept = kept, .declared = declared, .memory = true};
    try_rung(&s, &(rung){0, ref_none()});
    r->sensed = s.found;
    return s.memory;
}

/* Which share of the case costs a second: multiply-adds are many for the orders of sums, elements for what is drawn. */
static double affordable(const problem *p)
{
    double elements = 0;
    for (int i = 0; i < p->tensors; i++)
        if (has_numbers(&p->tensor[i])) elements += (double)p->tensor[i].count;
    return fmin(5e7 / (p->op->work(p->prob.bytes) + 1), 1.5e5 / (elements + 1));
}

/* Looks at the whole, or at rows that stand for it. Which share of it that is; below 1 there is an excerpt to close. */
static double look_at(nulls *kept, const problem *p, const enclosures *legal, void *const data[], excerpt *part)
{
    double const share = affordable(p);
    bool const whole = share >= 1 || !legal || !excerpt_spread(p, legal, data, share, part);
    nulls_look_at(kept, whole ? p : &part->p, whole ? data : part->data, !whole);
    return whole ? 1 : part->share;
}

bool sense(nulls *kept, const problem *p, const ref_numerics *declared, const enclosures *legal, void *const data[],
           result *r)
{
    excerpt part;
    if (!is_like_real_data(p) || !is_fine(declared)) return true;
    double const share = look_at(kept, p, legal, data, &part);
    bool const good = (r->v == FAIL ? sense_illegal : sense_legal)(kept, declared, r);
    r->sensed.share = share;
    if (share < 1) excerpt_close(&part);
    return good;
}

/* ---- what would be found ---- */

/* The least of what would be found beside this rung and others; of NAN and a number fmin takes the number. False: no memory. */
static bool promise_beside(nulls *kept, const ref_numerics *declared, const rung *r, double sigmas[])
{
    ref_numerics const n = ladder_numerics(kept->all.p->op->name, declared, r);
    const known_null *const k = nulls_beside(kept, &n, FIRST_SEED);
    if (!k) return false;
    for (int i = 0; i < kept->all.count; i++) {
        int const q = kept->all.of[i].quirk;
        if (q >= 0) sigmas[q] = fmin(sigmas[q], k->filter[i].t_of_one);
    }
    return true;
}

bool sense_mistakes(const problem *p, const ref_numerics *declared, const enclosures *legal, void *const data[],
                    double sigmas[])
{
    excerpt part;
    nulls kept = {.count = 0};
    rung rungs[MOST_PLAIN_RUNGS];
    int const count = plain_rungs(p->op->name, declared, rungs);
    bool good = true;
    for (int q = 0; q < REF_QUIRKS; q++) sigmas[q] = (double)NAN;
    if (!is_like_real_data(p) || !is_fine(declared)) return true;
    double const share = look_at(&kept, p, legal, data, &part);
    for (int i = 0; good && i < count; i++) good = promise_beside(&kept, declared, &rungs[i], sigmas);
    nulls_forget(&kept);
    if (share < 1) excerpt_close(&part);
    return good;
}
