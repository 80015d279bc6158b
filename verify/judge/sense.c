/* See sense.h. */
#include "sense.h"

#include "excerpt.h"
#include "finding.h"
#include "ladder.h"
#include "lost_key.h"
#include "nearness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIRST_SEED = 1, SECOND_SEED = 2 };
enum { MOST_PLAIN_RUNGS = 2 * MOST_SUMS, MOST_RUNGS = 48 };

/* ---- where it holds ---- */

/* Fills that are like real data, of ops whose outputs are numbers of their own. */
static bool is_like_real_data(const problem *p)
{
    static const char *const fills[] = {"real", "far", "trained"}, *const without[] = {"quant",       "bias_update",
                                                                                       "mtp_accept",  "mtp_inputs",
                                                                                       "cache_store", "embed"};
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

/* What a rung foretells, with a mistake: how far the answer is off that. */
typedef struct {
    rung rung;
    const direction *with; /* NULL: none */
    double off;
} foretelling;

/* A search for the rung that explains everything, or most. */
typedef struct {
    nulls *kept;
    const ref_numerics *declared;
    const watcher *watched;
    rung best;
    finding at;                 /* beside the best */
    unsigned moves[REF_POINTS]; /* figures that a point moves, where it was tried last */
    ref_set known;              /* those that were */
    foretelling nearest;        /* of the rungs that were tried */
    direction key;              /* that the answer lacks; its d NULL: none that is known */
    int tried;                  /* rungs */
    bool any, memory;
    bool sought;    /* the key */
    bool foretold;  /* was the last rung left for that? */
    unsigned moved; /* figures of the last one that aren't those of the best before it */
} search;

/* Does the port round so little that it isn't what the rung says? Of the narrowest rung it may be any better one. */
static bool is_too_wide(const rung *r, const finding *f)
{
    static const double THIN = 0.125;
    return (r->sums > 0 || !ref_is_empty(r->rounded)) && f->thin < THIN;
}

static ref_numerics numerics_of(const search *s, const rung *r)
{
    return ladder_numerics(s->kept->all.p->op->name, s->declared, r);
}

/* Does a rung that was tried foretell what was written, with the mistake named beside it, better than chance lets it foretell ports
 * that round what this one does? */
static bool is_foretold(search *s, const rung *r)
{
    null_ports wider;
    if (!s->nearest.with || ref_is_empty(r->rounded)) return false;
    ref_numerics const narrow = numerics_of(s, &s->nearest.rung), wide = numerics_of(s, r);
    const known_null *const k = nulls_beside(s->kept, &narrow, FIRST_SEED);
    s->memory = k && null_open(s->kept->all.p, &wide, s->kept->all.data, FIRST_SEED, &wider);
    if (!s->memory) return false;
    null_leave_out(&wider, s->kept->got);
    double const chance = chance_of_nearness(&k->null, s->nearest.with->d, s->kept->got, &wider);
    null_close(&wider);
    return chance < chance_of_suspicion();
}

/* Where what is named isn't all: does the answer lack a key? Beside the first rung, for that hardly depends on rungs. */
static void seek_key(search *s, const finding *f)
{
    if (s->sought || !is_suspect(&f->found) || f->found.alone) return;
    s->memory = lost_key(s->kept, f->beside, &s->key);
    s->sought = true;
}

/* With what is named beside the rung, or with a key that is lost. */
static foretelling foretell(const search *s, const rung *r, const finding *f)
{
    const direction *const ways[] = {f->way, s->key.d ? &s->key : NULL};
    foretelling best = {.off = HUGE_VAL};
    for (int i = 0; i < 2; i++) {
        double const off = ways[i] ? distance_of_answer(f->beside, ways[i]->d, s->kept->got) : HUGE_VAL;
        if (off < best.off) best = (foretelling){*r, ways[i], off};
    }
    return best;
}

/* Does it explain more of the elements of the first, or as many better? */
static bool explains_more(const finding *f, const finding *best)
{
    return f->lost <= best->lost && f->left < best->left;
}

/* Figures that aren't alike; t is one of all outputs, behind whichever is off most. */
static unsigned differ(const finding *a, const finding *b)
{
    unsigned moved = 0;
    for (int i = 0; i <= MAX_OUTPUTS; i++)
        moved |= (unsigned)(fabs(a->figure[i] - b->figure[i]) > 1e-6 * fabs(b->figure[i])) << i;
    return moved ? moved | 1u << MAX_OUTPUTS : 0;
}

/* Is it the best so far? */
static bool try_rung(search *s, const rung *r)
{
    ref_numerics const n = numerics_of(s, r);
    finding f;
    if (s->watched) s->watched->tell(s->watched->context, s->tried, MOST_RUNGS);
    s->tried++;
    s->memory = s->memory && find_beside(s->kept, &n, FIRST_SEED, &f);
    if (!s->memory) return false;
    seek_key(s, &f);
    foretelling const here = foretell(s, r, &f);
    s->moved = differ(&f, &s->at);
    bool const better = !is_too_wide(r, &f) && (!s->any || explains_more(&f, &s->at));
    s->foretold = better && is_foretold(s, r);
    if (!s->foretold && here.with && (!s->nearest.with || here.off < s->nearest.off)) s->nearest = here;
    if (!better || s->foretold) return false;
    ladder_describe(s->kept->all.p->op->name, s->declared, r, f.found.rung, sizeof f.found.rung);
    s->any = true, s->best = *r, s->at = f;
    return true;
}

static bool is_done(const search *s)
{
    return !s->memory || s->tried == MOST_RUNGS || (s->any && !s->at.suspects);
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

/* Sums of each kind, with no intermediate rounded, then with all. Returns how many there are. */
static int plain_rungs(const problem *p, const ref_numerics *declared, rung rungs[])
{
    ref_set const open = open_points(p, declared), rounded[] = {ref_none(), open};
    int const sums = ladder_sums(declared), count = ref_is_empty(open) ? sums : 2 * sums;
    for (int i = 0; i < count; i++) rungs[i] = (rung){i % sums, rounded[i / sums]};
    return count;
}

static void try_plain_rungs(search *s)
{
    rung rungs[MOST_PLAIN_RUNGS];
    int const count = plain_rungs(s->kept->all.p, s->declared, rungs);
    for (int i = 0; i < count && !is_done(s) && !s->foretold; i++) try_rung(s, &rungs[i]);
}

static void turn_over(rung *r, int point)
{
    r->rounded.word[point / 64] ^= (uint64_t)1 << point % 64;
}

/* Does that move something that is suspect, as far as is known? An output that is says more than t, which all of them move. */
static bool is_worth(const search *s, const ref_set *open, int point)
{
    unsigned const outputs = s->at.suspects & ~(1u << MAX_OUTPUTS), wanted = outputs ? outputs : s->at.suspects;
    return ref_has(*open, point) && (!ref_has(s->known, point) || s->moves[point] & wanted);
}

/* One point the other way. Is one better? */
static bool change_one(search *s, const ref_set *open)
{
    bool better = false;
    for (int i = 0; ref_point(i) && !is_done(s); i++) {
        if (!is_worth(s, open, i)) continue;
        rung other = s->best;
        turn_over(&other, i);
        better |= try_rung(s, &other);
        s->moves[i] = s->moved;
        ref_add(&s->known, i);
    }
    return better;
}

/* Do both move one output? */
static bool is_of_one(const search *s, int a, int b)
{
    return (s->moves[a] & s->moves[b] & ~(1u << MAX_OUTPUTS)) != 0;
}

/* Two that move one thing, and one of them what is suspect: something that is made of both may need both. */
static bool change_two(search *s, const ref_set *open)
{
    for (int i = 0; ref_point(i); i++)
        for (int k = 0; ref_point(k) && !is_done(s); k++) {
            bool const both = ref_has(*open, k) && is_of_one(s, i, k) && (k > i || !is_worth(s, open, k));
            if (k == i || !both || !is_worth(s, open, i)) continue;
            rung other = s->best;
            turn_over(&other, i), turn_over(&other, k);
            if (try_rung(s, &other)) return true;
        }
    return false;
}

/* Other sums; of what rounds nothing all were tried. */
static bool change_sums(search *s)
{
    bool better = false;
    if (ref_is_empty(s->best.rounded)) return false;
    for (int k = 0; k < ladder_sums(s->declared) && !is_done(s); k++)
        if (k != s->best.sums) better |= try_rung(s, &(rung){k, s->best.rounded});
    return better;
}

/* From the best one on, one matter after another is settled the other way if that explains more, or two of them. */
static void change_one_by_one(search *s)
{
    ref_set const open = open_points(s->kept->all.p, s->declared);
    while (!is_done(s) && (change_one(s, &open) || change_two(s, &open) || change_sums(s))) continue;
}

/* The same from another rung on, if that explains more in the end. */
static void change_from(search *s, const rung *start)
{
    search other = *s;
    other.any = other.foretold = false;
    try_rung(&other, start);
    if (other.any) change_one_by_one(&other);
    if (other.any && explains_more(&other.at, &s->at)) s->best = other.best, s->at = other.at;
    s->key = other.key, s->sought = other.sought; /* if it was sought now, it is s's to free */
    s->memory = other.memory;
}

/* A way of single steps from the best plain rung may end where none is better: then the rung that rounds none of what that one rounds,
 * or all, is another start. False: no memory. */
static bool find_rung(search *s)
{
    try_plain_rungs(s);
    rung const start = s->best;
    change_one_by_one(s);
    ref_set const open = open_points(s->kept->all.p, s->declared);
    if (!is_done(s) && !ref_is_empty(open))
        change_from(s, &(rung){start.sums, ref_is_empty(start.rounded) ? open : ref_none()});
    return s->memory;
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

/* What one direction doesn't explain alone, or not quite, a lost key or two mistakes may, beside the ports of the rung. False: no memory. */
static bool name_other(search *s)
{
    ref_numerics const n = numerics_of(s, &s->best);
    return s->memory && (!is_suspect(&s->at.found) || find_other(s->kept, &n, FIRST_SEED, &s->key, &s->at.found));
}

/* False: no memory. */
static bool sense_legal(search *s, result *r)
{
    finding again;
    bool const named = find_rung(s) && name_other(s);
    r->sensed = s->at.found;
    if (!named) return false;
    ref_numerics const n = numerics_of(s, &s->best);
    bool const settled = ladder_sums(s->declared) == 1; /* else the rungs stand for too few ports */
    bool const wrong = settled && is_wrong(&r->sensed);
    if (wrong && !find_beside(s->kept, &n, SECOND_SEED, &again)) return false;
    if (is_suspect(&r->sensed) || r->v == VACUOUS) decide(&r->sensed, wrong && is_wrong(&again.found), r);
    return true;
}

/* Did a diagnosis by the balls name what explains all of it? */
static bool is_explained(const result *r)
{
    return r->diagnoses && !r->diagnosis[0].illegal;
}

/* An answer that the balls refuse has its verdict; beside the first rung it gets a name, unless it has one and a measure of that is
 * dear. False: no memory. */
static bool sense_illegal(search *s, result *r)
{
    if (is_explained(r) && reading_is_dear(s->kept->all.p)) return true;
    try_rung(s, &(rung){0, ref_none()});
    bool const named = name_other(s);
    r->sensed = s->at.found;
    return named;
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

/* Looks at the whole, or at rows that stand for it. Which share of it that is; below 1 there is an excerpt to close. */
static double look_at(nulls *kept, const problem *p, const enclosures *legal, void *const data[], excerpt *part)
{
    double const share = affordable(p);
    bool const whole = share >= 1 || !legal || !excerpt_spread(p, legal, data, share, part);
    nulls_look_at(kept, whole ? p : &part->p, whole ? data : part->data, !whole);
    return whole ? 1 : part->share;
}

bool sense(nulls *kept, const problem *p, const ref_numerics *declared, const enclosures *legal, void *const data[],
           const watcher *watched, result *r)
{
    excerpt part;
    if (!is_like_real_data(p) || !is_fine(declared)) return true;
    double const share = look_at(kept, p, legal, data, &part);
    search s = {.kept = kept, .declared = declared, .watched = watched, .memory = true};
    bool const good = (is_refused(r) ? sense_illegal : sense_legal)(&s, r);
    free(s.key.d);
    r->sensed.share = share;
    if (r->choice_illegal && !is_explained(r)) r->sensed.alone = false; /* filters see no choices */
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
    int const count = plain_rungs(p, declared, rungs);
    bool good = true;
    for (int q = 0; q < REF_QUIRKS; q++) sigmas[q] = (double)NAN;
    if (!is_like_real_data(p) || !is_fine(declared)) return true;
    double const share = look_at(&kept, p, legal, data, &part);
    for (int i = 0; good && i < count; i++) good = promise_beside(&kept, declared, &rungs[i], sigmas);
    nulls_forget(&kept);
    if (share < 1) excerpt_close(&part);
    return good;
}
