/* See sense.h. */
#include "sense.h"

#include "excerpt.h"
#include "finding.h"
#include "ladder.h"

#include <math.h>
#include <stdio.h>

enum { FIRST_SEED = 1, SECOND_SEED = 2 };

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
    directions *all;
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
    const char *const name = s->all->p->op->name;
    ref_numerics const n = ladder_numerics(name, s->declared, r);
    finding f;
    s->memory = s->memory && find_beside(s->all, &n, FIRST_SEED, &f);
    if (!s->memory || is_too_wide(r, &f) || !explains_more(s, &f)) return false;
    ladder_describe(name, s->declared, r, f.found.rung, sizeof f.found.rung);
    s->any = true, s->best = *r, s->found = f.found, s->lost = f.lost;
    return true;
}

static bool is_done(const search *s)
{
    return !s->memory || (s->any && !is_suspect(&s->found));
}

/* Sums of each kind, with no intermediate rounded, then with all. */
static void try_plain_rungs(search *s, ref_set open)
{
    int const sums = ladder_sums(s->declared);
    ref_set const rounded[] = {ref_none(), open};
    for (int i = 0; i < 2 * sums && !is_done(s); i++)
        if (i < sums || !ref_is_empty(open)) try_rung(s, &(rung){i % sums, rounded[i / sums]});
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
static bool find_rung(directions *all, const ref_numerics *declared, ref_numerics *n, senses *found)
{
    ref_set const open = ladder_points(all->p->op->name, declared);
    search s = {.all = all, .declared = declared, .memory = true};
    try_plain_rungs(&s, open);
    change_one_by_one(&s, open);
    *n = ladder_numerics(all->p->op->name, declared, &s.best);
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
        *r->why = *r->way_out = 0;
        return;
    }
    r->v = confirmed ? FAIL : SUSPECT;
    describe(s, r->why, sizeof r->why);
}

/* What one direction doesn't explain alone, or not quite, two mistakes may, beside the ports of the rung. False: no memory. */
static bool name_both(const directions *all, const ref_numerics *n, senses *found)
{
    return !is_suspect(found) || find_pair(all, n, FIRST_SEED, found);
}

/* False: no memory. */
static bool sense_legal(directions *all, const ref_numerics *declared, result *r)
{
    ref_numerics n;
    finding again = {.all = all};
    if (!find_rung(all, declared, &n, &r->sensed) || !name_both(all, &n, &r->sensed)) return false;
    bool const settled = ladder_sums(declared) == 1; /* else the rungs stand for too few ports */
    bool const wrong = settled && is_wrong(&r->sensed);
    if (wrong && !find_beside(all, &n, SECOND_SEED, &again)) return false;
    if (is_suspect(&r->sensed) || r->v == VACUOUS) decide(&r->sensed, wrong && is_wrong(&again.found), r);
    return true;
}

/* An answer that the balls refuse has its verdict; beside the first rung it gets a name. */
static bool sense_illegal(directions *all, const ref_numerics *declared, result *r)
{
    search s = {.all = all, .declared = declared, .memory = true};
    rung const first = {0, ref_none()};
    ref_numerics const n = ladder_numerics(all->p->op->name, declared, &first);
    try_rung(&s, &first);
    r->sensed = s.found;
    return s.memory && name_both(all, &n, &r->sensed);
}

static bool is_refused(const result *r)
{
    return r->v == FAIL || r->v == NOT_A_NUMBER || r->v == UNWRITTEN;
}

/* Which share of the case costs a second: multiply-adds are many for the orders of sums, elements for what is drawn. */
static double affordable(const problem *p)
{
    double elements = 0;
    for (int i = 0; i < p->tensors; i++)
        if (has_numbers(&p->tensor[i])) elements += (double)p->tensor[i].count;
    return fmin(5e7 / (p->op->work(p->prob.bytes) + 1), 1.5e5 / (elements + 1));
}

bool sense(const problem *p, const ref_numerics *declared, const enclosures *legal, void *const data[], result *r)
{
    excerpt part;
    double const share = affordable(p);
    if (!is_like_real_data(p) || !is_fine(declared)) return true;
    bool const whole = share >= 1 || !legal || !excerpt_spread(p, legal, data, share, &part);
    directions all = {.p = whole ? p : &part.p, .data = whole ? data : part.data, .excerpt = !whole};
    bool const good = (is_refused(r) ? sense_illegal : sense_legal)(&all, declared, r);
    r->sensed.share = whole ? 1 : part.share;
    if (r->choice_illegal && !(r->diagnoses && !r->diagnosis[0].illegal))
        r->sensed.alone = false; /* filters see no choices */
    directions_forget(&all);
    if (!whole) excerpt_close(&part);
    return good;
}
