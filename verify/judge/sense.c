/* See sense.h. */
#include "sense.h"

#include "alteration.h"
#include "excerpt.h"
#include "filter.h"
#include "ladder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double SUSPECT_T = 6, FAIL_T = 12, SUSPECT_RATIO = 4, FAIL_RATIO = 8;

enum { FIRST_SEED = 1, SECOND_SEED = 2, MOST_FILTERS = 128 };

/* What a direction is of. */
typedef enum { MISTAKE, LEFT_OUT, CONSTANT, SCALE, BIAS, OFFSET, SLOT } kind;

/* A direction of results. */
typedef struct {
    kind kind;
    char name[64]; /* of the mistake, the constant, the output, the expert */
    int quirk;     /* of a mistake */
    int output;    /* of a scale: which of the null's */
    double *d;     /* (n) */
} direction;

typedef struct {
    const problem *p;
    void *const *data;
    bool excerpt;  /* p is one */
    double *truth; /* (n) */
    direction of[MOST_FILTERS];
    int count;
} directions;

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

/* ---- directions ---- */

/* A new one, of zeros. NULL: no memory. */
static double *add_direction(directions *all, const null_ports *null, kind what, const char *name)
{
    if (all->count == MOST_FILTERS) return NULL;
    direction *const one = &all->of[all->count];
    *one = (direction){what, "", -1, -1, calloc((size_t)null->n + 1, sizeof *one->d)};
    if (!one->d) return NULL;
    snprintf(one->name, sizeof one->name, "%.60s", name);
    all->count++;
    return one->d;
}

/* d: results of the formula somehow changed; what the change is, times `size`. */
static void subtract_truth(const directions *all, const null_ports *null, double size, double *d)
{
    for (int64_t i = 0; i < null->n; i++) d[i] = (d[i] - all->truth[i]) * size;
}

/* What a mistake changes, which the formula asks for here. */
static bool add_mistake(directions *all, const null_ports *null, int quirk)
{
    double *const d = add_direction(all, null, MISTAKE, ref_quirk(quirk)->name);
    if (!d || !null_formula(all->p, null, ref_only(quirk), all->data, d, NULL)) return false;
    all->of[all->count - 1].quirk = quirk;
    subtract_truth(all, null, 1, d);
    return true;
}

/* Of each output: its scale, its signs, an offset. */
static bool add_shapes(directions *all, const null_ports *null)
{
    for (int o = 0; o < null->outputs; o++) {
        const null_output *const t = &null->output[o];
        const char *const name = all->p->tensor[t->tensor].name;
        double *const scale = add_direction(all, null, SCALE, name);
        double *const bias = add_direction(all, null, BIAS, name);
        double *const offset = add_direction(all, null, OFFSET, name);
        if (!scale || !bias || !offset) return false;
        all->of[all->count - 3].output = o;
        for (int64_t i = t->first; i < t->first + t->count; i++) {
            scale[i] = all->truth[i];
            bias[i] = (all->truth[i] > 0) - (all->truth[i] < 0);
            offset[i] = 1;
        }
    }
    return true;
}

static const double STEP = 0x1p-10; /* relative, of what results are derived by */

/* The derivative by a real number of the problem, times that number. */
static bool add_constant(directions *all, const null_ports *null, const field_row *field)
{
    problem moved = *all->p;
    double *const value = (double *)(void *)(moved.prob.bytes + field->offset);
    double *const d = add_direction(all, null, CONSTANT, field->name);
    *value *= 1 + STEP;
    if (!d || !null_formula(&moved, null, ref_none(), all->data, d, NULL)) return false;
    subtract_truth(all, null, 1 / STEP, d);
    return true;
}

static bool add_constants(directions *all, const null_ports *null)
{
    for (const field_row *f = all->p->op->fields; f->name; f++)
        if (f->kind == FIELD_REAL && problem_field(all->p, f) != 0 && !add_constant(all, null, f)) return false;
    return true;
}

/* What it changes that a tensor holds other numbers: a key or a feature that is left out, an expert's weight that is off. */
static bool add_alteration(directions *all, const null_ports *null, const alteration *a)
{
    double *const d = add_direction(all, null, a->share == 1 ? LEFT_OUT : SLOT, a->name);
    void **const data = malloc((size_t)all->p->tensors * sizeof *data);
    bool good = d && data;
    if (good) {
        memcpy(data, all->data, (size_t)all->p->tensors * sizeof *data);
        data[a->tensor] = a->data;
        good = null_formula(all->p, null, ref_none(), data, d, NULL);
        subtract_truth(all, null, 1 / a->share, d);
    }
    free(data);
    return good;
}

static bool add_alterations(directions *all, const null_ports *null)
{
    alteration a;
    bool good = true;
    for (int i = 0; good && alteration_of(all->p, all->data, i, &a); i++) {
        good = add_alteration(all, null, &a);
        free(a.data);
    }
    return good;
}

static bool find_directions(directions *all, const null_ports *null)
{
    ref_set asked;
    all->truth = malloc(((size_t)null->n + 1) * sizeof *all->truth);
    if (!all->truth || !null_formula(all->p, null, ref_none(), all->data, all->truth, &asked)) return false;
    for (int q = 0; ref_quirk(q); q++)
        if (ref_has(asked, q) && !(all->excerpt && excerpt_misleads(q)) && !add_mistake(all, null, q)) return false;
    return add_shapes(all, null) && add_constants(all, null) && add_alterations(all, null);
}

static void forget(directions *all)
{
    for (int i = 0; i < all->count; i++) free(all->of[i].d);
    free(all->truth);
}

/* ---- one rung ---- */

/* What lies along a direction, in words. */
static void describe_filter(const direction *way, const filtered *f, char *text, size_t cap)
{
    switch (way->kind) {
    case MISTAKE: snprintf(text, cap, "%.6g +- %.1g of %s", f->size, f->sd, way->name); return;
    case LEFT_OUT: snprintf(text, cap, "%s, %.6g +- %.1g of it", way->name, f->size, f->sd); return;
    case CONSTANT:
        snprintf(text, cap, "%s is %.9g +- %.1g of what it should be", way->name, 1 + f->size, f->sd);
        return;
    case SCALE: snprintf(text, cap, "%s is %.9g +- %.1g of what it should be", way->name, 1 + f->size, f->sd); return;
    case BIAS: snprintf(text, cap, "%s lies %.6g +- %.1g farther from 0", way->name, f->size, f->sd); return;
    case OFFSET: snprintf(text, cap, "%s lies %.6g +- %.1g higher", way->name, f->size, f->sd); return;
    case SLOT:
        snprintf(text, cap, "the %s is %.9g +- %.1g of what it should be", way->name, 1 + f->size, f->sd);
        return;
    }
}

/* Of two names for nearly the same: a mistake that is there is there once; a little of one is rather something else. */
static double oddness(const problem *p, const direction *way, const filtered *f)
{
    static const double of_kind[] = {[CONSTANT] = 0.3, [SLOT] = 0.3, [SCALE] = 0.4, [OFFSET] = 0.35, [BIAS] = 0.5};
    if (way->kind == LEFT_OUT) return fabs(f->size - 1) + 0.01;
    if (way->kind != MISTAKE) return of_kind[way->kind];
    double const of_another_op = strcmp(ref_quirk(way->quirk)->op, p->op->name) ? 0.01 : 0;
    return fabs(f->size - 1) + of_another_op;
}

/* What filters find beside the ports of one rung. */
typedef struct {
    const directions *all;
    senses found;
    filtered named;
    const direction *way; /* the one that it is of; NULL: none yet */
    double thin;          /* of the output that is scattered least, see population */
    int64_t lost;         /* elements that aren't numbers in all ports */
} finding;

/* Outputs of which an eighth of the scale would show: what mutants do, at least. Their elements are numbers, too, all but one in 20. */
static bool shows(const null_ports *null, int output, double t_of_scale)
{
    const null_output *const t = &null->output[output];
    int64_t unusable = 0;
    for (int64_t i = t->first; i < t->first + t->count; i++) unusable += null->weight[i] == 0;
    return t_of_scale / 8 >= FAIL_T && unusable * 20 <= t->count;
}

/* The name is that of the largest |z|; of two that are nearly along one another, that of the one whose size is as it should be. */
static void note_filter(const direction *way, const filtered *f, finding *all)
{
    senses *const s = &all->found;
    s->filters++;
    if (fabs(f->t) > fabs(s->t)) s->t = f->t;
    if (way->quirk >= 0) {
        s->known++;
        if (f->t_of_one >= FAIL_T) ref_add(&s->sees, way->quirk);
    }
    if (all->way) {
        bool const tied = fabs(fabs(f->z) - fabs(all->named.z)) <= 1e-3 * fabs(all->named.z);
        if (tied ? oddness(all->all->p, way, f) >= oddness(all->all->p, all->way, &all->named)
                 : fabs(f->z) < fabs(all->named.z))
            return;
    }
    all->named = *f, all->way = way;
}

static void note_population(const null_ports *null, int output, finding *all)
{
    senses *const s = &all->found;
    scattered const c = population(null, output);
    all->thin = fmin(all->thin, c.thin);
    if (c.ratio <= s->ratio) return;
    s->ratio = c.ratio, s->ratio_t = c.t;
    snprintf(s->population, sizeof s->population, "%.31s", all->all->p->tensor[null->output[output].tensor].name);
}

static const char *const prefixes[] = {
    [MISTAKE] = "",      [LEFT_OUT] = "",         [CONSTANT] = "", [SCALE] = "scale of ",
    [BIAS] = "bias of ", [OFFSET] = "offset of ", [SLOT] = ""};

static finding sense_beside(const directions *all, const null_ports *null)
{
    finding f = {.all = all, .thin = 1};
    for (int i = 0; i < all->count; i++) {
        filtered const one = filter_both(null, all->of[i].d);
        note_filter(&all->of[i], &one, &f);
        if (all->of[i].kind == SCALE && shows(null, all->of[i].output, one.t_of_one))
            f.found.shown |= 1u << null->output[all->of[i].output].tensor_out;
    }
    for (int o = 0; o < null->outputs; o++) note_population(null, o, &f);
    for (int64_t i = 0; i < null->n; i++) f.lost += null->weight[i] == 0;
    if (!f.way) return f;
    f.found.size = f.named.size, f.found.sd = f.named.sd, f.found.quirk = f.way->quirk;
    f.found.alone = filter_explains(null, f.way->d, &f.named);
    snprintf(f.found.filter, sizeof f.found.filter, "%s%.40s", prefixes[f.way->kind], f.way->name);
    describe_filter(f.way, &f.named, f.found.words, sizeof f.found.words);
    return f;
}

/* Senses beside the ports of one rung, drawn from a seed. */
static bool climb(directions *all, const ref_numerics *n, uint64_t seed, finding *f)
{
    null_ports null;
    if (!null_open(all->p, n, all->data, seed, &null)) return false;
    bool const good = all->truth || find_directions(all, &null);
    if (good) *f = sense_beside(all, &null);
    null_close(&null);
    return good;
}

/* ---- the verdict ---- */

static bool is_suspect(const senses *s)
{
    return fabs(s->t) >= SUSPECT_T || s->ratio >= SUSPECT_RATIO;
}

static bool is_wrong(const senses *s)
{
    return fabs(s->t) >= FAIL_T || (s->ratio >= FAIL_RATIO && s->ratio_t >= FAIL_T);
}

/* How much a rung leaves unexplained. */
static double unexplained(const senses *s)
{
    return fmax(fabs(s->t) / SUSPECT_T, s->ratio / SUSPECT_RATIO);
}

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
    s->memory = s->memory && climb(s->all, &n, FIRST_SEED, &f);
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
    if (fabs(s->t) >= SUSPECT_T)
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
    if (wrong && !climb(all, &n, SECOND_SEED, &again)) return false;
    if (is_suspect(&r->sensed) || r->v == VACUOUS) decide(&r->sensed, wrong && is_wrong(&again.found), r);
    return true;
}

/* An answer that the balls refuse has its verdict; beside the first rung it gets a name. */
static bool sense_illegal(directions *all, const ref_numerics *declared, result *r)
{
    search s = {.all = all, .declared = declared, .memory = true};
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

bool sense(const problem *p, const ref_numerics *declared, const enclosures *legal, void *const data[], result *r)
{
    excerpt part;
    double const share = affordable(p);
    if (!is_like_real_data(p) || !is_fine(declared)) return true;
    bool const whole = share >= 1 || !legal || !excerpt_spread(p, legal, data, share, &part);
    directions all = {.p = whole ? p : &part.p, .data = whole ? data : part.data, .excerpt = !whole};
    bool const good = (r->v == FAIL ? sense_illegal : sense_legal)(&all, declared, r);
    r->sensed.share = whole ? 1 : part.share;
    forget(&all);
    if (!whole) excerpt_close(&part);
    return good;
}
