/* See by_op.h. */
#include "by_op.h"

#include "wrap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 100 };

/* Why cases were skipped: each reason once, with its count. */
typedef struct {
    char why[sizeof((result *)0)->why];
    int count;
} reason;

typedef struct {
    reason *item;
    int items, skipped; /* skipped: the sum of the counts */
} reasons;

/* What one port made of the cases of one op. Budget and bits are of the cases that passed. */
typedef struct {
    int passed, failed, vacuous, constant;
    int partly_constant; /* in some outputs */
    int64_t flips;
    double elements, budget;
    double bits;  /* the fewest; infinite: none were measured */
    bool inexact; /* some output is */
    reasons skips;
    reasons partial; /* made without some outputs: `why` names them */
} cell;

typedef struct {
    char name[32];
    int cases;
    cell of[MAX_BACKENDS];
} op_row;

struct by_op {
    const report_run *run;
    int ops;
    op_row *op;
    int *op_of; /* by case */
};

/* ---- reasons ---- */

static bool add_reason(reasons *s, const char *why, int count)
{
    int i = 0;
    while (i < s->items && strcmp(s->item[i].why, why)) i++;
    if (i == s->items) {
        reason *const item = realloc(s->item, (size_t)(i + 1) * sizeof *item);
        if (!item) return false;
        s->item = item;
        s->items++;
        item[i].count = 0;
        snprintf(item[i].why, sizeof item[i].why, "%s", why);
    }
    s->item[i].count += count;
    s->skipped += count;
    return true;
}

/* The first of the most common ones. */
static const reason *most_common(const reasons *s)
{
    const reason *most = s->item;
    for (int i = 1; i < s->items; i++)
        if (s->item[i].count > most->count) most = &s->item[i];
    return most;
}

/* "12 skipped, 9 of them: why", or "12 skipped: why" when they all have one reason. */
static void describe_skips(const reasons *s, char *text, size_t cap)
{
    if (!s->skipped) return;
    const reason *const most = most_common(s);
    if (most->count == s->skipped)
        snprintf(text, cap, "%d skipped: %s", s->skipped, most->why);
    else
        snprintf(text, cap, "%d skipped, %d of them: %s", s->skipped, most->count, most->why);
}

/* "9 without lse", or "9 without an output, 6 of them act". */
static void describe_partial(const reasons *s, char *text, size_t cap)
{
    if (s->items == 1)
        snprintf(text, cap, "%d without %.240s", s->skipped, s->item->why);
    else
        snprintf(text, cap, "%d without an output, %d of them %.240s", s->skipped, most_common(s)->count,
                 most_common(s)->why);
}

/* ---- counting ---- */

/* The op's name ends where the preset, the keys or the fill begin. */
static int op_of_id(by_op *t, const char *id)
{
    int const length = (int)strcspn(id, "@:;");
    char name[sizeof t->op->name];
    snprintf(name, sizeof name, "%.*s", length, id);
    for (int i = 0; i < t->ops; i++)
        if (!strcmp(t->op[i].name, name)) return i;
    op_row *const op = realloc(t->op, (size_t)(t->ops + 1) * sizeof *op);
    if (!op) return -1;
    t->op = op;
    op[t->ops] = (op_row){.cases = 0};
    memcpy(op[t->ops].name, name, sizeof name);
    return t->ops++;
}

by_op *by_op_open(const report_run *run)
{
    by_op *const t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->run = run;
    t->op_of = calloc((size_t)run->cases, sizeof *t->op_of);
    for (int i = 0; i < run->cases && t->op_of; i++) {
        int const op = op_of_id(t, run->id[i]);
        if (op < 0) return by_op_close(t), NULL;
        t->op_of[i] = op;
        t->op[op].cases++;
    }
    if (t->op_of) return t;
    by_op_close(t);
    return NULL;
}

void by_op_close(by_op *t)
{
    for (int i = 0; i < t->ops; i++)
        for (int b = 0; b < t->run->backends; b++) free(t->op[i].of[b].skips.item), free(t->op[i].of[b].partial.item);
    free(t->op);
    free(t->op_of);
    free(t);
}

static bool has_constant_output(const result *r)
{
    for (int i = 0; i < r->outputs; i++)
        if (r->output[i].constant) return true;
    return false;
}

static void count_passed(cell *c, const result *r)
{
    if (!c->passed++) c->bits = HUGE_VAL;
    c->constant += r->constant;
    c->flips += r->flips;
    for (int i = 0; i < r->outputs; i++) {
        const output_stats *const s = &r->output[i];
        c->budget = fmax(c->budget, s->budget);
        c->inexact |= !s->bits_exact;
        if (!s->bits_exact && !s->bits_none) c->bits = fmin(c->bits, s->bits);
    }
    c->partly_constant += !r->constant && has_constant_output(r);
}

static bool count(cell *c, const result *r)
{
    for (int i = 0; i < r->outputs; i++) c->elements += (double)r->output[i].count;
    if (r->v == SKIP) return add_reason(&c->skips, r->why, 1);
    bool const noted = !*r->not_made || add_reason(&c->partial, r->not_made, 1);
    if (r->v == VACUOUS)
        c->vacuous++;
    else if (verdict_counts_as(r->v, false) == COUNT_PASSED)
        count_passed(c, r);
    else
        c->failed++;
    return noted;
}

bool by_op_add(by_op *t, int index, const result results[])
{
    bool good = true;
    for (int b = 0; b < t->run->backends && good; b++)
        if (report_counts(t->run, b, &results[b])) good = count(&t->op[t->op_of[index]].of[b], &results[b]);
    return good;
}

bool by_op_is_single(const by_op *t, int index)
{
    return t->op[t->op_of[index]].cases == 1;
}

/* ---- printing ---- */

static bool has_row(const op_row *o, int b)
{
    const cell *const c = &o->of[b];
    return o->cases > 1 && c->passed + c->failed + c->vacuous > 0;
}

static bool is_skipped_wholly(const op_row *o, int b)
{
    return o->cases > 1 && !has_row(o, b) && o->of[b].skips.skipped > 0;
}

static void describe_choices(const cell *c, char *text, size_t cap)
{
    int used = 0;
    *text = 0;
    if (c->flips) used = snprintf(text, cap, "  %lld flips", (long long)c->flips);
    if (c->constant) snprintf(text + used, cap - (size_t)used, "%s%d constant", used ? ", " : "  ", c->constant);
}

static void describe_bits(const cell *c, char *text, size_t cap)
{
    if (c->passed && isfinite(c->bits))
        snprintf(text, cap, "%.1f", c->bits);
    else
        snprintf(text, cap, c->passed && !c->inexact ? "exact" : "-");
}

/* What isn't in the columns: "1 failed, 2 vacuous, 9 without lse, 12 skipped: why". */
static void describe_rest(const cell *c, char *text, size_t cap)
{
    int used = 0;
    *text = 0;
    if (c->failed) used = snprintf(text, cap, "%d failed", c->failed);
    if (c->vacuous) used += snprintf(text + used, cap - (size_t)used, "%s%d vacuous", used ? ", " : "", c->vacuous);
    if (c->partly_constant)
        used +=
            snprintf(text + used, cap - (size_t)used, "%s%d constant in part", used ? ", " : "", c->partly_constant);
    if (c->partial.items) {
        char partial[300];
        describe_partial(&c->partial, partial, sizeof partial);
        used += snprintf(text + used, cap - (size_t)used, "%s%s", used ? ", " : "", partial);
    }
    if (used && c->skips.skipped) used += snprintf(text + used, cap - (size_t)used, ", ");
    describe_skips(&c->skips, text + used, cap - (size_t)used);
}

static void print_row(FILE *f, const char *port, const op_row *o, const cell *c)
{
    char passed[32], budget[32] = "-", bits[32], choices[64], rest[700];
    snprintf(passed, sizeof passed, "%d of %d", c->passed, o->cases);
    if (c->passed) snprintf(budget, sizeof budget, "%.0f %%", 100 * c->budget);
    describe_bits(c, bits, sizeof bits);
    describe_choices(c, choices, sizeof choices);
    fprintf(f, "%-12s  %-14s %12s %10.0f %7s %7s%s\n", port, o->name, passed, c->elements, budget, bits, choices);
    describe_rest(c, rest, sizeof rest);
    if (*rest) print_wrapped(f, "", rest, 4, COLUMNS);
}

static bool add_reasons(reasons *to, const reasons *from)
{
    bool good = true;
    for (int i = 0; i < from->items && good; i++) good = add_reason(to, from->item[i].why, from->item[i].count);
    return good;
}

/* The ops that the port skips wholly, in one line. */
static void print_skipped(FILE *f, const by_op *t, int b)
{
    char label[96], text[700];
    const char *name = NULL;
    reasons all = {NULL, 0, 0};
    int ops = 0, rows = 0;
    for (int i = 0; i < t->ops; i++) {
        const op_row *const o = &t->op[i];
        rows += has_row(o, b);
        if (!is_skipped_wholly(o, b) || !add_reasons(&all, &o->of[b].skips)) continue;
        name = o->name;
        ops++;
    }
    if (ops) {
        describe_skips(&all, text, sizeof text);
        if (ops == 1)
            snprintf(label, sizeof label, "%-12s  %s, ", t->run->name[b], name);
        else
            snprintf(label, sizeof label, "%-12s  %d %sops, ", t->run->name[b], ops, rows ? "other " : "");
        print_wrapped(f, label, text, (int)strlen(label), COLUMNS);
    }
    free(all.item);
}

bool by_op_has_rows(const by_op *t)
{
    for (int i = 0; i < t->ops; i++)
        for (int b = 0; b < t->run->backends; b++)
            if (has_row(&t->op[i], b) || is_skipped_wholly(&t->op[i], b)) return true;
    return false;
}

void by_op_print(FILE *f, const by_op *t)
{
    if (!by_op_has_rows(t)) return;
    fprintf(f, "%-12s  %-14s %12s %10s %7s %7s\n", "port", "op", "passed", "elements", "budget", "bits");
    for (int b = 0; b < t->run->backends; b++) {
        for (int i = 0; i < t->ops; i++)
            if (has_row(&t->op[i], b)) print_row(f, t->run->name[b], &t->op[i], &t->op[i].of[b]);
        print_skipped(f, t, b);
    }
}
