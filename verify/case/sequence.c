/* See sequence.h. */
#include "sequence.h"

#include <stdio.h>

/* A key of an id and its value. */
typedef struct {
    const char *key, *value, *end;
} pair;

/* The pair that begins at `at`. False: the keys are over. */
static bool read_pair(const char *at, pair *p)
{
    size_t const length = strcspn(at, ",;");
    const char *const equals = memchr(at, '=', length);
    if (!length) return false;
    p->key = at;
    p->end = at + length;
    p->value = equals ? equals + 1 : p->end;
    return true;
}

/* The first pair. False: the id has no keys. */
static bool first_pair(const char *id, pair *p)
{
    size_t const body = strcspn(id, ":;");
    return id[body] == ':' && read_pair(id + body + 1, p);
}

static bool next_pair(pair *p)
{
    return *p->end == ',' && read_pair(p->end + 1, p);
}

/* Steps in a value; a view's '/' is its own. */
static int steps_in(const pair *p)
{
    int steps = 1;
    if (!strncmp(p->key, "view.", 5)) return steps;
    for (const char *s = p->value; s < p->end; s++) steps += *s == '/';
    return steps;
}

int sequence_steps(const char *id)
{
    pair p;
    for (bool more = first_pair(id, &p); more; more = next_pair(&p))
        if (steps_in(&p) > 1) return steps_in(&p);
    return 1;
}

/* "n_tokens=" */
static int key_length(const pair *p)
{
    return (int)(p->value - p->key - 1);
}

static bool is_key(const pair *p, const char *name)
{
    return (int)strlen(name) == key_length(p) && !strncmp(p->key, name, strlen(name));
}

/* May a key of the op change from call to call? */
static bool may_step(const op *o, const pair *p)
{
    for (const list_row *l = o->lists; l && l->name; l++)
        if (is_key(p, l->name)) return true;
    return is_key(p, "n_tokens");
}

static const op *op_of(const char *id)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(id, "@:;"), id);
    return op_find(name);
}

bool sequence_check(const char *id, complaint *why)
{
    const op *const o = op_of(id);
    int const steps = sequence_steps(id);
    pair p;
    if (steps > MAX_STEPS)
        return refuse(why, "%d steps are too many: a sequence has at most %d calls", steps, MAX_STEPS);
    for (bool more = first_pair(id, &p); more; more = next_pair(&p)) {
        int const here = steps_in(&p);
        if (here == 1) continue;
        if (here != steps)
            return refuse(why, "%.*s has %d steps and a key before it %d: give all as many", key_length(&p), p.key,
                          here, steps);
        if (o && !may_step(o, &p))
            return refuse(why, "%s: %.*s takes no steps: values separated by / are for n_tokens and lists of lengths",
                          o->name, key_length(&p), p.key);
    }
    return true;
}

/* The alternative of that number in a value, and its length. */
static const char *alternative(const pair *p, int step, int *length)
{
    const char *s = p->value;
    for (; step > 0; step--) s += strcspn(s, "/") + 1;
    size_t const here = strcspn(s, "/,;");
    *length = (int)here;
    return s;
}

void sequence_take(const char *id, int step, char *one, size_t cap)
{
    pair p;
    const char *copied = id; /* what comes before it is in `one` */
    size_t used = 0;
    for (bool more = first_pair(id, &p); more && used < cap; more = next_pair(&p)) {
        int length;
        if (steps_in(&p) == 1) continue;
        const char *const value = alternative(&p, step, &length);
        used += (size_t)snprintf(one + used, cap - used, "%.*s%.*s", (int)(p.value - copied), copied, length, value);
        copied = p.end;
    }
    if (used < cap) snprintf(one + used, cap - used, "%s", copied);
}
