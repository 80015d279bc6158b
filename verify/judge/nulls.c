/* See nulls.h. */
#include "nulls.h"

#include <stdlib.h>

/* ---- what is kept ---- */

static void close_null(known_null *k)
{
    null_close(&k->null);
    free(k->filter);
    free(k);
}

void nulls_forget(nulls *s)
{
    for (int i = 0; i < s->count; i++) close_null(s->null[i]);
    directions_forget(&s->all);
    free(s->got);
    *s = (nulls){.count = 0};
}

void nulls_look_at(nulls *s, const problem *p, void *const data[], bool excerpt)
{
    char forced[FINGERPRINT_TEXT];
    forced_outputs(p, data, forced);
    if (strcmp(forced, s->forced)) nulls_forget(s);
    strcpy(s->forced, forced);
    s->all.p = p, s->all.data = data, s->all.excerpt = excerpt;
}

static bool is_of(const known_null *k, const char *numerics, const ref_numerics *n, uint64_t seed)
{
    return k->asked && k->seed == seed && !strcmp(k->numerics, numerics) &&
           !memcmp(&k->declared, &n->declared, sizeof n->declared);
}

static known_null *find(const nulls *s, const char *numerics, const ref_numerics *n, uint64_t seed)
{
    for (int i = 0; i < s->count; i++)
        if (is_of(s->null[i], numerics, n, seed)) return s->null[i];
    return NULL;
}

static size_t numbers_in(const known_null *k, const nulls *s)
{
    return NULL_ARRAYS * (size_t)k->null.n + sizeof *k->filter / sizeof(double) * (size_t)s->all.count;
}

/* The one that was asked for longest ago. */
static void drop_oldest(nulls *s)
{
    int oldest = 0;
    for (int i = 1; i < s->count; i++)
        if (s->null[i]->asked < s->null[oldest]->asked) oldest = i;
    close_null(s->null[oldest]);
    s->null[oldest] = s->null[--s->count];
}

static void keep(nulls *s, known_null *k)
{
    size_t const each = numbers_in(k, s);
    while (s->count == MOST_NULLS || (s->count && (size_t)(s->count + 1) * each > MOST_NUMBERS)) drop_oldest(s);
    s->null[s->count++] = k;
}

/* ---- what is made of a null ---- */

static bool open_room(nulls *s, const null_ports *null)
{
    if (s->got) return true;
    size_t const n = (size_t)null->n;
    s->got = malloc((4 * n + 1) * sizeof *s->got);
    s->off = s->got + n, s->room = s->off + n;
    return s->got != NULL;
}

/* Once for a case. */
static bool open_directions(nulls *s, const null_ports *null)
{
    if (s->all.truth || directions_find(&s->all, null)) return true;
    directions_forget(&s->all);
    return false;
}

static bool measure(nulls *s, known_null *k)
{
    null_ports *const null = &k->null;
    if (!open_room(s, null) || !open_directions(s, null)) return false;
    k->filter = malloc((size_t)s->all.count * sizeof *k->filter);
    if (!k->filter) return false;
    null_read(null, s->all.data, s->got);
    if (null_has_holes(null, s->got))
        null_leave_out(null, s->got);
    else
        k->asked = ++s->asked;
    for (int i = 0; i < s->all.count; i++) k->filter[i] = filter_open(null, s->all.of[i].d, s->room);
    for (int o = 0; o < null->outputs; o++) k->output[o] = scatter_of_ports(null, o);
    k->most = filter_most(null);
    null_let_go(null);
    return true;
}

static known_null *make(nulls *s, const char *numerics, const ref_numerics *n, uint64_t seed)
{
    known_null *const k = calloc(1, sizeof *k);
    if (!k) return NULL;
    strcpy(k->numerics, numerics);
    k->declared = n->declared, k->seed = seed;
    if (null_open(s->all.p, n, s->all.data, seed, &k->null) && measure(s, k)) return keep(s, k), k;
    return close_null(k), NULL;
}

const known_null *nulls_beside(nulls *s, const ref_numerics *n, uint64_t seed)
{
    char numerics[REF_NUMERICS_CAP];
    ref_numerics_print(s->all.p->op->name, n, false, numerics, sizeof numerics);
    known_null *const known = find(s, numerics, n, seed);
    if (!known) return make(s, numerics, n, seed);
    null_read(&known->null, s->all.data, s->got);
    if (null_has_holes(&known->null, s->got)) return make(s, numerics, n, seed);
    known->asked = ++s->asked;
    return known;
}
