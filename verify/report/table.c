/* See table.h. */
#include "table.h"

#include "cell_text.h"
#include "wrap.h"

#include <string.h>

enum { COLUMNS = 100 };

/* ---- one port ---- */

static void describe_choices(const cell *c, char *text, size_t cap)
{
    int used = 0;
    *text = 0;
    if (c->flips) used = snprintf(text, cap, "  %lld flips", (long long)c->flips);
    if (c->constant) snprintf(text + used, cap - (size_t)used, "%s%d constant", used ? ", " : "  ", c->constant);
}

/* What isn't in the columns: "1 failed, 2 vacuous, 9 without lse, 12 skipped: why". */
static void describe_rest(const cell *c, char *text, size_t cap)
{
    char partial[300];
    int used = 0;
    *text = 0;
    if (c->failed) used = snprintf(text, cap, "%d failed", c->failed);
    if (c->vacuous) used += snprintf(text + used, cap - (size_t)used, "%s%d vacuous", used ? ", " : "", c->vacuous);
    if (c->partly_constant)
        used +=
            snprintf(text + used, cap - (size_t)used, "%s%d constant in part", used ? ", " : "", c->partly_constant);
    reasons_without(&c->partial, partial, sizeof partial);
    if (*partial) used += snprintf(text + used, cap - (size_t)used, "%s%s", used ? ", " : "", partial);
    if (used && c->skips.skipped) used += snprintf(text + used, cap - (size_t)used, ", ");
    reasons_describe(&c->skips, text + used, cap - (size_t)used);
}

static void print_row(FILE *f, const char *port, const op_row *o, const cell *c)
{
    char passed[32], budget[32] = "-", bits[32], choices[64], rest[700];
    snprintf(passed, sizeof passed, "%d of %d", c->passed, o->cases);
    if (c->passed) snprintf(budget, sizeof budget, "%.0f %%", 100 * c->budget);
    by_op_bits(c, bits, sizeof bits);
    describe_choices(c, choices, sizeof choices);
    fprintf(f, "%-12s  %-14s %12s %10.0f %7s %7s%s\n", port, o->name, passed, c->elements, budget, bits, choices);
    describe_rest(c, rest, sizeof rest);
    if (*rest) print_wrapped(f, "", rest, 4, COLUMNS);
}

/* The ops that the port skips wholly, in one line. */
static void print_skipped_ops(FILE *f, const by_op *t, int b)
{
    char label[96], text[700];
    const char *name = NULL;
    reasons all = {NULL, 0, 0};
    int ops = 0, rows = 0;
    for (int i = 0; i < t->ops; i++) {
        const op_row *const o = &t->op[i];
        rows += by_op_has_row(o, b);
        if (!by_op_skips(o, b) || !reasons_join(&all, &o->of[b].skips)) continue;
        name = o->name;
        ops++;
    }
    if (ops) {
        reasons_describe(&all, text, sizeof text);
        if (ops == 1)
            snprintf(label, sizeof label, "%-12s  %s, ", t->run->name[b], name);
        else
            snprintf(label, sizeof label, "%-12s  %d %sops, ", t->run->name[b], ops, rows ? "other " : "");
        print_wrapped(f, label, text, (int)strlen(label), COLUMNS);
    }
    reasons_free(&all);
}

static void print_port(FILE *f, const by_op *t, int b)
{
    int const width = (int)strlen(t->run->name[b]);
    fprintf(f, "%-*s  %-14s %12s %10s %7s %7s\n", width > 12 ? width : 12, "port", "op", "passed", "elements", "budget",
            "bits");
    for (int i = 0; i < t->ops; i++)
        if (by_op_has_row(&t->op[i], b)) print_row(f, t->run->name[b], &t->op[i], &t->op[i].of[b]);
    print_skipped_ops(f, t, b);
}

/* ---- several ports ---- */

enum { OP_WIDTH = 14, PORT_WIDTH = 17, PORTS_A_BLOCK = (COLUMNS - OP_WIDTH) / PORT_WIDTH };

/* "79/81": passed, of the cases that were judged. */
static void print_cell(FILE *f, const cell *c)
{
    char passed[32], bits[32];
    cell_passed(c, passed, sizeof passed);
    by_op_bits(c, bits, sizeof bits);
    fprintf(f, " %9s %6s", passed, bits);
}

static void print_block(FILE *f, const by_op *t, int ports, const int port[])
{
    fprintf(f, "%-*s", OP_WIDTH, "");
    for (int p = 0; p < ports; p++) fprintf(f, " %*.*s", PORT_WIDTH - 1, PORT_WIDTH - 1, t->run->name[port[p]]);
    fprintf(f, "\n%-*s", OP_WIDTH, "op");
    for (int p = 0; p < ports; p++) fprintf(f, " %9s %6s", "passed", "bits");
    for (int i = 0; i < t->ops; i++) {
        fprintf(f, "\n%-*s", OP_WIDTH, t->op[i].name);
        for (int p = 0; p < ports; p++) print_cell(f, &t->op[i].of[port[p]]);
    }
    fputc('\n', f);
}

static void print_note(FILE *f, const char *port, const char *text)
{
    char label[48];
    snprintf(label, sizeof label, "%-12s  ", port);
    if (*text) print_wrapped(f, label, text, (int)strlen(label), COLUMNS);
}

/* What the port skipped, with the most common reasons, and what it was judged without. */
static void print_notes(FILE *f, const by_op *t, int b)
{
    enum { REASONS = 4 };
    char skipped[2400] = "", partial[300];
    reasons skips = {NULL, 0, 0}, without = {NULL, 0, 0};
    by_op_join(t, b, &skips, &without);
    if (skips.skipped) reasons_list(&skips, REASONS, skipped, sizeof skipped);
    reasons_without(&without, partial, sizeof partial);
    print_note(f, t->run->name[b], partial);
    print_note(f, t->run->name[b], skipped);
    reasons_free(&skips);
    reasons_free(&without);
}

static void print_ports(FILE *f, const by_op *t, int ports, const int port[])
{
    for (int p = 0; p < ports; p += PORTS_A_BLOCK)
        print_block(f, t, ports - p < PORTS_A_BLOCK ? ports - p : PORTS_A_BLOCK, port + p);
    for (int p = 0; p < ports; p++) print_notes(f, t, port[p]);
}

/* ---- both ---- */

bool table_has_rows(const by_op *t)
{
    int port[MAX_BACKENDS];
    return by_op_ports(t, port) > 0;
}

void table_print(FILE *f, const by_op *t)
{
    int port[MAX_BACKENDS];
    int const ports = by_op_ports(t, port);
    if (ports == 1) print_port(f, t, port[0]);
    if (ports > 1) print_ports(f, t, ports, port);
}
