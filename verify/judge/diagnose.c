/* See diagnose.h. */
#include "diagnose.h"

#include "element.h"
#include "excerpt.h"
#include "pairs.h"
#include "reach.h"

#include <math.h>
#include <stdlib.h>

/* Results that conform to n in a port with the quirks. */
static bool enclose_quirky(const problem *p, const ref_numerics *n, ref_set quirks, void *const data[], enclosures *out)
{
    ref_reading const faulty = {.declared = n, .quirks = quirks, .teacher_forced = p->op->staged};
    return enclose(p, &faulty, &ref_dd, data, out);
}

/* The same of the outputs that the quirk may change: the others have no value. n NULL: the exact results. */
static bool enclose_reached(const problem *p, const ref_numerics *n, int quirk, void *const data[], enclosures *out)
{
    ref_reading const faulty = {.declared = n, .quirks = ref_only(quirk), .teacher_forced = p->op->staged};
    bool wanted[MAX_TENSORS] = {false};
    return enclose_some(p, &faulty, &ref_dd, data, reached(quirk, p, wanted) ? wanted : NULL, out);
}

/* What the quirk leaves unexplained of one element: it is no legal result with the quirk either, or the quirk allows
 * anything where the declaration did not. The distance is that from the middle of the ball. */
static void weigh(diagnosis_row *d, const ref_value *legal, const ref_value *quirky, int64_t k, double got)
{
    element wrong = element_of(quirky, quirky, k);
    bool const any = any_is_legal(&wrong);
    element const right = any ? element_of(legal, legal, k) : wrong;
    if (is_legal(&right, got)) return;
    d->illegal++;
    d->undecided += any;
    wrong.truth = (wrong.lower + wrong.upper) / 2;
    d->worst = fmax(d->worst, budget_used(&wrong, got));
}

/* A quirk as an explanation of got[]. What it doesn't reach is what is legal. */
static void explain(const problem *p, const enclosures *legal, const enclosures *quirky, void *const got[],
                    diagnosis_row *d)
{
    for (int i = 0; i < p->tensors; i++) {
        const ref_value *const wrong = quirky->value[i] ? quirky->value[i] : legal->value[i];
        for (int64_t k = 0; wrong && k < p->tensor[i].count; k++)
            weigh(d, legal->value[i], wrong, k, ref_decode(p->tensor[i].dtype, got[i], k));
    }
}

/* Does a leave less unexplained than b, or come nearer? */
static bool explains_more(const diagnosis_row *a, const diagnosis_row *b)
{
    return a->illegal < b->illegal || (a->illegal == b->illegal && a->worst < b->worst);
}

/* Sorted in: fewest illegal elements first, then the smallest distance. */
static void insert_diagnosis(result *r, diagnosis_row d)
{
    int at = r->diagnoses;
    while (at > 0 && explains_more(&d, &r->diagnosis[at - 1])) at--;
    if (at == MAX_DIAGNOSES) return;
    if (r->diagnoses < MAX_DIAGNOSES) r->diagnoses++;
    memmove(&r->diagnosis[at + 1], &r->diagnosis[at], (size_t)(r->diagnoses - 1 - at) * sizeof d);
    r->diagnosis[at] = d;
}

/* How a quirk is read. */
typedef enum { ON_FEW_ROWS, EXACTLY, ON_THE_WHOLE } look;

/* A search for what explains an answer. */
typedef struct {
    const problem *p;
    const ref_numerics *n;
    const enclosures *legal;
    void *const *got;
    look first;                       /* how all are read before the likeliest are on the whole */
    excerpt few;                      /* ON_FEW_ROWS: of those that fail */
    int64_t failing, failing_first;   /* elements: of the whole, and in that first look */
    int output[MAX_OUTPUTS], outputs; /* tensors with failing elements */
    int tried[REF_QUIRKS], count;     /* quirks of the op, and those of its parts that the formula asks for */
    diagnosis_row found[REF_QUIRKS];  /* of tried[i] */
    bool whole[REF_QUIRKS];           /* found[i] is final */
    diagnosis_row together;           /* two at once; quirk -1: none explain it */
    const watcher *watched;
    diagnosis_cost cost;
} search;

static int64_t count_failing_in(const problem *p, const enclosures *legal, void *const got[], int i)
{
    int64_t count = 0;
    for (int64_t k = 0; legal->value[i] && k < p->tensor[i].count; k++) {
        element const e = element_of(legal->value[i], legal->value[i], k);
        count += !is_legal(&e, ref_decode(p->tensor[i].dtype, got[i], k));
    }
    return count;
}

static int64_t count_failing(const problem *p, const enclosures *legal, void *const got[])
{
    int64_t count = 0;
    for (int i = 0; i < p->tensors; i++) count += count_failing_in(p, legal, got, i);
    return count;
}

/* The same, and which outputs they are in. */
static void note_failing(search *s)
{
    for (int i = 0; i < s->p->tensors; i++) {
        int64_t const count = count_failing_in(s->p, s->legal, s->got, i);
        if (count) s->output[s->outputs++] = i;
        s->failing += count;
    }
}

/* As much around exact results as the declaration allows around those without the quirk, and a rounding to the output's format. */
static void widen(const problem *p, const enclosures *legal, enclosures *exact)
{
    for (int i = 0; i < p->tensors; i++)
        for (int64_t k = 0; exact->value[i] && k < p->tensor[i].count; k++) {
            ref_value *const v = &exact->value[i][k];
            v->radius += legal->value[i][k].radius + ref_half_ulp(p->tensor[i].dtype, v->hi);
        }
}

/* Reads quirk i. False: no memory. */
static bool try_quirk(search *s, int i, look how)
{
    enclosures quirky;
    bool const few = how == ON_FEW_ROWS;
    const problem *const p = few ? &s->few.p : s->p;
    const enclosures *const legal = few ? &s->few.legal : s->legal;
    void *const *const got = few ? s->few.data : s->got;
    s->found[i] = (diagnosis_row){.quirk = s->tried[i], .other = -1};
    s->whole[i] = how == ON_THE_WHOLE;
    if (s->watched) s->watched->tell(s->watched->context, s->cost.whole + s->cost.first, s->count);
    s->cost.whole += s->whole[i];
    s->cost.first += !s->whole[i];
    if (!enclose_reached(p, how == EXACTLY ? NULL : s->n, s->tried[i], got, &quirky)) return false;
    if (how == EXACTLY) widen(p, legal, &quirky);
    explain(p, legal, &quirky, got, &s->found[i]);
    enclosures_free(&quirky);
    return true;
}

/* Can the quirk change an output that fails? It changes nothing where the formula doesn't ask for it. */
static bool matters(const search *s, int quirk)
{
    bool changed[MAX_TENSORS] = {false};
    if (!(ref_has(s->legal->asked, quirk))) return false;
    if (!reached(quirk, s->p, changed)) return true;
    for (int i = 0; i < s->outputs; i++)
        if (changed[s->output[i]]) return true;
    return false;
}

/* What can't explains nothing: that is known without a reading. */
static void pass_over(search *s, int i)
{
    s->found[i] = (diagnosis_row){.quirk = s->tried[i], .other = -1, .illegal = s->failing, .worst = HUGE_VAL};
    s->whole[i] = true;
}

/* Nothing is known yet. */
static void begin(search *s, int i)
{
    pass_over(s, i);
    s->whole[i] = false;
}

/* Every quirk that matters gets its first look, of those from one on to before another. */
static bool try_some(search *s, int from, int to)
{
    for (int i = from; i < to; i++) {
        bool const misled = s->first == ON_FEW_ROWS && excerpt_misleads(s->tried[i]);
        if (!s->whole[i] && !try_quirk(s, i, misled ? ON_THE_WHOLE : s->first)) return false;
    }
    return true;
}

/* The one that leaves the fewest failing elements unexplained, of those that explain most and weren't read on the whole; -1: none. Of
 * exact results the nearest counts whatever it explains: a port with that quirk may be allowed more. */
static int likeliest(const search *s)
{
    bool const any = s->first == EXACTLY && !s->cost.whole;
    int best = -1;
    for (int i = 0; i < s->count; i++) {
        if (s->whole[i] || (!any && 2 * s->found[i].illegal >= s->failing_first)) continue;
        if (best < 0 || explains_more(&s->found[i], &s->found[best])) best = i;
    }
    return best;
}

/* Those that explain most in their first look, and as much as one another, are read on the whole. */
static bool confirm(search *s)
{
    int64_t least = 0;
    for (int done = 0, i; done < MOST_CONFIRMED && (i = likeliest(s)) >= 0; done++) {
        if (done && s->found[i].illegal > least) break;
        least = s->found[i].illegal;
        if (!try_quirk(s, i, ON_THE_WHOLE)) return false;
    }
    return true;
}

/* What got nothing but a first look explains nothing of the whole that anybody knows of. */
static diagnosis_row on_the_whole(const search *s, int i)
{
    diagnosis_row d = s->found[i];
    if (s->whole[i]) return d;
    if (d.undecided && d.undecided == d.illegal) d.undecided = s->failing;
    d.illegal = s->failing;
    return d;
}

/* Failing outputs that are choices. Whether a choice is legal with other mistakes only what they allow says. */
static int failing_choices(const search *s)
{
    int n = 0;
    for (int i = 0; i < s->outputs; i++) n += s->p->op->choice && s->p->tensor[s->output[i]].dtype == DSV3_I32;
    return n;
}

/* Few rows where there are such; else exact results, which cost less than what a declaration allows, unless all that are left may
 * be read on the whole, or only choices fail: to an exact reading any is legal. */
static void choose_look(search *s, int left)
{
    bool const parted = excerpt_failing(s->p, s->legal, s->got, s->count ? s->count : 1, &s->few);
    bool const as_declared = left < MOST_CONFIRMED || failing_choices(s) == s->outputs;
    s->first = parted ? ON_FEW_ROWS : as_declared ? ON_THE_WHOLE : EXACTLY;
    s->failing_first = parted ? count_failing(&s->few.p, &s->few.legal, s->few.data) : s->failing;
}

/* ---- two at once ---- */

/* An element of an answer beside what the formula gives with mistakes: its distance, of what is allowed, squared, up to a most. */
static double misfit_of_element(const tensor_info *t, const ref_value *legal, double exact, double got)
{
    static const double MOST = 1e4;
    double const allowed = legal->radius + ref_half_ulp(t->dtype, legal->hi), off = (got - exact) / allowed;
    if (got == exact || isinf(legal->radius)) return 0;
    return off * off < MOST ? off * off : MOST; /* NaN too: a choice that the mistakes don't make */
}

static double misfit(void *context, ref_set quirks)
{
    const search *const s = context;
    bool const few = s->first == ON_FEW_ROWS;
    const problem *const p = few ? &s->few.p : s->p;
    const enclosures *const legal = few ? &s->few.legal : s->legal;
    void *const *const got = few ? s->few.data : s->got;
    bool const chosen = failing_choices(s) > 0;
    ref_reading const faulty = {.declared = chosen ? s->n : NULL, .quirks = quirks, .teacher_forced = p->op->staged};
    enclosures e;
    double sum = 0;
    if (!enclose(p, &faulty, chosen ? &ref_dd : &ref_sampled, got, &e)) return HUGE_VAL;
    for (int i = 0; i < p->tensors; i++)
        for (int64_t k = 0; e.value[i] && k < p->tensor[i].count; k++)
            sum += misfit_of_element(&p->tensor[i], &legal->value[i][k], e.value[i][k].hi,
                                     ref_decode(p->tensor[i].dtype, got[i], k));
    enclosures_free(&e);
    return sum;
}

/* What both leave unexplained of the whole. False: no memory. */
static bool confirm_pair(const search *s, const pair *named, diagnosis_row *d)
{
    ref_set quirks = ref_only(named->first);
    enclosures quirky;
    ref_add(&quirks, named->second);
    *d = (diagnosis_row){.quirk = named->first, .other = named->second};
    if (!enclose_quirky(s->p, s->n, quirks, s->got, &quirky)) return false;
    explain(s->p, s->legal, &quirky, s->got, d);
    enclosures_free(&quirky);
    return true;
}

static bool is_explained(const search *s)
{
    for (int i = 0; i < s->count; i++)
        if (s->whole[i] && !s->found[i].illegal) return true;
    return false;
}

/* Does one of the first so many? */
static bool explains_first_look(const search *s, int own)
{
    for (int i = 0; i < own; i++)
        if (!s->found[i].illegal) return true;
    return false;
}

/* Where no quirk alone explains everything, two may. False: no memory. */
static bool try_pairs(search *s)
{
    s->together.quirk = -1;
    if (is_explained(s)) return true;
    const problem *const p = s->first == ON_FEW_ROWS ? &s->few.p : s->p;
    double const dearer = failing_choices(s) ? 10 : 1;
    pairing of = {.most = affordable_pairs(dearer * p->op->work(p->prob.bytes))};
    for (int i = 0; i < s->count; i++)
        if (ref_has(s->legal->asked, s->tried[i]) && !(s->first == ON_FEW_ROWS && excerpt_misleads(s->tried[i])))
            of.quirk[of.count++] = s->tried[i];
    pair const nearest = nearest_pair(&of, misfit, s);
    if (nearest.first < 0) return true;
    if (!confirm_pair(s, &nearest, &s->together)) return false;
    if (s->together.illegal) s->together.quirk = -1;
    return true;
}

/* Those of the op come first: of two that explain the same its own is named. */
static void list_quirks(search *s)
{
    for (int parts = 0; parts < 2; parts++)
        for (int q = 0; ref_quirk(q); q++) {
            bool const own = !strcmp(ref_quirk(q)->op, s->p->op->name);
            if (parts ? !own && ref_has(s->legal->asked, q) : own) s->tried[s->count++] = q;
        }
}

/* Where readings take seconds, mistakes of parts aren't read if one of the op's own explains everything. */
static bool look_at_all(search *s)
{
    int own = 0;
    while (own < s->count && !strcmp(ref_quirk(s->tried[own])->op, s->p->op->name)) own++;
    if (!try_some(s, 0, own)) return false;
    if (reading_is_dear(s->p) && explains_first_look(s, own)) {
        if (!confirm(s)) return false;
        if (is_explained(s)) return true;
    }
    return try_some(s, own, s->count) && confirm(s);
}

static bool search_all(search *s)
{
    list_quirks(s);
    note_failing(s);
    int left = 0;
    for (int i = 0; i < s->count; i++)
        if (matters(s, s->tried[i]))
            begin(s, i), left++;
        else
            pass_over(s, i);
    choose_look(s, left);
    bool const good = look_at_all(s) && try_pairs(s);
    if (s->first == ON_FEW_ROWS) excerpt_close(&s->few);
    return good;
}

bool diagnose(const problem *p, const ref_numerics *n, const enclosures *legal, void *const got[], result *r,
              const watcher *watched, diagnosis_cost *cost)
{
    search s = {.p = p, .n = n, .legal = legal, .got = got, .watched = watched};
    bool const good = search_all(&s);
    r->diagnoses = 0;
    for (int i = 0; good && i < s.count; i++) insert_diagnosis(r, on_the_whole(&s, i));
    if (good && s.together.quirk >= 0) insert_diagnosis(r, s.together);
    if (cost) *cost = s.cost;
    return good;
}
