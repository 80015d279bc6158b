/* See markdown.h. */
#include "markdown.h"

#include "cell_text.h"
#include "markup.h"
#include "printable.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

/* A summary has at most 1 MiB, and a step 10 annotations. */
enum { MOST_FAILURES = 100, MOST_FAILURE_BYTES = 600000, MOST_ANNOTATIONS = 10 };

typedef struct {
    FILE *f;
    const report_run *run;
    by_op *table;
    FILE *failures; /* they stand behind the table, so they are kept until the end */
    char *text;
    size_t length;
    int failed;
    bool whole, annotates;
} markdown_report;

static void free_report(markdown_report *m)
{
    if (m->table) by_op_close(m->table);
    if (m->failures) fclose(m->failures);
    free(m->text);
    free(m);
}

static void *open_markdown(FILE *f, const report_run *run)
{
    const char *const actions = getenv("GITHUB_ACTIONS");
    markdown_report *const m = calloc(1, sizeof *m);
    if (!m) return NULL;
    *m = (markdown_report){.f = f, .run = run, .whole = true, .annotates = actions && !strcmp(actions, "true")};
    m->table = by_op_open(run);
    m->failures = open_memstream(&m->text, &m->length);
    if (m->table && m->failures) return m;
    free_report(m);
    return NULL;
}

/* ---- failures ---- */

/* Of a workflow command: a property ends at a comma or colon, everything at the end of the line. */
static void print_command_text(FILE *f, const char *text, bool property)
{
    char shown[1200];
    printable(shown, sizeof shown, text, strlen(text), false);
    for (const char *c = shown; *c; c++) {
        if (*c == '%' || (property && (*c == ':' || *c == ',')))
            fprintf(f, "%%%02X", *c);
        else
            fputc(*c, f);
    }
}

static void annotate(const report_run *run, int index, int b, const result *r)
{
    fputs("::error title=", stderr);
    print_command_text(stderr, run->name[b], true);
    fprintf(stderr, " %s::", verdict_name(r->v));
    print_command_text(stderr, run->id[index], false);
    if (*r->why) fputs(" ", stderr);
    print_command_text(stderr, r->why, false);
    fputc('\n', stderr);
}

static void print_code(FILE *f, const char *text)
{
    fputs("<code>", f);
    print_markdown(f, text);
    fputs("</code>", f);
}

static void add_failure(markdown_report *m, int index, int b, const result *r)
{
    FILE *const f = m->failures;
    if (m->annotates && m->failed < MOST_ANNOTATIONS) annotate(m->run, index, b, r);
    fflush(f);
    if (m->failed++ >= MOST_FAILURES || m->length > MOST_FAILURE_BYTES) return;
    fputs("<details><summary>", f);
    print_code(f, m->run->name[b]);
    fprintf(f, " %s ", verdict_name(r->v));
    print_code(f, m->run->id[index]);
    fputs("</summary>\n\n<pre>", f);
    report_block(f, print_markdown, m->run, index, b, r);
    fputs("</pre>\n\n</details>\n\n", f);
}

static void add_results(void *own, int index, const result results[])
{
    markdown_report *const m = own;
    bool const strict = m->run->about && m->run->about->strict;
    m->whole = by_op_add(m->table, index, results) && m->whole;
    for (int b = 0; b < m->run->backends; b++)
        if (verdict_counts_as(results[b].v, strict) == COUNT_FAILED) add_failure(m, index, b, &results[b]);
}

/* ---- the page ---- */

static void print_head(const markdown_report *m, const tally *t)
{
    char counts[160];
    const run_about *const a = m->run->about;
    counts_text(m->run, t, counts, sizeof counts);
    fprintf(m->f, "## verify: %s\n\n", counts);
    if (!a) return;
    fprintf(m->f, "verify %s", a->version);
    if (*a->commit) fprintf(m->f, " (%.18s)", a->commit);
    fputs(" on ", m->f);
    print_code(m->f, a->host);
    fputs(", ", m->f);
    print_code(m->f, a->processor);
    fprintf(m->f, "; %d of %d cases in %.0f s, from %s on\n\n", t->cases, m->run->cases, t->seconds, a->started);
}

static void print_cell(FILE *f, const cell *c)
{
    char passed[32], bits[32];
    cell_passed(c, passed, sizeof passed);
    cell_bits(c, bits, sizeof bits);
    fprintf(f, c->failed ? " **%s**" : " %s", passed);
    fprintf(f, "%s%s |", *bits ? ", " : "", bits);
}

static void print_table(const markdown_report *m)
{
    fputs("| op |", m->f);
    for (int b = 0; b < m->run->backends; b++) {
        if (m->run->absent[b]) continue;
        fputc(' ', m->f);
        print_code(m->f, m->run->name[b]);
        fputs(" |", m->f);
    }
    fputs("\n|---|", m->f);
    for (int b = 0; b < m->run->backends; b++)
        if (!m->run->absent[b]) fputs("--:|", m->f);
    for (int i = 0; i < m->table->ops; i++) {
        fprintf(m->f, "\n| %s |", m->table->op[i].name);
        for (int b = 0; b < m->run->backends; b++)
            if (!m->run->absent[b]) print_cell(m->f, &m->table->op[i].of[b]);
    }
    fputs("\n\n", m->f);
}

static void print_notes(const markdown_report *m)
{
    char rest[2400];
    int notes = 0;
    for (int b = 0; b < m->run->backends; b++) {
        port_rest(m->table, b, rest, sizeof rest);
        const char *const note = m->run->absent[b] ? m->run->absent[b] : rest;
        if (!*note) continue;
        notes++;
        fputs("- ", m->f);
        print_code(m->f, m->run->name[b]);
        fputs(m->run->absent[b] ? " is absent: " : ": ", m->f);
        print_markdown(m->f, note);
        fputc('\n', m->f);
    }
    if (notes) fputc('\n', m->f);
}

static void close_markdown(void *own, const tally *t)
{
    markdown_report *const m = own;
    print_head(m, t);
    print_table(m);
    print_notes(m);
    if (!m->whole) fputs("(no memory for all of the table)\n\n", m->f);
    if (m->failed) fprintf(m->f, "### %d failed\n\n", m->failed);
    fflush(m->failures);
    fwrite(m->text, 1, m->length, m->f);
    if (m->failed > MOST_FAILURES || m->length > MOST_FAILURE_BYTES)
        fputs("The first of them are shown: --format=html has all.\n", m->f);
    free_report(m);
}

const report_format report_as_markdown = {"md", "summary.md", open_markdown, add_results, close_markdown, false, 3};
