/* See screen.h. */
#include "screen.h"

#include "cell_text.h"
#include "wrap.h"

#include <stdio.h>
#include <string.h>

void screen_cut(char *to, size_t cap, const char *text, int columns)
{
    if ((int)strlen(text) <= columns)
        snprintf(to, cap, "%s", text);
    else
        snprintf(to, cap, "%.*s...", columns > 3 ? columns - 3 : 0, text);
}

/* ---- cells ---- */

typedef struct {
    int op;                   /* of the first column */
    int passed[MAX_BACKENDS]; /* of a port's two, by backend */
    int bits;                 /* with the blank before it */
    int sees;
    const char *head; /* over what passed */
    int columns;      /* of the screen */
} widths;

static int wider(int a, int b)
{
    return a > b ? a : b;
}

/* "81", or "79/81" where not all passed that were judged. */
static int describe_passed(const cell *c, char *text, size_t cap)
{
    bool const all = c->passed && c->passed == cell_judged(c);
    if (all) return snprintf(text, cap, "%d", c->passed);
    cell_passed(c, text, cap);
    return (int)strlen(text);
}

/* "9/9"; "8+/9" where more may be seen, as some cases weren't looked at; "-": nothing was. */
static int describe_sight(const by_op *t, int i, char *text, size_t cap)
{
    op_sight const s = by_op_sight(t, i);
    if (!s.quirks || !s.looked) return snprintf(text, cap, "-");
    return snprintf(text, cap, "%d%s/%d", s.seen, s.seen < s.quirks && !s.whole ? "+" : "", s.quirks);
}

static widths measure(const by_op *t, int columns, int ports, const int port[])
{
    char text[40];
    widths w = {.op = 2, .bits = 6, .sees = 4, .columns = columns};
    for (int i = 0; i < t->ops; i++) {
        w.op = wider(w.op, (int)strlen(t->op[i].name));
        w.sees = wider(w.sees, describe_sight(t, i, text, sizeof text));
        for (int p = 0; p < ports; p++) {
            int *const passed = &w.passed[port[p]];
            *passed = wider(*passed, describe_passed(&t->op[i].of[port[p]], text, sizeof text));
        }
    }
    return w;
}

/* ---- one port ---- */

static void print_row(FILE *f, const by_op *t, int i, const cell *c, const widths *w)
{
    char budget[32] = "-", bits[32], sees[40];
    if (c->passed) snprintf(budget, sizeof budget, "%.0f %%", 100 * c->budget);
    by_op_bits(c, bits, sizeof bits);
    describe_sight(t, i, sees, sizeof sees);
    fprintf(f, "%-*s %7d %6d %7d %10.0f %6s%*s %*s\n", w->op, t->op[i].name, c->passed, c->failed,
            c->skips.skipped + c->vacuous, c->elements, budget, w->bits + 1, bits, w->sees, sees);
}

/* False: the screen is too narrow, and nothing is printed. */
static bool print_port(FILE *f, const by_op *t, int columns, int b)
{
    enum { NUMBERS = 4 * 8 + 11 }; /* passed, failed, skipped, elements, budget */
    char name[64];
    widths w = measure(t, columns, 1, &b);
    w.op = wider(w.op, 22);
    if (w.op + NUMBERS + w.bits + 1 + 1 + w.sees > columns && columns < SCREEN_COLUMNS) return false;
    screen_cut(name, sizeof name, t->run->name[b], w.op);
    fprintf(f, "%-*s %7s %6s %7s %10s %6s%*s %*s\n", w.op, name, "passed", "failed", "skipped", "elements", "budget",
            w.bits + 1, "bits", w.sees, "sees");
    for (int i = 0; i < t->ops; i++) print_row(f, t, i, &t->op[i].of[b], &w);
    return true;
}

/* ---- several ports ---- */

/* Columns of one port, with a blank before them. */
static int width_of(const widths *w, int b)
{
    return 1 + w->passed[b] + w->bits;
}

/* How many of the ports go side by side, each as wide as `least` makes it or wider. */
static int fit(const widths *w, int ports, const int port[], int least)
{
    int used = w->op + 1 + w->sees, n = 0;
    while (n < ports && used + 1 + wider(w->passed[port[n]], least) + w->bits <= w->columns)
        used += 1 + wider(w->passed[port[n++]], least) + w->bits;
    return n ? n : 1;
}

static bool is_cut(const by_op *t, const widths *w, int b)
{
    return (int)strlen(t->run->name[b]) >= width_of(w, b);
}

/* What is left of the screen goes to the names of ports, a column each in turn. */
static void widen_names(const by_op *t, widths *w, int ports, const int port[], int spare)
{
    for (int last = spare + 1; spare > 0 && spare < last;) {
        last = spare;
        for (int p = 0; p < ports && spare > 0; p++) {
            if (!is_cut(t, w, port[p])) continue;
            w->passed[port[p]]++;
            spare--;
        }
    }
}

/* "passed" over the numbers where there is room for all ports, else "ok"; then what is left. */
static void widen(const by_op *t, widths *w, int ports, const int port[])
{
    int spare = w->columns - w->op - 1 - w->sees;
    w->head = fit(w, ports, port, (int)strlen("passed")) == ports ? "passed" : "ok";
    for (int p = 0; p < ports; p++) {
        w->passed[port[p]] = wider(w->passed[port[p]], (int)strlen(w->head));
        spare -= width_of(w, port[p]);
    }
    widen_names(t, w, ports, port, spare);
}

static void print_heads(FILE *f, const by_op *t, const widths *w, int ports, const int port[])
{
    char name[64];
    fprintf(f, "%-*s", w->op, "");
    for (int p = 0; p < ports; p++) {
        screen_cut(name, sizeof name, t->run->name[port[p]], width_of(w, port[p]) - 1);
        fprintf(f, "%*s", width_of(w, port[p]), name);
    }
    fprintf(f, "\n%-*s", w->op, "op");
    for (int p = 0; p < ports; p++) fprintf(f, " %*s%*s", w->passed[port[p]], w->head, w->bits, "bits");
    fprintf(f, " %*s\n", w->sees, "sees");
}

static void print_block(FILE *f, const by_op *t, const widths *w, int ports, const int port[])
{
    char passed[40], bits[40], sees[40];
    print_heads(f, t, w, ports, port);
    for (int i = 0; i < t->ops; i++) {
        fprintf(f, "%-*s", w->op, t->op[i].name);
        for (int p = 0; p < ports; p++) {
            const cell *const c = &t->op[i].of[port[p]];
            describe_passed(c, passed, sizeof passed);
            by_op_bits(c, bits, sizeof bits);
            fprintf(f, " %*s%*s", w->passed[port[p]], passed, w->bits, bits);
        }
        describe_sight(t, i, sees, sizeof sees);
        fprintf(f, " %*s\n", w->sees, sees);
    }
}

static void print_ports(FILE *f, const by_op *t, int columns, int ports, const int port[])
{
    widths w = measure(t, columns, ports, port);
    widen(t, &w, ports, port);
    for (int p = 0; p < ports;) {
        int const n = fit(&w, ports - p, port + p, 0);
        print_block(f, t, &w, n, port + p);
        p += n;
    }
}

/* ---- notes ---- */

/* What the table doesn't say of a port: "2 VACUOUS, 3 by filters alone, 9 without lse, 12 skipped, 9 of them: why"; at most two lines. */
static void print_note(FILE *f, const by_op *t, int b)
{
    char label[64], without[300], skipped[700], text[1200], cut[200];
    reasons skips = {NULL, 0, 0}, partial = {NULL, 0, 0};
    int vacuous = 0, statistical = 0, suspect = 0, used = 0;
    for (int i = 0; i < t->ops; i++) {
        vacuous += t->op[i].of[b].vacuous;
        statistical += t->op[i].of[b].statistical;
        suspect += t->op[i].of[b].suspect;
    }
    by_op_join(t, b, &skips, &partial);
    reasons_without(&partial, without, sizeof without);
    reasons_describe(&skips, skipped, sizeof skipped);
    if (vacuous) used = snprintf(text, sizeof text, "%d VACUOUS (--verbose says why)", vacuous);
    if (suspect) used += snprintf(text + used, sizeof text - (size_t)used, "%s%d SUSPECT", used ? ", " : "", suspect);
    if (statistical)
        used += snprintf(text + used, sizeof text - (size_t)used, "%s%d passed by filters alone", used ? ", " : "",
                         statistical);
    if (*without) used += snprintf(text + used, sizeof text - (size_t)used, "%s%s", used ? ", " : "", without);
    if (*skipped) used += snprintf(text + used, sizeof text - (size_t)used, "%s%s", used ? ", " : "", skipped);
    reasons_free(&skips);
    reasons_free(&partial);
    if (!used) return;
    screen_cut(label, sizeof label, t->run->name[b], 22);
    snprintf(label + strlen(label), sizeof label - strlen(label), ": ");
    int const room = 2 * (columns_within(f, SCREEN_COLUMNS) - 4) - 20;
    screen_cut(cut, sizeof cut, text, wider(room, 32) - (int)strlen(label));
    snprintf(text, sizeof text, "%s%s", label, cut);
    print_wrapped(f, "", text, 0, SCREEN_COLUMNS);
}

void screen_print(FILE *f, const by_op *t)
{
    int port[MAX_BACKENDS];
    int const ports = by_op_ports(t, port);
    int const columns = columns_within(f, SCREEN_COLUMNS);
    bool const alone = ports == 1 && print_port(f, t, columns, port[0]);
    if (ports && !alone) print_ports(f, t, columns, ports, port);
    for (int p = 0; p < ports; p++) print_note(f, t, port[p]);
}
