/* See html.h. */
#include "html.h"

#include "cell_text.h"
#include "histogram.h"
#include "html_page.h"
#include "markup.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { SHOWN = 3 }; /* failures that are open at first */

/* A part of the page, kept until what stands before it is known. */
typedef struct {
    FILE *f;
    char *text;
    size_t length;
} part;

typedef struct {
    FILE *f;
    const report_run *run;
    by_op *table;
    histogram *budgets; /* by op and port */
    part failures, cases;
    int failed, judged;
    bool whole;
} html_report;

static bool part_open(part *p)
{
    return (p->f = open_memstream(&p->text, &p->length)) != NULL;
}

static void part_free(part *p)
{
    if (p->f) fclose(p->f);
    free(p->text);
}

static void part_print(part *p, FILE *f)
{
    fflush(p->f);
    fwrite(p->text, 1, p->length, f);
}

static void free_report(html_report *h)
{
    part_free(&h->failures);
    part_free(&h->cases);
    if (h->table) by_op_close(h->table);
    free(h->budgets);
    free(h);
}

static void *open_html(FILE *f, const report_run *run)
{
    html_report *const h = calloc(1, sizeof *h);
    if (!h) return NULL;
    h->f = f;
    h->run = run;
    h->whole = true;
    h->table = by_op_open(run);
    if (h->table) h->budgets = calloc((size_t)(h->table->ops * MAX_BACKENDS + 1), sizeof *h->budgets);
    if (part_open(&h->failures) && part_open(&h->cases) && h->budgets) return h;
    free_report(h);
    return NULL;
}

/* ---- cases ---- */

/* What the filter looks at. */
static void print_key(FILE *f, const report_run *run, int index, int b, const result *r)
{
    fputs(" data-case=\"", f);
    print_markup(f, run->name[b]);
    fprintf(f, " %s ", verdict_name(r->v));
    print_markup(f, run->id[index]);
    fputc('"', f);
}

static void add_failure(html_report *h, int index, int b, const result *r)
{
    FILE *const f = h->failures.f;
    fputs(h->failed < SHOWN ? "<details open" : "<details", f);
    print_key(f, h->run, index, b, r);
    fprintf(f, "><summary><span class=\"failed\">%s</span> ", verdict_name(r->v));
    print_markup(f, h->run->name[b]);
    fputs(" <code>", f);
    print_markup(f, h->run->id[index]);
    fputs("</code></summary><pre>", f);
    report_block(f, print_markup, h->run, index, b, r);
    fputs("</pre></details>\n", f);
    h->failed++;
}

/* Budget and bits: the worst of the outputs. */
static void print_figures(FILE *f, const result *r)
{
    double budget = 0;
    int worst = -1;
    for (int i = 0; i < r->outputs; i++) {
        const output_stats *const s = &r->output[i];
        if (!(s->budget <= budget)) budget = s->budget;
        if (!s->bits_exact && !s->bits_none && (worst < 0 || s->bits < r->output[worst].bits)) worst = i;
    }
    if (r->outputs)
        fprintf(f, "<td>%.3g %%</td>", 100 * budget);
    else
        fputs("<td></td>", f);
    if (worst >= 0)
        fprintf(f, r->output[worst].bits < 0 ? "<td>-</td>" : "<td>%.1f</td>", r->output[worst].bits);
    else
        fputs("<td></td>", f);
}

static void add_row(html_report *h, int index, int b, const result *r)
{
    FILE *const f = h->cases.f;
    static const char *const classes[] = {
        [COUNT_PASSED] = "passed", [COUNT_FAILED] = "failed", [COUNT_SKIPPED] = "none"};
    fputs("<tr", f);
    print_key(f, h->run, index, b, r);
    fputs("><td>", f);
    print_markup(f, h->run->name[b]);
    fprintf(f, "</td><td class=\"%s\">%s</td>", classes[verdict_counts_as(r->v, false)], verdict_name(r->v));
    print_figures(f, r);
    fputs("<td>", f);
    print_markup(f, h->run->id[index]);
    fputs("</td></tr>\n", f);
    h->judged++;
}

static void add_results(void *own, int index, const result results[])
{
    html_report *const h = own;
    bool const strict = h->run->about && h->run->about->strict;
    h->whole = by_op_add(h->table, index, results) && h->whole;
    for (int b = 0; b < h->run->backends; b++) {
        const result *const r = &results[b];
        if (r->v == SKIP) continue;
        histogram_add(&h->budgets[h->table->op_of[index] * MAX_BACKENDS + b], r);
        add_row(h, index, b, r);
        if (verdict_counts_as(r->v, strict) == COUNT_FAILED) add_failure(h, index, b, r);
    }
}

/* ---- the page ---- */

static void print_fact(FILE *f, const char *name, const char *value)
{
    if (!*value) return;
    fprintf(f, "<dt>%s</dt><dd>", name);
    print_markup(f, value);
    fputs("</dd>\n", f);
}

static void print_facts(const html_report *h, const tally *t)
{
    char text[256];
    const run_about *const a = h->run->about;
    if (!a) return;
    fputs("<dl class=\"facts\">\n", h->f);
    snprintf(text, sizeof text, "%s%s%s", a->version, *a->commit ? ", " : "", a->commit);
    print_fact(h->f, "verify", text);
    print_fact(h->f, "host", a->host);
    print_fact(h->f, "processor", a->processor);
    snprintf(text, sizeof text, "%s, %.0f s", a->started, t->seconds);
    print_fact(h->f, "started", text);
    snprintf(text, sizeof text, "%d of %d", t->cases, h->run->cases);
    print_fact(h->f, "cases", text);
    snprintf(text, sizeof text, "%d of %d", a->shard, a->shards);
    print_fact(h->f, "shard", a->shards > 1 ? text : "");
    fputs("</dl>\n", h->f);
}

static void print_cell(FILE *f, const cell *c, const histogram *budgets)
{
    char passed[32], bits[32];
    cell_passed(c, passed, sizeof passed);
    cell_bits(c, bits, sizeof bits);
    const char *const class = c->failed ? "failed" : c->passed ? "passed" : "none";
    fprintf(f, "<td><span class=\"%s\">%s</span>", class, passed);
    if (*bits) fprintf(f, " <span class=\"bits\">%s</span>", bits);
    histogram_print(f, budgets);
    fputs("</td>", f);
}

static void print_matrix(const html_report *h)
{
    fputs("<h2>Ops and ports</h2>\n<p class=\"soft\">Passed of judged, the coarsest resolution, and how many outputs "
          "used "
          "how much of the legal distance, in tenths; red: not legal.</p>\n"
          "<div class=\"wide\"><table class=\"matrix\">\n<thead><tr><th>op</th>",
          h->f);
    for (int b = 0; b < h->run->backends; b++) {
        if (h->run->absent[b]) continue;
        fputs("<th>", h->f);
        print_markup(h->f, h->run->name[b]);
        fputs("</th>", h->f);
    }
    fputs("</tr></thead>\n<tbody>\n", h->f);
    for (int i = 0; i < h->table->ops; i++) {
        fprintf(h->f, "<tr><th>%s</th>", h->table->op[i].name);
        for (int b = 0; b < h->run->backends; b++)
            if (!h->run->absent[b]) print_cell(h->f, &h->table->op[i].of[b], &h->budgets[i * MAX_BACKENDS + b]);
        fputs("</tr>\n", h->f);
    }
    fputs("</tbody></table></div>\n", h->f);
}

static bool has_notes(const html_report *h, char *rest, size_t cap)
{
    for (int b = 0; b < h->run->backends; b++) {
        port_rest(h->table, b, rest, cap);
        if (h->run->absent[b] || *rest) return true;
    }
    return false;
}

static void print_notes(const html_report *h)
{
    char rest[2400];
    if (!has_notes(h, rest, sizeof rest)) return;
    fputs("<h2>Not judged</h2>\n<ul>\n", h->f);
    for (int b = 0; b < h->run->backends; b++) {
        port_rest(h->table, b, rest, sizeof rest);
        const char *const note = h->run->absent[b] ? h->run->absent[b] : rest;
        if (!*note) continue;
        fputs("<li>", h->f);
        print_markup(h->f, h->run->name[b]);
        fputs(h->run->absent[b] ? " is absent: " : ": ", h->f);
        print_markup(h->f, note);
        fputs("</li>\n", h->f);
    }
    fputs("</ul>\n", h->f);
}

static void print_cases(html_report *h)
{
    fputs("<input id=\"filter\" type=\"search\" placeholder=\"Filter cases: words of port, verdict and id\" "
          "aria-label=\"Filter cases\" hidden>\n",
          h->f);
    if (h->failed) fprintf(h->f, "<h2 id=\"failed\">Failed: %d</h2>\n", h->failed);
    part_print(&h->failures, h->f);
    fprintf(h->f,
            "<h2>Judged: %d</h2>\n<details%s><summary>Every verdict</summary><div class=\"wide\"><table>\n<thead><tr>"
            "<th>port</th><th>verdict</th><th>budget</th><th>bits</th><th>case</th></tr></thead>\n<tbody>\n",
            h->judged, h->failed ? "" : " open");
    part_print(&h->cases, h->f);
    fputs("</tbody></table></div></details>\n", h->f);
}

static void close_html(void *own, const tally *t)
{
    html_report *const h = own;
    char title[200], counts[160];
    counts_text(h->run, t, counts, sizeof counts);
    snprintf(title, sizeof title, "verify: %s", counts);
    html_page_open(h->f, title);
    fprintf(h->f, "<h1><span class=\"%s\">%s</span></h1>\n",
            t->failed                      ? "failed"
            : t->passed && !t->interrupted ? "passed"
                                           : "none",
            counts);
    print_facts(h, t);
    if (h->failed) fprintf(h->f, "<p><a href=\"#failed\">What failed</a></p>\n");
    print_matrix(h);
    if (!h->whole) fputs("<p>There was no memory for all of the table.</p>\n", h->f);
    print_notes(h);
    print_cases(h);
    html_page_close(h->f);
    free_report(h);
}

const report_format report_as_html = {"html", "report.html", open_html, add_results, close_html, false, 4};
