/* See seen.h. */
#include "seen.h"

#include "forced.h"
#include "reach.h"

#include <stdlib.h>

/* ---- the honest port ---- */

static bool is_output(const problem *p, int i)
{
    return p->tensor[i].row->kind == TENSOR_OUT;
}

/* False: no memory. */
static bool keep_decisions(seeing *s)
{
    s->decided = calloc((size_t)s->p->tensors, sizeof *s->decided);
    for (int i = 0; s->decided && i < s->p->tensors; i++) {
        if (!is_output(s->p, i)) continue;
        s->decided[i] = malloc(s->p->tensor[i].bytes + 1);
        if (!s->decided[i]) return false;
        memcpy(s->decided[i], s->data[i], s->p->tensor[i].bytes);
    }
    return s->decided != NULL;
}

static void take_decisions_back(const seeing *s)
{
    for (int i = 0; i < s->p->tensors; i++)
        if (s->decided[i]) memcpy(s->data[i], s->decided[i], s->p->tensor[i].bytes);
}

/* Of a formula whose outputs follow from one another. False: no memory. */
static bool decide(seeing *s)
{
    if (!s->p->op->staged) return true;
    if (!enclose_own(s->p, s->data, &s->own)) return false;
    write_results(s->p, &s->own, s->data);
    forced_outputs(s->p, s->data, s->forced);
    return keep_decisions(s);
}

bool seeing_open(const problem *p, const ref_numerics *n, void *const data[], seeing *s)
{
    *s = (seeing){.p = p, .n = n, .data = data};
    if (!decide(s) || !enclose_legal(p, n, data, &s->legal)) return seeing_close(s), false;
    for (int q = 0; ref_quirk(q); q++)
        if (ref_has(s->own.asked, q) || ref_has(s->legal.asked, q)) ref_add(&s->asked, q);
    for (int i = 0; i < p->tensors; i++)
        if (s->legal.value[i]) s->count += p->tensor[i].count;
    return true;
}

void seeing_close(seeing *s)
{
    for (int i = 0; s->decided && i < s->p->tensors; i++) free(s->decided[i]);
    free(s->decided);
    enclosures_free(&s->own);
    enclosures_free(&s->legal);
    *s = (seeing){.p = NULL};
}

/* ---- a port with a quirk ---- */

/* The outputs that the quirk may change when all that they follow from is given; NULL: any. */
static const bool *changed(const seeing *s, int quirk, bool room[])
{
    return reached(quirk, s->p, room) ? room : NULL;
}

/* Only one output is, and what it follows from is as without the quirk; else what lies between two of them may change, too. */
static bool is_one(const seeing *s, const bool wanted[])
{
    int n = 0;
    for (int i = 0; wanted && i < s->p->tensors; i++) n += wanted[i];
    return n == 1;
}

/* Does nothing follow from what the quirk changes? */
static bool is_last(const seeing *s, const bool wanted[])
{
    for (int i = 0; wanted && i < s->p->tensors; i++)
        if (wanted[i] && is_forced(s->p, i)) return false;
    return wanted != NULL;
}

/* Puts the decisions of a port with the quirk in the place of the honest one's. False: no memory. */
static bool decide_with(const seeing *s, int quirk, const bool wanted[])
{
    ref_reading const faulty = {.quirks = ref_only(quirk)};
    enclosures own;
    if (!s->decided) return true;
    take_decisions_back(s);
    if (is_last(s, wanted)) return true;
    if (!enclose_some(s->p, &faulty, &ref_dd, s->data, is_one(s, wanted) ? wanted : NULL, &own)) return false;
    write_results(s->p, &own, s->data);
    enclosures_free(&own);
    return true;
}

/* What is legal beside those decisions; *own: it isn't the honest port's, but to be freed. False: no memory. */
static bool legal_beside(const seeing *s, const bool wanted[], enclosures *legal, bool *own)
{
    char forced[FINGERPRINT_TEXT] = "";
    ref_reading const conforming = {.declared = s->n, .teacher_forced = s->p->op->staged};
    forced_outputs(s->p, s->data, forced);
    *legal = s->legal;
    *own = strcmp(forced, s->forced) != 0;
    return !*own || enclose_some(s->p, &conforming, &ref_dd, s->data, wanted, legal);
}

int64_t count_apart(const problem *p, const enclosures *a, const enclosures *b, int64_t *count)
{
    int64_t apart = 0;
    *count = 0;
    for (int i = 0; i < p->tensors; i++)
        for (int64_t k = 0; a->value[i] && b->value[i] && k < p->tensor[i].count; k++) {
            ref_value const x = a->value[i][k], y = b->value[i][k];
            apart += !(ref_lower(x) <= ref_upper(y) && ref_lower(y) <= ref_upper(x));
            ++*count;
        }
    return apart;
}

/* The quirk's legal results beside those without it. */
static int64_t count_seen(const seeing *s, int quirk, const bool wanted[])
{
    ref_reading const faulty = {.declared = s->n, .quirks = ref_only(quirk), .teacher_forced = s->p->op->staged};
    enclosures wrong = {.value = NULL}, legal = {.value = NULL};
    int64_t apart = -1, count;
    bool own = false;
    if (legal_beside(s, wanted, &legal, &own) && enclose_some(s->p, &faulty, &ref_dd, s->data, wanted, &wrong))
        apart = count_apart(s->p, &legal, &wrong, &count);
    enclosures_free(&wrong);
    if (own) enclosures_free(&legal);
    return apart;
}

int64_t seen_with(const seeing *s, int quirk)
{
    bool room[MAX_TENSORS] = {false};
    const bool *const wanted = changed(s, quirk, room);
    if (!ref_has(s->asked, quirk)) return 0;
    return decide_with(s, quirk, wanted) ? count_seen(s, quirk, wanted) : -1;
}

int64_t seen_in(const problem *p, const ref_numerics *n, int quirk, void *const data[], int64_t *count)
{
    seeing s;
    *count = 0;
    if (!seeing_open(p, n, data, &s)) return -1;
    int64_t const apart = seen_with(&s, quirk);
    *count = s.count;
    seeing_close(&s);
    return apart;
}

/* ---- all of them ---- */

int quirks_of(const op *o)
{
    int n = 0;
    for (int q = 0; ref_quirk(q); q++) n += !strcmp(ref_quirk(q)->op, o->name);
    return n;
}

bool look_for_quirks(const problem *p, const ref_numerics *n, void *const data[], result *r)
{
    seeing s;
    bool good = true;
    r->quirks_tried = 0;
    r->quirks_blind = ref_none();
    if (!seeing_open(p, n, data, &s)) return false;
    for (int q = 0; good && ref_quirk(q); q++) {
        if (strcmp(ref_quirk(q)->op, p->op->name)) continue;
        int64_t const apart = seen_with(&s, q);
        good = apart >= 0;
        r->quirks_tried += good;
        if (apart == 0) ref_add(&r->quirks_blind, q);
    }
    seeing_close(&s);
    return good;
}
