/* See environment.h. */
#include "environment.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

static bool is_ours(const variable *v)
{
    for (size_t i = 0; i < v->length; i++)
        if (!isalnum((unsigned char)v->name[i]) && v->name[i] != '_') return false;
    return v->length > 5 && !strncmp(v->name, "DSV3_", 5);
}

/* As strcmp of the names. */
static int compare(const variable *a, const variable *b)
{
    size_t const common = a->length < b->length ? a->length : b->length;
    int const order = memcmp(a->name, b->name, common);
    return order ? order : (a->length > b->length) - (a->length < b->length);
}

bool environment_add(environment *e, const variable *v)
{
    int at = 0;
    if (!is_ours(v) || e->count == MOST_VARIABLES) return false;
    while (at < e->count && compare(&e->set[at], v) < 0) at++;
    if (at < e->count && !compare(&e->set[at], v)) return false;
    memmove(&e->set[at + 1], &e->set[at], (size_t)(e->count++ - at) * sizeof *e->set);
    e->set[at] = *v;
    return true;
}

void environment_here(environment *e)
{
    e->count = 0;
    for (char **text = environ; *text; text++) {
        size_t const length = strcspn(*text, "=");
        if ((*text)[length]) environment_add(e, &(variable){*text, length, *text + length + 1});
    }
}

static const char *value_of(const environment *e, const variable *v)
{
    for (int i = 0; i < e->count; i++)
        if (!compare(&e->set[i], v)) return e->set[i].value;
    return NULL;
}

/* One of the first that isn't so in the second. */
static const variable *find_other(const environment *first, const environment *second)
{
    for (int i = 0; i < first->count; i++) {
        const char *const value = value_of(second, &first->set[i]);
        if (!value || strcmp(value, first->set[i].value) != 0) return &first->set[i];
    }
    return NULL;
}

const variable *environment_differs(const environment *first, const environment *second, const char **a, const char **b)
{
    const variable *v = find_other(first, second);
    if (!v) v = find_other(second, first);
    *a = v ? value_of(first, v) : NULL;
    *b = v ? value_of(second, v) : NULL;
    return v;
}
