/* See tighten.h. */
#include "tighten.h"

#include "judge_under.h"
#include "sense.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* What may be lost against the tightest: by sums, and in all. A clause that is worth less than the least isn't declared. */
static const double SUMS_LOSS = 0.5, MOST_LOSS = 1, LEAST_LOSS = 0.01;

/* ---- declarations ---- */

void choice_print(const choice *c, const char *besides, char *text, size_t cap)
{
    size_t used = 0;
    *text = 0;
    for (int k = 0; k < c->from->count && used < cap; k++) {
        const candidate *const one = &c->from->of[k];
        if (c->way[k] == one->assumed) continue;
        used += (size_t)snprintf(text + used, cap - used, "%s%s %s", used ? "; " : "", one->word, one->way[c->way[k]]);
    }
    if (*besides && used < cap) snprintf(text + used, cap - used, "%s%s", used ? "; " : "", besides);
}

/* False: it can't be, as a unit that flushes beside flush none. */
static bool read_choice(const answers *all, const choice *c, ref_numerics *n)
{
    char text[REF_NUMERICS_CAP], why[200];
    choice_print(c, all->besides, text, sizeof text);
    return ref_numerics_parse(all->op, text, n, why, sizeof why);
}

/* ---- how a choice fits ---- */

typedef struct {
    tightening *t;
    int last[MOST_CANDIDATES];  /* of each clause, the weakest way that may be taken, */
    int first[MOST_CANDIDATES]; /* and the strongest */
    nulls kept;                 /* of the answer that filters look at */
    bool memory;                /* there was enough */
} search;

/* Of one answer. */
static fit fit_answer(search *s, const choice *c, int i)
{
    static const fit impossible = {.outside = HUGE_VAL};
    fit_key key = {.answer = i};
    ref_numerics n;
    fit f;
    for (int k = 0; k < c->from->count; k++) key.way[k] = (uint8_t)c->way[k];
    const fit *const known = known_fits_find(&s->t->known, &key);
    if (known) return *known;
    if (!s->memory || !read_choice(s->t->all, c, &n)) return impossible;
    s->memory = fit_of(s->t->all->of[i], &n, &f);
    if (!s->memory) return impossible;
    known_fits_keep(&s->t->known, &key, &f);
    return f;
}

/* Over a list of answers: outside is a sum, bits a mean. until: of the sum. */
static fit fit_choice(search *s, const choice *c, const int list[], int count, double until)
{
    int measured = 0;
    fit f = {0};
    for (int i = 0; i < count && f.outside <= until; i++) {
        fit const one = fit_answer(s, c, list[i]);
        f.outside += one.outside;
        f.bits += one.bits;
        measured += one.elements > 0;
    }
    if (measured) f.bits /= measured;
    return f;
}

static fit fit_hard(search *s, const choice *c, double until)
{
    return fit_choice(s, c, s->t->hard, s->t->hards, until);
}

/* The first answer that it refuses; -1: none. */
static int refused(search *s, const choice *c)
{
    for (int i = 0; i < s->t->all->count; i++)
        if (fit_choice(s, c, &i, 1, 0).outside > 0) return i;
    return -1;
}

bool tighten_bits(const tightening *t, const ref_numerics *n, double *bits)
{
    int measured = 0;
    double sum = 0;
    for (int i = 0; i < t->samples; i++) {
        fit f;
        if (!fit_of(t->all->of[t->sample[i]], n, &f)) return false;
        sum += f.bits;
        measured += f.elements > 0;
    }
    *bits = measured ? sum / measured : 0;
    return true;
}

/* ---- down from the strongest ---- */

typedef struct {
    int k, way;   /* of candidate k */
    double worth; /* what it brings for each bit that it loses */
} move;

static choice with(const choice *c, int k, int way)
{
    choice other = *c;
    other.way[k] = way;
    return other;
}

static void try_move(search *s, const choice *c, const fit *here, int k, int way, move *best)
{
    static const double FREE = 0.05; /* bits */
    choice const other = with(c, k, way);
    if (way == c->way[k]) return;
    fit const f = fit_hard(s, &other, here->outside);
    double const worth = (here->outside - f.outside) / (fmax(0, here->bits - f.bits) + FREE);
    if (f.outside < here->outside && worth > best->worth) *best = (move){k, way, worth};
}

/* The move that brings most. worth 0: none brings anything. */
static move best_move(search *s, const choice *c, const fit *here)
{
    move best = {.worth = 0};
    for (int k = 0; k < c->from->count; k++) {
        move weakest = {.worth = 0};
        try_move(s, c, here, k, s->last[k], &weakest);
        if (c->way[k] != s->last[k] && !(weakest.worth > 0)) continue;
        for (int way = s->first[k]; way <= s->last[k]; way++) try_move(s, c, here, k, way, &best);
    }
    return best;
}

/* Every clause by a step: where no single one helps. False: all are at their weakest. */
static bool weaken_all(const search *s, choice *c)
{
    bool moved = false;
    for (int k = 0; k < c->from->count; k++) {
        if (c->way[k] >= s->last[k]) continue;
        c->way[k]++;
        moved = true;
    }
    return moved;
}

/* Until the hard answers are legal. False: there is no such choice. */
static bool descend(search *s, choice *c)
{
    fit here = fit_hard(s, c, HUGE_VAL);
    while (s->memory && here.outside > 0) {
        move const m = best_move(s, c, &here);
        if (m.worth > 0)
            c->way[m.k] = m.way;
        else if (!weaken_all(s, c))
            return false;
        here = fit_hard(s, c, HUGE_VAL);
    }
    return s->memory;
}

/* What was given up on the way and needn't have been. */
static void strengthen(search *s, choice *c)
{
    fit here = fit_hard(s, c, 0);
    for (int k = 0; k < c->from->count; k++)
        for (int way = s->first[k]; way <= s->last[k]; way++) {
            choice const other = with(c, k, way);
            fit const f = way == c->way[k] ? here : fit_hard(s, &other, 0);
            if (f.outside > 0 || !(f.bits > here.bits + 1e-9)) continue;
            *c = other;
            here = f;
        }
}

/* ---- the widest ---- */

/* What it loses against the tightest in the answer of the sample where that is most, or in the first where it is at least `until`;
 * HUGE_VAL: it doesn't allow all. */
static double loss_of(search *s, const choice *c, double until)
{
    const tightening *const t = s->t;
    double most = fit_hard(s, c, 0).outside > 0 ? HUGE_VAL : -HUGE_VAL;
    for (int i = 0; i < t->samples && most < until; i++) {
        fit const f = fit_choice(s, c, &t->sample[i], 1, 0);
        most = f.outside > 0 ? HUGE_VAL : fmax(most, t->sample_bits[i] - f.bits);
    }
    return most;
}

static bool is_number(const char *way)
{
    return *way >= '0' && *way <= '9';
}

/* The largest error that was seen needn't be the largest: errors of functions get two steps of room. */
static void leave_room(search *s, choice *c)
{
    for (int step = 0; step < 2; step++)
        for (int k = 1; k < c->from->count; k++) {
            int const way = c->way[k];
            if (!is_number(c->from->of[k].way[way]) || way >= s->last[k]) continue;
            choice const other = with(c, k, way + 1);
            if (loss_of(s, &other, MOST_LOSS) < MOST_LOSS) *c = other;
        }
}

/* Clauses that say nothing of these cases are left out. */
static void leave_out(search *s, choice *c)
{
    double here = loss_of(s, c, HUGE_VAL);
    for (int k = 0; k < c->from->count; k++) {
        choice const other = with(c, k, c->from->of[k].assumed);
        double const most = here + LEAST_LOSS;
        double const loss = c->way[k] == c->from->of[k].assumed ? HUGE_VAL : loss_of(s, &other, most);
        if (!(loss < most)) continue;
        *c = other;
        here = loss;
    }
}

static void widen_sums(search *s, choice *c)
{
    choice widest = *c;
    double most = loss_of(s, c, HUGE_VAL);
    for (int way = s->first[0]; way <= s->last[0]; way++) {
        choice const other = with(c, 0, way);
        double const loss = loss_of(s, &other, SUMS_LOSS);
        if (loss > most && loss < SUMS_LOSS) widest = other, most = loss;
    }
    *c = widest;
}

/* What each move loses, at least: losses only grow while a choice is widened. */
typedef struct {
    double loss[MOST_CANDIDATES][MOST_WAYS];
} bounds;

static bool may_widen(const search *s, const choice *c, int k, int way, bool to_assumed)
{
    const candidate *const one = &c->from->of[k];
    if (way < s->first[k] || way > s->last[k] || (to_assumed && way != one->assumed)) return false;
    return k == 0 ? way != c->way[k] : candidate_is_wider(one, way, c->way[k]);
}

/* The move that could lose least. Its worth is that loss; MOST_LOSS: none could lose less. */
static move cheapest(const search *s, const choice *c, const bounds *b, bool to_assumed)
{
    move least = {.worth = MOST_LOSS};
    for (int k = 0; k < c->from->count; k++)
        for (int way = s->first[k]; way <= s->last[k]; way++)
            if (may_widen(s, c, k, way, to_assumed) && b->loss[k][way] < least.worth)
                least = (move){k, way, b->loss[k][way]};
    return least;
}

/* Moves, to what is assumed or to any wider way, each the one that loses least, until the next would lose a bit. */
static void widen_by(search *s, choice *c, bounds *b, bool to_assumed)
{
    double here = loss_of(s, c, HUGE_VAL);
    for (move m = cheapest(s, c, b, to_assumed); m.worth < MOST_LOSS && s->memory; m = cheapest(s, c, b, to_assumed)) {
        choice const other = with(c, m.k, m.way);
        double const loss = loss_of(s, &other, MOST_LOSS);
        bool const back = m.k == 0 && loss <= here + 1e-6; /* of sums: it isn't wider */
        b->loss[m.k][m.way] = back ? HUGE_VAL : loss;
        if (back || loss > cheapest(s, c, b, to_assumed).worth || loss >= MOST_LOSS) continue;
        *c = other;
        here = loss;
    }
}

static void widen(search *s, choice *c)
{
    leave_out(s, c);
    widen_sums(s, c);
    leave_room(s, c);
    bounds *const b = calloc(1, sizeof *b);
    s->memory = s->memory && b;
    if (s->memory) widen_by(s, c, b, true);
    if (s->memory) widen_by(s, c, b, false);
    free(b);
}

/* ---- the search ---- */

/* Is it like real data, of a size that isn't the least, and cheap? */
static bool is_typical(const problem *p)
{
    static const double MOST_WORK = 4e6;
    return !strcmp(p->fill->name, "real") && !strstr(p->id, "@edge") && p->op->work(p->prob.bytes) <= MOST_WORK;
}

/* Typical answers of all costs; where there are none, the cheapest. */
static void take_sample(tightening *t)
{
    int typical[MOST_ANSWERS];
    int count = 0;
    for (int i = 0; i < t->all->count; i++)
        if (is_typical(t->all->of[i]->p)) typical[count++] = i;
    t->samples = count < MOST_SAMPLES ? count : MOST_SAMPLES;
    for (int i = 0; i < t->samples; i++) t->sample[i] = typical[(int64_t)i * count / t->samples];
    for (int i = 0; !count && i < t->all->count && i < MOST_SAMPLES; i++) t->sample[t->samples++] = i;
}

/* Weighs the answer that was refused, too, from now on. */
static void remember(tightening *t, int i)
{
    if (t->hards < MOST_ANSWERS) t->hard[t->hards++] = i;
}

/* From the strongest choice that may be taken. False: there is none. */
static bool find_tight(search *s, choice *c, int *failing)
{
    for (int k = 0; k < c->from->count; k++) c->way[k] = s->first[k];
    while (s->memory) {
        *failing = refused(s, c);
        if (*failing < 0) return true;
        remember(s->t, *failing);
        if (!descend(s, c)) return false;
        strengthen(s, c);
    }
    return false;
}

static choice weakest(const search *s)
{
    choice c = {.from = &s->t->from};
    for (int k = 0; k < c.from->count; k++) c.way[k] = s->last[k];
    return c;
}

/* Binary64 between sums in fewer bits is no ordinary kernel. */
static void allow_binary64(search *s, bool allowed)
{
    const candidates *const from = &s->t->from;
    for (int k = 1; k < from->count; k++) s->first[k] = !allowed && candidate_is_binary64(&from->of[k], 0);
}

/* With ways from..to of sums, each by itself: the one that resolves most. False: none passes; *failing is only set where nothing
 * was found before. */
static bool find_best(search *s, int from, int to, choice *best, double *most, int *failing)
{
    bool found = false;
    for (int way = from; way <= to && s->memory; way++) {
        s->first[0] = s->last[0] = way;
        choice c = weakest(s);
        int at = refused(s, &c);
        bool const good = at < 0 && find_tight(s, &c, &at);
        if (at >= 0) *failing = at;
        if (!good) continue;
        double const bits = fit_choice(s, &c, s->t->sample, s->t->samples, HUGE_VAL).bits;
        if (!found || bits > *most) *best = c, *most = bits;
        found = true;
    }
    s->first[0] = from, s->last[0] = to;
    return found && s->memory;
}

/* Sums and arithmetic in binary64 are worth a bit, or nobody has them. */
static bool find_tightest(search *s, int *failing)
{
    tightening *const t = s->t;
    int const last = s->last[0], first = !strcmp(t->from.of[0].way[0], "53 rn");
    choice wide;
    double wide_bits;
    allow_binary64(s, false);
    bool const found = find_best(s, first, last, &t->tightest, &t->tightest_bits, failing);
    if (!first || !s->memory) return found;
    allow_binary64(s, true);
    if (!find_best(s, 0, 0, &wide, &wide_bits, failing)) return found;
    bool const worth = !found || wide_bits >= t->tightest_bits + MOST_LOSS;
    if (worth) t->tightest = wide, t->tightest_bits = wide_bits;
    s->first[0] = 0, s->last[0] = last;
    allow_binary64(s, worth);
    return true;
}

/* Of the clauses that may be weaker than is assumed, the one that alone makes all answers legal, and resolves most. False: none. */
static bool allow_one(search *s)
{
    choice const assumed = weakest(s);
    double most = -1;
    int best = -1, best_way = 0;
    for (int k = 0; k < assumed.from->count; k++)
        for (int way = s->last[k] + 1; way < assumed.from->of[k].ways; way++) {
            choice const other = with(&assumed, k, way);
            if (!s->memory || fit_hard(s, &other, 0).outside > 0 || refused(s, &other) >= 0) continue;
            double const bits = fit_choice(s, &other, s->t->sample, s->t->samples, HUGE_VAL).bits;
            if (bits > most) most = bits, best = k, best_way = way;
        }
    if (best >= 0) s->last[best] = best_way;
    return best >= 0;
}

/* What is assumed of ports; else one clause weaker than that, else all. */
static void allow_enough(search *s)
{
    const candidates *const from = &s->t->from;
    for (int k = 0; k < from->count; k++) s->first[k] = 0, s->last[k] = from->of[k].assumed;
    choice const assumed = weakest(s);
    int const at = refused(s, &assumed);
    if (at < 0) return;
    remember(s->t, at);
    if (allow_one(s)) return;
    for (int k = 0; k < from->count; k++) s->last[k] = from->of[k].ways - 1;
}

/* Widening a clause makes nothing illegal, but one way may be no wider than another. */
static bool find_widest(search *s)
{
    tightening *const t = s->t;
    int failing;
    for (int i = 0; i < t->samples; i++)
        t->sample_bits[i] = fit_choice(s, &t->tightest, &t->sample[i], 1, HUGE_VAL).bits;
    do {
        s->t->widest = s->t->tightest;
        widen(s, &s->t->widest);
        failing = s->memory ? refused(s, &s->t->widest) : -1;
        if (failing >= 0) remember(s->t, failing);
    } while (failing >= 0);
    return s->memory;
}

void tighten_close(tightening *t)
{
    known_fits_forget(&t->known);
}

tightened tighten(tightening *t, const answers *all, sum_kind sums, int *failing)
{
    search s = {.t = t, .memory = true};
    tighten_close(t);
    *t = (tightening){.all = all};
    candidates_of(all->op, sums, all->read, &t->from);
    take_sample(t);
    allow_enough(&s);
    bool const good = find_tightest(&s, failing) && find_widest(&s);
    if (good) t->widest_bits = fit_choice(&s, &t->widest, t->sample, t->samples, HUGE_VAL).bits;
    memcpy(t->last, s.last, sizeof t->last);
    return !s.memory ? TIGHTEN_NO_MEMORY : good ? TIGHTEN_FOUND : TIGHTEN_NONE;
}

/* ---- filters ---- */

/* Is there anything that filters find? The answer is legal under it. */
static bool is_clean(search *s, const choice *c, int i)
{
    const answered *const a = s->t->all->of[i];
    ref_numerics n;
    result *const r = calloc(1, sizeof *r);
    bool clean = false;
    s->memory = s->memory && r;
    if (s->memory && read_choice(s->t->all, c, &n)) {
        s->memory = judge_under(a->p, &n, &a->truth, &a->own, a->data, r);
        clean = s->memory && (r->v == PASS || r->v == VACUOUS);
        if (clean) s->memory = sense(&s->kept, a->p, &n, &a->truth, a->data, NULL, r);
        clean = clean && s->memory && r->v != FAIL && r->v != SUSPECT;
    }
    free(r);
    return clean;
}

/* Says again what the tightest says of one clause, or of all. False: filters object to that, too. */
static bool retreat(search *s, int i)
{
    const choice *const tightest = &s->t->tightest;
    choice *const c = &s->t->widest;
    for (int k = 0; k < c->from->count && s->memory; k++) {
        choice const other = with(c, k, tightest->way[k]);
        if (c->way[k] == tightest->way[k] || !is_clean(s, &other, i)) continue;
        *c = other;
        return true;
    }
    if (!is_clean(s, tightest, i)) return false;
    *c = *tightest;
    return true;
}

/* By one clause, the first that has a way which is clean; of its ways the one that loses least. */
static bool advance(search *s, int i)
{
    choice *const c = &s->t->widest;
    for (int k = 0; k < c->from->count && s->memory; k++) {
        choice best = *c;
        double least = HUGE_VAL;
        for (int way = 0; way <= s->last[k]; way++) {
            choice const other = with(c, k, way);
            double const loss = way == c->way[k] ? HUGE_VAL : loss_of(s, &other, least);
            if (!(loss < least) || !is_clean(s, &other, i)) continue;
            best = other, least = loss;
        }
        *c = best;
        if (least < HUGE_VAL) return true;
    }
    return false;
}

tightened tighten_for_filters(tightening *t, int i)
{
    search s = {.t = t, .memory = true};
    memcpy(s.last, t->last, sizeof s.last);
    bool good = is_clean(&s, &t->widest, i);
    if (!good && s.memory) {
        good = (retreat(&s, i) || advance(&s, i)) && refused(&s, &t->widest) < 0;
        t->widest_bits = fit_choice(&s, &t->widest, t->sample, t->samples, HUGE_VAL).bits;
    }
    nulls_forget(&s.kept);
    return !s.memory ? TIGHTEN_NO_MEMORY : good ? TIGHTEN_FOUND : TIGHTEN_NONE;
}
