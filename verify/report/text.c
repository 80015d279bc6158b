/* See text.h. */
#include "text.h"

#include "files/output_file.h"
#include "files/program_name.h"
#include "screen.h"
#include "table.h"
#include "witness.h"
#include "wrap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* "PASS(proved)" rests on theorems alone. */
static void print_verdict(char *text, size_t cap, const result *r)
{
    bool const decided = r->v == PASS || r->v == FAIL || r->v == CONVENTION;
    snprintf(text, cap, "%s%s%s", verdict_name(r->v),
             !decided         ? ""
             : r->statistical ? "(statistical)"
                              : "(proved)",
             r->constant && r->v == PASS ? " CONSTANT" : "");
}

static void print_bits(char *text, size_t cap, const output_stats *s)
{
    if (s->bits_exact)
        snprintf(text, cap, "exact");
    else if (s->bits_none)
        snprintf(text, cap, s->dtype == DSV3_I32 ? "a choice" : "no bits: the truth is 0");
    else
        snprintf(text, cap, s->bits < 0 ? "no bits: nothing is resolved" : "%.1f bits", s->bits);
}

static void print_output_line(FILE *f, const output_stats *s)
{
    char bits[32];
    print_bits(bits, sizeof bits, s);
    fprintf(f, "  %s %.0f %% of budget, %s, %.0f %% single", s->name, 100 * s->budget, bits,
            100 * (double)s->single / (double)s->count);
    if (s->undecided) fprintf(f, ", %lld undecided", (long long)s->undecided);
    if (s->constant) fprintf(f, ", constant: no mutant differs");
}

/* "[2, 0, 3]" */
static void describe_index(const output_stats *s, int64_t i, char *text, size_t cap)
{
    int64_t index[DSV3_MAX_NDIM];
    for (int d = s->ndim - 1; d >= 0; d--) {
        index[d] = i % s->shape[d];
        i /= s->shape[d];
    }
    int n = snprintf(text, cap, "[");
    for (int d = 0; d < s->ndim; d++)
        n += snprintf(text + n, cap - (size_t)n, "%s%lld", d ? ", " : "", (long long)index[d]);
    snprintf(text + n, cap - (size_t)n, "]");
}

static void print_tensor(FILE *f, const output_stats *s)
{
    char text[300];
    int n = snprintf(text, sizeof text, "%s (", s->name);
    for (int d = 0; d < s->ndim; d++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%lld", d ? ", " : "", (long long)s->shape[d]);
    snprintf(text + n, sizeof text - (size_t)n,
             ") %s: %lld of %lld elements are not legal, in %lld rows and %lld columns", ref_dtype_name(s->dtype),
             (long long)s->outside, (long long)s->count, (long long)s->bad_rows, (long long)s->bad_columns);
    print_wrapped(f, "", text, 2, SCREEN_COLUMNS);
}

static void print_worst(FILE *f, const output_stats *s)
{
    char index[200], text[300], off[60] = "off beyond measure";
    print_tensor(f, s);
    describe_index(s, s->worst, index, sizeof index);
    snprintf(text, sizeof text, "%s  got %.9g (%a)", index, s->got, s->got);
    print_wrapped(f, "    worst ", text, 10, SCREEN_COLUMNS);
    fprintf(f, "    truth %.17g\n", s->truth);
    if (isfinite(s->budget))
        snprintf(off, sizeof off, "off by %.3g times what is allowed", s->budget);
    else if (s->lower == s->upper)
        snprintf(off, sizeof off, "one value is legal");
    snprintf(text, sizeof text, "%.9g to %.9g: %s", s->lower, s->upper, off);
    print_wrapped(f, "    legal ", text, 10, SCREEN_COLUMNS);
}

/* What a quirk explains of so many illegal elements, most of them. */
static void describe_explanation(const diagnosis_row *d, int64_t outside, char *text, size_t cap)
{
    const ref_quirk_row *const q = ref_quirk(d->quirk), *const other = ref_quirk(d->other);
    if (other)
        snprintf(text, cap, "%s and %s together explain all %lld: %s; and %s", q->name, other->name, (long long)outside,
                 q->summary, other->summary);
    else if (d->illegal)
        snprintf(text, cap, "%s would explain all but %lld of %lld: %s", q->name, (long long)d->illegal,
                 (long long)outside, q->summary);
    else
        snprintf(text, cap, "%s explains all %lld: %s", q->name, (long long)outside, q->summary);
}

/* Names no quirk but one of which nothing can be known: it would read NaN here, and a NaN came. */
static void describe_no_explanation(const result *r, char *text, size_t cap)
{
    const diagnosis_row *const d = &r->diagnosis[0];
    if (r->v == NOT_A_NUMBER && d->undecided && d->undecided == d->illegal)
        snprintf(text, cap, "no known mistake explains it; %s could have any value here: try another fill",
                 ref_quirk(d->quirk)->name);
    else
        snprintf(text, cap, "no known mistake explains it");
}

/* The quirks that explain everything, or else the one that explains most. */
static void print_diagnosis(FILE *f, const result *r)
{
    char text[600];
    int64_t outside = 0;
    for (int i = 0; i < r->outputs; i++) outside += r->output[i].outside;
    if (!result_is_diagnosed(r)) {
        describe_no_explanation(r, text, sizeof text);
        print_wrapped(f, "  mistake", text, 11, SCREEN_COLUMNS);
        return;
    }
    for (int i = 0; i < r->diagnoses && r->diagnosis[i].illegal == r->diagnosis[0].illegal; i++) {
        describe_explanation(&r->diagnosis[i], outside, text, sizeof text);
        print_wrapped(f, i ? "" : "  mistake", text, 11, SCREEN_COLUMNS);
    }
}

/* Neither balls nor filters show it. */
static bool is_blind_to(const result *r, int q)
{
    return ref_has(r->quirks_blind, q) && !ref_has(r->sensed.sees, q);
}

static int count_blind(const result *r)
{
    int n = 0;
    for (int q = 0; ref_quirk(q); q++) n += is_blind_to(r, q);
    return n;
}

enum { SUSPECT_SIGMAS = 6 };

/* What filters make of an illegal answer, or of what there is of one. */
static void print_senses(FILE *f, const result *r)
{
    char text[300];
    if (!r->sensed.filters || r->statistical) return;
    const char *const where = r->v == UNWRITTEN ? "where it wrote: " : r->v == NOT_A_NUMBER ? "in its numbers: " : "";
    if (fabs(r->sensed.t) < SUSPECT_SIGMAS && r->sensed.alone)
        snprintf(text, sizeof text, "%s%s, %.1f sigmas", where,
                 r->v == FAIL ? "too little to tell what it is" : "no mistake", fabs(r->sensed.t));
    else
        snprintf(text, sizeof text, "%s%s%s", where, r->sensed.words,
                 r->sensed.alone ? ": that is all" : ", and more that this doesn't explain");
    print_wrapped(f, "  measured", text, 11, SCREEN_COLUMNS);
}

/* How many known mistakes the case sees, and for each that it can't, a case that does. */
static void print_sight(FILE *f, const char *id, const result *r)
{
    char text[400];
    if (r->quirks_seconds > 0) {
        snprintf(text, sizeof text, "not counted, it takes about %.0f s: %sverify show '%.300s'", r->quirks_seconds,
                 program_prefix(), id);
        print_wrapped(f, "  sees", text, 11, SCREEN_COLUMNS);
    }
    if (!r->quirks_tried) return;
    snprintf(text, sizeof text, "%d of %d known mistakes", r->quirks_tried - count_blind(r), r->quirks_tried);
    print_wrapped(f, "  sees", text, 11, SCREEN_COLUMNS);
    for (int q = 0, first = 1; ref_quirk(q); q++) {
        if (!is_blind_to(r, q)) continue;
        const char *const seen = witness_of(q);
        snprintf(text, sizeof text, "%s%s%s", ref_quirk(q)->name, seen ? ", seen by " : "", seen ? seen : "");
        print_wrapped(f, first ? "  blind to" : "", text, 11, SCREEN_COLUMNS);
        first = 0;
    }
}

/* What the port printed: its first lines, and how much it was. The bar keeps a line from being a command to who reads the log. */
static void print_port_output(FILE *f, const result *r)
{
    enum { LINES = 5, COLUMNS = 160 };
    const char *at = r->port_output;
    for (int i = 0; i < LINES && *at; i++) {
        int const length = (int)strcspn(at, "\n");
        fprintf(f, "%-11s| %.*s%s\n", i ? "" : "  output", length < COLUMNS ? length : COLUMNS, at,
                length > COLUMNS ? "..." : "");
        at += length + (at[length] == '\n');
    }
    if (*at) fprintf(f, "%-11s(of %lld bytes that it printed)\n", "", r->printed);
}

/* What would have made the answer of a port that declares nothing legal. */
static void print_would_pass(FILE *f, const result *r)
{
    char text[80];
    if (!*r->would_pass) return;
    snprintf(text, sizeof text, "would pass if it declared: %s", r->would_pass);
    print_wrapped(f, "  hint", text, 11, SCREEN_COLUMNS);
}

static bool is_bad(const result *r)
{
    return verdict_counts_as(r->v, true) == COUNT_FAILED;
}

static void print_why(FILE *f, const result *r)
{
    if (*r->why) print_wrapped(f, "  why", r->why, 11, SCREEN_COLUMNS);
    if (*r->way_out) print_wrapped(f, "  way out", r->way_out, 11, SCREEN_COLUMNS);
}

static void print_block(FILE *f, const char *id, const repro *again, const result *r)
{
    print_why(f, r);
    print_port_output(f, r);
    for (int i = 0; i < r->outputs; i++)
        if (r->output[i].outside) print_worst(f, &r->output[i]);
    if (r->diagnoses) print_diagnosis(f, r);
    if (r->v == FAIL || r->v == NOT_A_NUMBER || r->v == UNWRITTEN) print_senses(f, r);
    if (*r->undiagnosed) print_wrapped(f, "  mistake", r->undiagnosed, 11, SCREEN_COLUMNS);
    print_would_pass(f, r);
    if (*r->choice) print_wrapped(f, r->choice_illegal ? "  choice" : "  flip", r->choice, 11, SCREEN_COLUMNS);
    if (*r->not_made && is_bad(r)) print_wrapped(f, "  not made", r->not_made, 11, SCREEN_COLUMNS);
    if (r->outputs) {
        print_wrapped(f, "  declared", *r->declared ? r->declared : "nothing", 11, SCREEN_COLUMNS);
        if (*r->assumed) print_wrapped(f, "  assumed", r->assumed, 11, SCREEN_COLUMNS);
    }
    print_sight(f, id, r);
    if (!again) return;
    fprintf(f, "  repro    %s'%s'%s\n", again->before, id, again->behind);
    if (r->outputs) fprintf(f, "  next     %s show '%s'\n", again->program, id);
}

/* The verdict and what the outputs came to. */
static void describe(FILE *f, const result *r)
{
    bool const bad = is_bad(r);
    if (!bad && r->v != SKIP && r->v != VACUOUS)
        for (int i = 0; i < r->outputs; i++) print_output_line(f, &r->output[i]);
    if (!bad && r->sensed.filters) fprintf(f, "  %.1f sigmas", fabs(r->sensed.t));
    if (!bad && r->flips) fprintf(f, "  %lld flips", (long long)r->flips);
    if (r->v == SKIP) fprintf(f, "  %s", r->why);
    if (!bad && *r->not_made) fprintf(f, "  not made: %s", r->not_made);
}

/* "port         PASS(proved)  id"; columns: a long id stays within them if it can. */
static void describe_case(char *text, size_t cap, const char *backend, const result *r, const char *id, int columns)
{
    char verdict_text[40];
    print_verdict(verdict_text, sizeof verdict_text, r);
    int const pad = 12 + 1 + 13 + 1 + (int)strlen(id) <= columns ? 13 : 0;
    snprintf(text, cap, "%-12s %-*s %s", backend, pad, verdict_text, id);
}

/* The case is broken into lines too. */
static void print_narrow(FILE *f, const char *named, const char *text)
{
    char label[100], rest[1400];
    int const first = (int)strcspn(named, " ");
    snprintf(label, sizeof label, "%.*s ", first, named);
    snprintf(rest, sizeof rest, "%s%s", named + first + strspn(named + first, " "), text);
    print_wrapped(f, label, rest, 4, SCREEN_COLUMNS);
}

/* What the outputs came to, broken into lines behind the case. */
static void print_outcome(FILE *f, const char *named, const result *r)
{
    char *text = NULL;
    size_t bytes;
    FILE *const whole = open_memstream(&text, &bytes);
    if (!whole) return;
    describe(whole, r);
    fclose(whole);
    if (columns_within(f, SCREEN_COLUMNS) == SCREEN_COLUMNS)
        print_wrapped(f, named, text, 4, SCREEN_COLUMNS);
    else
        print_narrow(f, named, text);
    free(text);
}

void report_text(FILE *f, const char *id, const char *backend, const repro *again, const result *r, bool verbose)
{
    char named[700];
    describe_case(named, sizeof named, backend, r, id, verbose ? 100 : columns_within(f, SCREEN_COLUMNS));
    if (verbose) {
        fputs(named, f);
        describe(f, r);
        fputc('\n', f);
    } else {
        print_outcome(f, named, r);
    }
    if (r->v == VACUOUS && !verbose) print_why(f, r);
    if (is_bad(r) || (verbose && r->v != SKIP)) print_block(f, id, again, r);
}

void report_block(FILE *f, print_quoted *print, const report_run *run, int index, int b, const result *r)
{
    char *block = NULL;
    size_t length = 0;
    FILE *const text = open_memstream(&block, &length);
    if (!text) return;
    report_text(text, run->id[index], run->name[b], &run->again[b], r, true);
    if (!output_end(text)) print(f, block);
    free(block);
}

/* ---- the format ---- */

/* What fails is told in full, then by a line each, then counted. */
enum { MOST_IN_FULL = 3, MOST_BY_A_LINE = 20 };

typedef struct {
    FILE *f;
    const report_run *run;
    by_op *table;
    bool lines; /* some were printed */
    bool whole; /* the table holds every result */
    int failed;
} text_report;

/* Where and by what: "verify 0.1.0 on host: processor". */
static void print_start(FILE *f, const run_about *a)
{
    char text[400], cut[100];
    snprintf(text, sizeof text, "verify %s%s%.18s%s on %s: %s", a->version, *a->commit ? " (" : "", a->commit,
             *a->commit ? ")" : "", a->host, a->processor);
    screen_cut(cut, sizeof cut, text, columns_within(f, SCREEN_COLUMNS));
    fprintf(f, "%s\n", cut);
    fflush(f);
}

/* What of the whole run this is. */
static void print_share(FILE *f, const report_run *run)
{
    const run_about *const a = run->about;
    fprintf(f, "shard %d of %d: %d of %d cases\n", a->shard, a->shards, run->cases, a->whole);
}

static void *open_text(FILE *f, const report_run *run)
{
    text_report *const t = malloc(sizeof *t);
    by_op *const table = by_op_open(run);
    if (t && table) {
        *t = (text_report){.f = f, .run = run, .table = table, .whole = true};
        if (run->about && run->about->shards > 1) print_share(f, run);
        if (table->rows && run->about) print_start(f, run->about);
        return t;
    }
    free(t);
    if (table) by_op_close(table);
    return NULL;
}

/* What doesn't fail is a number in the table, unless a line a case is asked for or there are no rows. */
static bool has_line(const text_report *t, int b, const result *r)
{
    if (!report_counts(t->run, b, r)) return false;
    return t->run->verbose || !t->table->rows || is_bad(r);
}

/* In full, unless there were many before it. */
static void print_case(text_report *t, int index, int b, const result *r)
{
    const report_run *const run = t->run;
    char named[700], cut[100];
    bool const bad = is_bad(r);
    t->failed += bad;
    if (run->verbose || !bad || t->failed <= MOST_IN_FULL) {
        report_text(t->f, run->id[index], run->name[b], &run->again[b], r, run->verbose);
    } else if (t->failed <= MOST_IN_FULL + MOST_BY_A_LINE) {
        int const columns = columns_within(t->f, SCREEN_COLUMNS);
        describe_case(named, sizeof named, run->name[b], r, run->id[index], columns);
        screen_cut(cut, sizeof cut, named, columns);
        if (columns < SCREEN_COLUMNS)
            print_narrow(t->f, named, "");
        else
            fprintf(t->f, "%s\n", cut);
    }
    t->lines = true;
}

static void print_results(void *own, int index, const result results[])
{
    text_report *const t = own;
    t->whole = by_op_add(t->table, index, results) && t->whole;
    for (int b = 0; b < t->run->backends; b++)
        if (has_line(t, b, &results[b])) print_case(t, index, b, &results[b]);
}

/* ---- its end ---- */

/* How many failures were only counted. */
static void print_uncounted(const text_report *t)
{
    int const more = t->failed - MOST_IN_FULL - MOST_BY_A_LINE;
    if (t->run->verbose || more <= 0) return;
    fprintf(t->f, "and %d more failures\n", more);
}

/* Ports that can't run here: each with its reason if it was asked for, else all in one line. */
static void print_absent(const text_report *t)
{
    const report_run *const run = t->run;
    char text[4096] = "", names[1024] = "";
    int used = 0, named = 0;
    for (int b = 0; b < run->backends; b++) {
        if (!run->absent[b]) continue;
        if (!run->known) {
            snprintf(text, sizeof text, "%s: %s", run->name[b], run->absent[b]);
            print_wrapped(t->f, "", text, 0, SCREEN_COLUMNS);
            continue;
        }
        const char *const before = used ? ", " : "not here: ";
        used +=
            snprintf(text + used, sizeof text - (size_t)used, "%s%s (%.200s)", before, run->name[b], run->absent[b]);
        named += snprintf(names + named, sizeof names - (size_t)named, "%s%s", before, run->name[b]);
    }
    if (used && used <= SCREEN_COLUMNS) print_wrapped(t->f, "", text, 0, SCREEN_COLUMNS);
    if (used <= SCREEN_COLUMNS) return;
    snprintf(text, sizeof text, "%s (--backend=NAME says why)", names);
    print_wrapped(t->f, "", text, 0, SCREEN_COLUMNS);
}

/* Where there is more to read, and what to do next. */
static void print_ways(const text_report *t, const tally *counts)
{
    const report_run *const run = t->run;
    if (counts->interrupted) fprintf(t->f, "interrupted: %d of %d cases were judged\n", counts->cases, run->cases);
    if (run->kept) fprintf(t->f, "full report: %s\n", run->kept);
    if (!run->kept && t->failed > MOST_IN_FULL)
        print_wrapped(t->f, "", "full report: add --format=text,jsonl --out=DIR, or --verbose", 0, SCREEN_COLUMNS);
    if (run->known && counts->passed && !counts->failed)
        print_wrapped(t->f, "", "next: judge your own port: docs/porting.md, or verify run --help", 0, SCREEN_COLUMNS);
}

static void close_screen(const text_report *t, const tally *counts)
{
    if (t->lines) fputc('\n', t->f);
    screen_print(t->f, t->table);
    if (!t->whole) fputs("(no memory for all of the table)\n", t->f);
    fputc('\n', t->f);
    if (counts->suspect) fprintf(t->f, "(%d SUSPECT)\n", counts->suspect);
    report_verdicts(t->f, counts, CONVENTION);
    print_ways(t, counts);
    print_absent(t);
    report_closing(t->f, counts);
}

static void close_text(void *own, const tally *counts)
{
    text_report *const t = own;
    print_uncounted(t);
    if (t->table->rows && !t->run->verbose) {
        close_screen(t, counts);
    } else {
        if (t->lines && table_has_rows(t->table)) fputc('\n', t->f);
        table_print(t->f, t->table);
        if (!t->whole) fputs("(no memory for all of the table)\n", t->f);
        print_ways(t, counts);
        report_summary(t->f, t->run->name, t->run->absent, t->run->backends, counts);
    }
    by_op_close(t->table);
    free(t);
}

const report_format report_as_text = {"text", NULL, open_text, print_results, close_text, true, 0};
