/* See sense.h. */
#include "sense.h"

#include "excerpt.h"
#include "finding.h"
#include "ladder.h"
#include "nearness.h"

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
    finding found; /* beside its ports */
    /* Of all rungs, the ports that foretell the answer best with the mistake that is named beside them; and how far off. */
    null_ports nearest;
    const direction *with;
    double off;
    int tried; /* rungs */
    bool any, memory;
    bool foretold; /* was the last rung left for that? */
} search;

/* Does the port round so little that it isn't what the rung says? Of the narrowest rung it may be any better one. */
static bool is_too_wide(const rung *r, const finding *f)
{
    static const double THIN = 0.125;
    return (r->sums > 0 || !ref_is_empty(r->rounded)) && f->thin < THIN;
}

/* Does a rung that was tried foretell what was written, with the mistake named beside it, as no port could be foretold that rounds what
 * this one does? */
static bool is_foretold(const search *s, const rung *r, const null_ports *null)
{
    static const double NEAR = 0.002;
    return s->with && !ref_is_empty(r->rounded) && nearness(&s->nearest, s->with->d, null) < NEAR;
}

/* Keeps the ports if they foretell the answer better than those so far; else they are closed. */
static void keep_nearest(search *s, null_ports *null, const direction *with)
{
    double const off = with ? distance_of_answer(null, with->d) : HUGE_VAL;
    bool const nearer = with && (!s->with || off < s->off);
    null_close(nearer ? &s->nearest : null);
    if (nearer) s->nearest = *null, s->with = with, s->off = off;
}

/* Does it explain more of the elements of the first, or as many better? */
static bool explains_more(const search *s, const finding *f)
{
    return !s->any || (f->lost <= s->found.lost && unexplained(&f->found) < unexplained(&s->found.found));
}

/* Is it the best so far? */
static bool try_rung(search *s, const rung *r)
{
    const char *const name = s->all->p->op->name;
    ref_numerics const n = ladder_numerics(name, s->declared, r);
    null_ports null;
    finding f;
    s->tried++;
    if (!null_open(s->all->p, &n, s->all->data, FIRST_SEED, &null)) return s->memory = false;
    s->foretold = is_foretold(s, r, &null);
    if (!s->foretold) s->memory = find_among(s->all, &null, &f);
    bool const better = s->memory && !s->foretold && !is_too_wide(r, &f) && explains_more(s, &f);
    keep_nearest(s, &null, s->memory && !s->foretold ? f.way : NULL);
    if (!better) return false;
    ladder_describe(name, s->declared, r, f.found.rung, sizeof f.found.rung);
    s->any = true, s->best = *r, s->found = f;
    return true;
}

static bool is_done(const search *s)
{
    enum { MOST_RUNGS = 48 };
    return !s->memory || s->tried == MOST_RUNGS || (s->any && !is_suspect(&s->found.found));
}

/* Sums of each kind, with no intermediate rounded, then with all. */
static void try_plain_rungs(search *s, ref_set open)
{
    int const sums = ladder_sums(s->declared);
    for (int k = 0; k < sums && !is_done(s); k++) try_rung(s, &(rung){k, ref_none()});
    s->foretold = ref_is_empty(open);
    for (int k = 0; k < sums && !is_done(s) && !s->foretold; k++) try_rung(s, &(rung){k, open});
}

/* From the best one on, one matter after another is settled the other way if that explains more. */
static void change_one_by_one(search *s, ref_set open)
{
    bool better = true;
    while (better && !is_done(s)) {
        better = false;
        for (int i = 0; ref_point(i) && !is_done(s); i++) {
            if (!ref_has(open, i)) continue;
            rung other = s->best;
            other.rounded.word[i / 64] ^= (uint64_t)1 << i % 64;
            better |= try_rung(s, &other);
        }
        if (ref_is_empty(s->best.rounded)) continue; /* all sums of that were tried */
        for (int k = 0; k < ladder_sums(s->declared) && !is_done(s); k++)
            if (k != s->best.sums) better |= try_rung(s, &(rung){k, s->best.rounded});
    }
}

/* Are its first tensor and its outputs? */
static bool is_binary32(const problem *p)
{
    bool all = p->tensor[0].dtype == DSV3_F32;
    for (int i = 0; i < p->tensors; i++) all = all && (!has_numbers(&p->tensor[i]) || p->tensor[i].dtype == DSV3_F32);
    return all;
}

/* Where numbers are binary32, rounding to their format does nothing; but a query may be scaled first. */
static ref_set open_points(const problem *p, const ref_numerics *declared)
{
    ref_set const open = ladder_points(p->op->name, declared);
    ref_set scales = ref_none();
    for (int i = 0; ref_point(i); i++)
        if (ref_has(open, i) && !strcmp(ref_point(i)->name, "scale")) ref_add(&scales, i);
    return is_binary32(p) ? scales : open;
}

/* The rung's arithmetic in *n. False: no memory. */
static bool find_rung(directions *all, const ref_numerics *declared, ref_numerics *n, senses *found)
{
    ref_set const open = open_points(all->p, declared);
    search s = {.all = all, .declared = declared, .memory = true};
    try_plain_rungs(&s, open);
    change_one_by_one(&s, open);
    *n = ladder_numerics(all->p->op->name, declared, &s.best);
    *found = s.found.found;
    null_close(&s.nearest);
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

/* False: no memory. */
static bool sense_legal(directions *all, const ref_numerics *declared, result *r)
{
    ref_numerics n;
    finding again = {.all = all};
    if (!find_rung(all, declared, &n, &r->sensed)) return false;
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
    try_rung(&s, &(rung){0, ref_none()});
    r->sensed = s.found.found;
    null_close(&s.nearest);
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

bool sense(const problem *p, const ref_numerics *declared, const enclosures *legal, void *const data[], result *r)
{
    excerpt part;
    double const share = affordable(p);
    if (!is_like_real_data(p) || !is_fine(declared)) return true;
    bool const whole = share >= 1 || !legal || !excerpt_spread(p, legal, data, share, &part);
    directions all = {.p = whole ? p : &part.p, .data = whole ? data : part.data, .excerpt = !whole};
    bool const good = (r->v == FAIL ? sense_illegal : sense_legal)(&all, declared, r);
    r->sensed.share = whole ? 1 : part.share;
    directions_forget(&all);
    if (!whole) excerpt_close(&part);
    return good;
}
