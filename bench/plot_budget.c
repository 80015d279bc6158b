/*
 * Figures of budgets: which share of the legal distance from the truth the outputs of each port used, op by op, and how far
 * beyond all of it the planted mistakes are.
 */
#include "plot.h"

#include <math.h>
#include <string.h>

/* ---- names, each once, in the order of the file ---- */

enum { MOST_NAMES = 600, MOST_PORTS = 6 };

typedef struct {
    int count;
    const char *name[MOST_NAMES];
} names;

static int index_of(const names *n, const char *name)
{
    for (int i = 0; i < n->count; i++)
        if (!strcmp(n->name[i], name)) return i;
    return -1;
}

static void add_name(names *n, const char *name)
{
    if (n->count < MOST_NAMES && index_of(n, name) < 0) n->name[n->count++] = name;
}

/* Of honest ports, or of mistakes. */
static void list_ports(const budgets *b, bool mistakes, names *ports)
{
    ports->count = 0;
    for (int i = 0; i < b->count; i++)
        if (is_mistake(b->group[i].port) == mistakes) add_name(ports, b->group[i].port);
}

/* ---- checks ---- */

/* Of what is a PASS: the largest budget, and where. */
static void check_passed(const budgets *b, const char *port, checks *c)
{
    const budget_group *worst = NULL;
    int outputs = 0;
    for (int i = 0; i < b->count; i++) {
        const budget_group *const g = &b->group[i];
        if (g->v != PASS || !g->count || strcmp(g->port, port)) continue;
        outputs += g->count;
        if (!worst || budget_quantile(g, 1) > budget_quantile(worst, 1)) worst = g;
    }
    double const most = worst ? budget_quantile(worst, 1) : (double)NAN;
    check(c, most <= 1, "%s: %d outputs passed, with at most %.6f of their budgets (%s; no more than 1)", port, outputs,
          most, worst ? worst->op : "none");
}

/* An honest port has no verdict that counts as a failure. */
static void check_port(const budgets *b, const char *port, checks *c)
{
    const budget_group *bad = NULL;
    for (int i = 0; i < b->count && !bad; i++) {
        const budget_group *const g = &b->group[i];
        if (!strcmp(g->port, port) && verdict_counts_as(g->v, false) == COUNT_FAILED) bad = g;
    }
    check_passed(b, port, c);
    check(c, !bad, "%s: %s%s%s", port, bad ? verdict_name(bad->v) : "no case", bad ? " in a case of " : " failed",
          bad ? bad->op : "");
}

/* The least budget beyond 1 in cases that FAILed, by format: "" for all. NaN: there is none. */
static double least_beyond(const budgets *b, const char *mistake, const char *dtype)
{
    double least = (double)NAN;
    for (int i = 0; i < b->count; i++) {
        const budget_group *const g = &b->group[i];
        if (g->v != FAIL || strcmp(g->port, mistake) || (*dtype && strcmp(g->dtype, dtype))) continue;
        for (int k = 0; k < g->count; k++)
            if (g->budget[k] > 1) least = fmin(least, g->budget[k]);
    }
    return least;
}

static void check_mistakes(const budgets *b, checks *c)
{
    names mistakes;
    const char *unseen = "";
    int seen = 0;
    list_ports(b, true, &mistakes);
    for (int i = 0; i < mistakes.count; i++) {
        bool const beyond = !isnan(least_beyond(b, mistakes.name[i], ""));
        if (!beyond) unseen = mistakes.name[i];
        seen += beyond;
    }
    if (!mistakes.count) return;
    check(c, seen == mistakes.count, "%d of %d mistakes are beyond 1 where they FAIL%s%s", seen, mistakes.count,
          *unseen ? ", not " : "", unseen);
}

void budget_check(const budgets *b, checks *c)
{
    names ports;
    list_ports(b, false, &ports);
    for (int i = 0; i < ports.count; i++) check_port(b, ports.name[i], c);
    check(c, ports.count <= MOST_PORTS, "%d ports, of which a figure shows %d", ports.count, MOST_PORTS);
    check_mistakes(b, c);
}

/* ---- figures ---- */

static double const least_shown = 1e-4, most_shown = 1e8;
static const char *const colour[MOST_PORTS] = {"#444444", "#d95f02", "#1f78b4", "#7570b3", "#e6ab02", "#66a61e"};

static double shown(double budget)
{
    return fmin(fmax(budget, least_shown), most_shown);
}

static void list_ops(const budgets *b, const char *dtype, names *ops)
{
    ops->count = 0;
    for (int i = 0; i < b->count; i++)
        if (!strcmp(b->group[i].dtype, dtype)) add_name(ops, b->group[i].op);
}

/* Place, first quartile, median, third quartile, largest. */
static void print_port(FILE *g, const budgets *b, const char *dtype, const names *ops, const names *ports, int port)
{
    double const width = 0.8 / ports->count;
    fprintf(g, "$port%d << EOD\n", port);
    for (int i = 0; i < b->count; i++) {
        const budget_group *const of = &b->group[i];
        if (of->v != PASS || strcmp(of->port, ports->name[port]) || strcmp(of->dtype, dtype)) continue;
        fprintf(g, "%.3f", index_of(ops, of->op) + width * (port - (ports->count - 1) / 2.0));
        for (int q = 1; q <= 4; q++) fprintf(g, " %.4g", shown(budget_quantile(of, q / 4.0)));
        fprintf(g, "\n");
    }
    fprintf(g, "EOD\n");
}

/* The op of which a mistake has an output of this format that is beyond 1. */
static int place_of(const budgets *b, const char *mistake, const char *dtype, const names *ops)
{
    for (int i = 0; i < b->count; i++)
        if (b->group[i].v == FAIL && !strcmp(b->group[i].port, mistake) && !strcmp(b->group[i].dtype, dtype))
            return index_of(ops, b->group[i].op);
    return -1;
}

/* Returns how many there are. Those of one op stand side by side. */
static int print_mistakes(FILE *g, const budgets *b, const char *dtype, const names *ops)
{
    names mistakes;
    int beside[MOST_NAMES] = {0}, count = 0;
    list_ports(b, true, &mistakes);
    fprintf(g, "$mistakes << EOD\n");
    for (int i = 0; i < mistakes.count; i++) {
        double const beyond = least_beyond(b, mistakes.name[i], dtype);
        int const place = isnan(beyond) ? -1 : place_of(b, mistakes.name[i], dtype, ops);
        if (place < 0) continue;
        fprintf(g, "%.3f %.4g %s\n", place - 0.36 + 0.09 * (beside[place]++ % 9), shown(beyond), mistakes.name[i] + 8);
        count++;
    }
    fprintf(g, "EOD\n");
    return count;
}

static void draw_budgets(FILE *g, const budgets *b, const char *dtype, const char *called)
{
    names ops, ports;
    list_ops(b, dtype, &ops);
    list_ports(b, false, &ports);
    if (ports.count > MOST_PORTS) ports.count = MOST_PORTS;
    for (int p = 0; p < ports.count; p++) print_port(g, b, dtype, &ops, &ports, p);
    int const mistakes = print_mistakes(g, b, dtype, &ops);
    fprintf(g,
            "set title 'Error as a fraction of its budget, outputs in %s'\n"
            "set logscale y\nset yrange [%g:%g]\nset xrange [-0.6:%g]\nset bmargin 9\n"
            "set ylabel 'error / legal error, largest of an output'\n"
            "set ytics ('exact' %g, '0.001' 0.001, '0.01' 0.01, '0.1' 0.1, '1' 1, '10' 10, '10^2' 100, '10^4' 1e4, "
            "'10^6' 1e6, 'beyond' %g)\n"
            "set xtics rotate by 40 right font ',10' (",
            called, least_shown / 1.6, most_shown * 100, ops.count - 0.4, least_shown, most_shown);
    for (int i = 0; i < ops.count; i++) fprintf(g, "%s'%s' %d", i ? ", " : "", ops.name[i], i);
    fprintf(g,
            ") noenhanced\nset boxwidth %.3f\nset style fill solid 0.5\nset key top center horizontal maxrows 1 "
            "samplen 1.5 font ',10'\n"
            "set arrow from graph 0, first 1 to graph 1, first 1 nohead lw 2 lc rgb '#b2182b'\nplot ",
            0.7 / fmax(ports.count, 1));
    for (int p = 0; p < ports.count; p++)
        fprintf(g, "$port%d using 1:2:2:5:4 with candlesticks lc rgb '%s' title '%s', \\\n     ", p, colour[p],
                ports.name[p]);
    fprintf(g,
            "$mistakes using 1:2 with points pt 2 ps 0.7 lw 1.5 lc rgb '#b2182b' title '%d mistakes, where mildest'\n",
            mistakes);
}

bool budget_figures(const budgets *b, const char *folder, complaint *why)
{
    static const char *const of[][3] = {{"budget_f32", "f32", "binary32"}, {"budget_bf16", "bf16", "BF16"}};
    figure_source const from = {"budget", b->file, "bench/budget.py",
                                "boxes: middle half of the outputs; line: the largest"};
    for (int i = 0; i < 2; i++) {
        figure f;
        names ops;
        list_ops(b, of[i][1], &ops);
        if (!ops.count) continue; /* somebody's results may lack the format */
        if (!figure_begin(&f, folder, of[i][0], &from, why)) return false;
        draw_budgets(f.script, b, of[i][1], of[i][2]);
        if (!figure_end(&f, why)) return false;
    }
    return true;
}
