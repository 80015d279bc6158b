/* See junit.h. */
#include "junit.h"

#include "markup.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

/* What one port did. Its counts stand before its cases, so these are kept until the end. */
typedef struct {
    FILE *cases;
    char *text;
    size_t length;
    int tests, failures, errors, skipped;
    double seconds;
} suite;

typedef struct {
    FILE *f;
    const report_run *run;
    suite of[MAX_BACKENDS];
} junit_report;

static void free_report(junit_report *j)
{
    for (int b = 0; b < j->run->backends; b++) {
        if (j->of[b].cases) fclose(j->of[b].cases);
        free(j->of[b].text);
    }
    free(j);
}

static void *open_junit(FILE *f, const report_run *run)
{
    junit_report *const j = calloc(1, sizeof *j);
    if (!j) return NULL;
    j->f = f;
    j->run = run;
    for (int b = 0; b < run->backends; b++) {
        j->of[b].cases = open_memstream(&j->of[b].text, &j->of[b].length);
        if (!j->of[b].cases) return free_report(j), NULL;
    }
    return j;
}

static void print_attribute(FILE *f, const char *name, const char *value)
{
    fprintf(f, " %s=\"", name);
    print_markup(f, value);
    fputc('"', f);
}

/* <failure>, or <error> for a fault of our own. */
static void print_failure(FILE *f, const report_run *run, int index, int b, const result *r)
{
    const char *const tag = r->v == ERROR ? "error" : "failure";
    fprintf(f, "<%s", tag);
    print_attribute(f, "type", verdict_name(r->v));
    print_attribute(f, "message", *r->why ? r->why : "elements are not legal");
    fputc('>', f);
    report_block(f, print_markup, run, index, b, r);
    fprintf(f, "</%s>", tag);
}

static void print_skipped(FILE *f, const result *r)
{
    fprintf(f, "<skipped");
    print_attribute(f, "type", verdict_name(r->v));
    print_attribute(f, "message", r->why);
    fprintf(f, "/>");
}

static void add_case(junit_report *j, int index, int b, const result *r)
{
    suite *const s = &j->of[b];
    const char *const id = j->run->id[index];
    char op[32];
    verdict_class const as = verdict_counts_as(r->v, j->run->about && j->run->about->strict);
    snprintf(op, sizeof op, "%.*s", (int)strcspn(id, "@:;"), id);
    fprintf(s->cases, "    <testcase classname=\"");
    print_markup(s->cases, j->run->name[b]);
    fprintf(s->cases, ".%s\"", op);
    print_attribute(s->cases, "name", id);
    fprintf(s->cases, " time=\"%.6f\">", r->port_seconds);
    if (as == COUNT_FAILED) print_failure(s->cases, j->run, index, b, r);
    if (as == COUNT_SKIPPED) print_skipped(s->cases, r);
    fprintf(s->cases, "</testcase>\n");
    s->tests++;
    s->errors += r->v == ERROR;
    s->failures += as == COUNT_FAILED && r->v != ERROR;
    s->skipped += as == COUNT_SKIPPED;
    s->seconds += r->port_seconds;
}

static void add_results(void *own, int index, const result results[])
{
    junit_report *const j = own;
    for (int b = 0; b < j->run->backends; b++)
        if (report_counts(j->run, b, &results[b])) add_case(j, index, b, &results[b]);
}

/* A test case of its own in each suite: readers take what has no error for the whole. */
static void add_interruption(junit_report *j, int b, const tally *t)
{
    suite *const s = &j->of[b];
    fprintf(s->cases, "    <testcase");
    print_attribute(s->cases, "classname", j->run->name[b]);
    fprintf(s->cases,
            " name=\"interrupted\" time=\"0.000000\"><error type=\"INTERRUPTED\" message=\"interrupted: "
            "%d of %d cases judged\"/></testcase>\n",
            t->cases, j->run->cases);
    s->tests++;
    s->errors++;
}

static void print_property(FILE *f, const char *name, const char *value)
{
    fprintf(f, "<property");
    print_attribute(f, "name", name);
    print_attribute(f, "value", value);
    fprintf(f, "/>");
}

static void print_properties(const junit_report *j, int b, const tally *t)
{
    char text[64];
    const run_about *const a = j->run->about;
    fprintf(j->f, "    <properties>");
    print_property(j->f, "backend", j->run->text[b]);
    if (j->run->hello[b] && *j->run->hello[b]) print_property(j->f, "hello", j->run->hello[b]);
    if (j->run->absent[b]) print_property(j->f, "absent", j->run->absent[b]);
    if (t->interrupted) print_property(j->f, "interrupted", "true");
    if (a) {
        print_property(j->f, "version", a->version);
        print_property(j->f, "commit", a->commit);
        print_property(j->f, "processor", a->processor);
        snprintf(text, sizeof text, "%d of %d", a->shard, a->shards);
        print_property(j->f, "shard", text);
    }
    fprintf(j->f, "</properties>\n");
}

static void print_counts(FILE *f, const suite *s)
{
    fprintf(f, " tests=\"%d\" failures=\"%d\" errors=\"%d\" skipped=\"%d\" time=\"%.6f\"", s->tests, s->failures,
            s->errors, s->skipped, s->seconds);
}

static void print_suite(junit_report *j, int b, const tally *t)
{
    suite *const s = &j->of[b];
    char started[20] = "";
    fprintf(j->f, "  <testsuite");
    print_attribute(j->f, "name", j->run->name[b]);
    print_counts(j->f, s);
    if (j->run->about) {
        snprintf(started, sizeof started, "%.19s", j->run->about->started); /* without its zone, as the schema wants */
        print_attribute(j->f, "timestamp", started);
        print_attribute(j->f, "hostname", j->run->about->host);
    }
    fprintf(j->f, ">\n");
    print_properties(j, b, t);
    fflush(s->cases);
    fwrite(s->text, 1, s->length, j->f);
    fprintf(j->f, "  </testsuite>\n");
}

static void close_junit(void *own, const tally *t)
{
    junit_report *const j = own;
    suite all = {.tests = 0};
    for (int b = 0; b < j->run->backends && t->interrupted; b++) add_interruption(j, b, t);
    for (int b = 0; b < j->run->backends; b++) {
        all.tests += j->of[b].tests;
        all.failures += j->of[b].failures;
        all.errors += j->of[b].errors;
        all.skipped += j->of[b].skipped;
        all.seconds += j->of[b].seconds;
    }
    fprintf(j->f, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"verify\"");
    print_counts(j->f, &all);
    fprintf(j->f, ">\n");
    for (int b = 0; b < j->run->backends; b++) print_suite(j, b, t);
    fprintf(j->f, "</testsuites>\n");
    free_report(j);
}

const report_format report_as_junit = {"junit", "junit.xml", open_junit, add_results, close_junit, false, 1};
