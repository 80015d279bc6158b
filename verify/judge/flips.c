/* See flips.h. */
#include "flips.h"

#include "element.h"

#include <math.h>
#include <stdio.h>

typedef enum { PORT, REFERENCE } chooser;

/* A tensor of chosen indices, as the port wrote it and as the reference has it. */
typedef struct {
    const tensor_info *t;
    const void *port;
    const ref_value *own;
    int64_t count; /* indices there are */
} choices;

static double chosen(const choices *c, chooser who, int64_t i)
{
    return who == PORT ? ref_decode(c->t->dtype, c->port, i) : c->own[i].hi;
}

/* Both choose the same set in row r. */
static bool same_set(const choices *c, int64_t r)
{
    int64_t const width = row_width(c->t);
    for (int64_t i = r * width; i < (r + 1) * width; i++) {
        bool found = false;
        for (int64_t k = r * width; k < (r + 1) * width; k++) found |= chosen(c, PORT, i) == chosen(c, REFERENCE, k);
        if (!found) return false;
    }
    return true;
}

/* "{3 1 4}" at text + used; returns the length of all that there is. */
static size_t print_set(char *text, size_t used, size_t cap, const choices *c, chooser who, int64_t r)
{
    int64_t const width = row_width(c->t);
    for (int64_t k = 0; k < width && used < cap; k++)
        used += (size_t)snprintf(text + used, cap - used, "%s%.0f", k ? " " : "{", chosen(c, who, r * width + k));
    return used + (used < cap ? (size_t)snprintf(text + used, cap - used, "}") : 0);
}

/* What makes the port's row r no set: an index that it has twice, or one that stands for nothing. */
static size_t print_fault(char *text, size_t used, size_t cap, const choices *c, int64_t r)
{
    int64_t const first = r * row_width(c->t), width = row_width(c->t);
    for (int64_t k = 0; k < width && used < cap; k++) {
        double const v = chosen(c, PORT, first + k);
        if (v < 0 || v >= (double)c->count)
            return used + (size_t)snprintf(text + used, cap - used, " ([%lld]: there is no %.0f)", (long long)k, v);
        for (int64_t i = 0; i < k; i++)
            if (chosen(c, PORT, first + i) == v)
                return used + (size_t)snprintf(text + used, cap - used, " ([%lld]: %.0f twice)", (long long)k, v);
    }
    return used;
}

static void describe(const choices *c, int64_t r, bool illegal, char *text, size_t cap)
{
    size_t used = (size_t)snprintf(text, cap, "row %lld: %s chose ", (long long)r,
                                   illegal ? "no legal choice, the port" : "the port");
    used = print_set(text, used, cap, c, PORT, r);
    if (illegal) used = print_fault(text, used, cap, c, r);
    if (used < cap) used += (size_t)snprintf(text + used, cap - used, ", the reference ");
    if (used < cap) print_set(text, used, cap, c, REFERENCE, r);
}

void list_flips(const problem *p, const enclosures *legal, const enclosures *own, void *const got[], result *r)
{
    const tensor_info *const t = problem_tensor(p, p->op->choice);
    if (t->row->kind != TENSOR_OUT) return; /* it is given */
    int64_t const index = t - p->tensor, width = row_width(t);
    choices const c = {t, got[index], own->value[index], problem_size(p, "n_routed_experts")};
    for (int64_t row = 0; row < t->count / width; row++) {
        bool const illegal = isnan(legal->value[index][row * width].hi);
        if (!illegal && same_set(&c, row)) continue;
        r->flips += !illegal;
        if (*r->choice && !(illegal && !r->choice_illegal)) continue; /* an illegal choice comes before a flip */
        r->choice_illegal = illegal;
        describe(&c, row, illegal, r->choice, sizeof r->choice);
    }
}
