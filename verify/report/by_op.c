/* See by_op.h. */
#include "by_op.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* What others say that the cases see. */
static void take_sights(by_op *t, const sights *told)
{
    for (int i = 0; i < t->ops; i++) {
        const sight_row *const row = sights_find(told, t->op[i].name);
        t->op[i].told = row != NULL;
        for (int b = 0; row && b < t->run->backends; b++) t->op[i].of[b].sight = row->of[b];
    }
}

/* A run of a few cases, each of another op, tells of each. */
static bool needs_rows(const by_op *t)
{
    enum { MOST_LINES = 8 };
    return t->run->cases > MOST_LINES || t->run->cases > t->ops;
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
    if (run->told) take_sights(t, run->told);
    t->rows = needs_rows(t);
    if (t->op_of) return t;
    by_op_close(t);
    return NULL;
}

void by_op_close(by_op *t)
{
    for (int i = 0; i < t->ops; i++)
        for (int b = 0; b < t->run->backends; b++)
            reasons_free(&t->op[i].of[b].skips), reasons_free(&t->op[i].of[b].partial);
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

static void count_seen(cell *c, const char *op, const result *r)
{
    c->sight.looked |= r->glanced || r->quirks_tried;
    c->sight.unlooked |= !r->glanced && !r->quirks_tried;
    for (int q = 0; ref_quirk(q); q++) {
        if (strcmp(ref_quirk(q)->op, op) != 0) continue;
        bool const by_balls = r->quirks_tried ? !ref_has(r->quirks_blind, q) : ref_has(r->quirks_seen, q);
        if (by_balls || ref_has(r->sensed.sees, q)) ref_add(&c->sight.seen, q);
    }
}

static void count_passed(cell *c, const op_row *op, const result *r)
{
    if (!op->told) count_seen(c, op->name, r);
    if (!c->passed++) c->bits = HUGE_VAL;
    c->constant += r->constant;
    c->statistical += r->v == PASS && r->statistical;
    c->suspect += r->v == SUSPECT;
    c->flips += r->flips;
    for (int i = 0; i < r->outputs; i++) {
        const output_stats *const s = &r->output[i];
        c->budget = fmax(c->budget, s->budget);
        c->inexact |= !s->bits_exact;
        if (!s->bits_exact && !s->bits_none) c->bits = fmin(c->bits, s->bits);
    }
    c->partly_constant += !r->constant && has_constant_output(r);
}

static bool count(cell *c, const op_row *op, const result *r)
{
    for (int i = 0; i < r->outputs; i++) c->elements += (double)r->output[i].count;
    if (r->v == SKIP) return reasons_add(&c->skips, r->why, 1);
    bool const noted = !*r->not_made || reasons_add(&c->partial, r->not_made, 1);
    if (r->v == VACUOUS)
        c->vacuous++;
    else if (verdict_counts_as(r->v, false) == COUNT_PASSED)
        count_passed(c, op, r);
    else
        c->failed++;
    return noted;
}

bool by_op_add(by_op *t, int index, const result results[])
{
    op_row *const op = &t->op[t->op_of[index]];
    bool good = true;
    for (int b = 0; b < t->run->backends && good; b++)
        if (report_counts(t->run, b, &results[b])) good = count(&op->of[b], op, &results[b]);
    return good;
}

bool by_op_has_row(const op_row *o, int b)
{
    const cell *const c = &o->of[b];
    return c->passed + c->failed + c->vacuous > 0;
}

bool by_op_skips(const op_row *o, int b)
{
    return !by_op_has_row(o, b) && o->of[b].skips.skipped > 0;
}

/* Did the port pass all cases of the op? */
static bool is_whole(const op_row *o, int b)
{
    return o->of[b].passed && !o->of[b].failed && !o->of[b].skips.skipped;
}

/* Does every port see it that passed some of the cases, or, where some passed all of them, each of these? */
static bool is_seen(const by_op *t, const op_row *o, int quirk)
{
    bool whole = false;
    for (int b = 0; b < t->run->backends; b++) whole |= is_whole(o, b);
    for (int b = 0; b < t->run->backends; b++)
        if (o->of[b].passed && (is_whole(o, b) || !whole) && !ref_has(o->of[b].sight.seen, quirk)) return false;
    return true;
}

op_sight by_op_sight(const by_op *t, int op)
{
    const op_row *const o = &t->op[op];
    op_sight s = {.whole = true};
    for (int b = 0; b < t->run->backends; b++) {
        s.looked |= o->of[b].sight.looked;
        s.whole &= !o->of[b].sight.unlooked;
    }
    for (int q = 0; ref_quirk(q); q++) {
        if (strcmp(ref_quirk(q)->op, o->name) != 0) continue;
        s.quirks++;
        s.seen += is_seen(t, o, q);
    }
    return s;
}

void by_op_bits(const cell *c, char *text, size_t cap)
{
    if (c->passed && isfinite(c->bits))
        snprintf(text, cap, c->bits < 0 ? "-" : "%.1f", c->bits);
    else
        snprintf(text, cap, c->passed && !c->inexact ? "exact" : "-");
}

void by_op_join(const by_op *t, int b, reasons *skips, reasons *partial)
{
    for (int i = 0; i < t->ops; i++) {
        const cell *const c = &t->op[i].of[b];
        if (!(reasons_join(skips, &c->skips) && reasons_join(partial, &c->partial))) return;
    }
}

int by_op_ports(const by_op *t, int port[MAX_BACKENDS])
{
    int n = 0;
    for (int b = 0; b < t->run->backends && t->rows; b++) {
        int i = 0;
        while (i < t->ops && !by_op_has_row(&t->op[i], b) && !by_op_skips(&t->op[i], b)) i++;
        if (i < t->ops) port[n++] = b;
    }
    return n;
}
