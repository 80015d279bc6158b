/* See power.h. */
#include "power.h"

#include "finding.h"
#include "seen.h"
#include "sense.h"

#include <math.h>

const char *power_name(power_kind which)
{
    static const char *const names[POWER_KINDS] = {
        [POWER_PROVED] = "proved",      [POWER_SIGMAS] = "statistical",
        [POWER_SUSPECT] = "SUSPECT",    [POWER_INFORMATION] = "BLIND(information)",
        [POWER_BALLS] = "BLIND(balls)", [POWER_EQUAL] = "EQUAL",
    };
    return names[which];
}

/* A case as an honest port answers it. */
typedef struct {
    const problem *p;
    const ref_numerics *n;
    void *const *data;
    enclosures own;   /* the exact results */
    enclosures legal; /* what is legal beside them */
    double sigmas[REF_QUIRKS];
} honest;

static void honest_close(honest *h)
{
    enclosures_free(&h->own);
    enclosures_free(&h->legal);
}

/* False: no memory. */
static bool honest_open(honest *h)
{
    if (!enclose_own(h->p, h->data, &h->own)) return false;
    write_results(h->p, &h->own, h->data);
    return enclose_legal(h->p, h->n, h->data, &h->legal) && sense_mistakes(h->p, h->n, &h->legal, h->data, h->sigmas);
}

/* Do exact results differ? Those with the mistake become the outputs. False: no memory. */
static bool look_exactly(const honest *h, power *s, bool *equal)
{
    ref_reading const faulty = {.quirks = ref_only(s->quirk)};
    enclosures wrong;
    if (!enclose(h->p, &faulty, &ref_dd, h->data, &wrong)) return false;
    *equal = count_apart(h->p, &h->own, &wrong, &s->count) == 0;
    write_results(h->p, &wrong, h->data);
    enclosures_free(&wrong);
    return true;
}

/* Where outputs follow from one another, what is legal follows from those of the mistaken port. False: no memory. */
static bool look_with_balls(const honest *h, power *s)
{
    bool const staged = h->p->op->staged;
    ref_reading const faulty = {.declared = h->n, .quirks = ref_only(s->quirk), .teacher_forced = staged};
    enclosures wrong = {.value = NULL}, legal = {.value = NULL};
    bool const good =
        enclose(h->p, &faulty, &ref_dd, h->data, &wrong) && (!staged || enclose_legal(h->p, h->n, h->data, &legal));
    if (good) s->apart = count_apart(h->p, staged ? &legal : &h->legal, &wrong, &s->count);
    enclosures_free(&wrong);
    enclosures_free(&legal);
    return good;
}

static power_kind kind_of(const power *s)
{
    senses const found = {.t = isnan(s->sigmas) ? 0 : s->sigmas};
    if (s->apart) return POWER_PROVED;
    if (isnan(s->sigmas)) return POWER_BALLS;
    return is_wrong(&found) ? POWER_SIGMAS : is_suspect(&found) ? POWER_SUSPECT : POWER_INFORMATION;
}

/* False: no memory. */
static bool look_for(const honest *h, int quirk, power *s)
{
    bool equal = true;
    *s = (power){quirk, POWER_EQUAL, 0, 0, h->sigmas[quirk]};
    if (!ref_has(h->own.asked, quirk)) return true;
    if (!look_exactly(h, s, &equal)) return false;
    if (equal) return true;
    if (!look_with_balls(h, s)) return false;
    s->kind = kind_of(s);
    return true;
}

static bool is_looked_for(const honest *h, int quirk)
{
    return ref_has(h->own.asked, quirk) || !strcmp(ref_quirk(quirk)->op, h->p->op->name);
}

int power_of(const problem *p, const ref_numerics *n, void *const data[], power all[])
{
    honest h = {.p = p, .n = n, .data = data};
    int count = 0;
    bool good = honest_open(&h);
    for (int q = 0; good && ref_quirk(q); q++)
        if (is_looked_for(&h, q)) good = look_for(&h, q, &all[count++]);
    honest_close(&h);
    return good ? count : -1;
}

static double share_of(const power *s)
{
    return s->count ? (double)s->apart / (double)s->count : 0;
}

bool power_is_more(const power *a, const power *b)
{
    double const of_a = isnan(a->sigmas) ? -1 : a->sigmas, of_b = isnan(b->sigmas) ? -1 : b->sigmas;
    if (a->kind != b->kind) return a->kind < b->kind;
    return of_a > of_b || (of_a == of_b && share_of(a) > share_of(b));
}
