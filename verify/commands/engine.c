/* See engine.h. */
#include "engine.h"

#include "engine/list_stages.h"
#include "engine/sequences.h"
#include "engine/tokens.h"
#include "options.h"
#include "report/text.h"
#include "report/screen.h"
#include "report/wrap.h"
#include "run/case.h"
#include "stage_lines.h"
#include "terminal_line.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the report ---- */

typedef struct {
    const engine_options *o;
    int passed, failed, skipped;
    int64_t sequence; /* its number, from 1; 0: there is one */
    double elements;
    stage_lines lines;
    char first_bad[400], first_suspect[300];
} progress;

/* What is judged, and of which sequence. */
static void name_row(const progress *p, const judged_row *row, char name[STAGE_NAME + 30])
{
    int const used = snprintf(name, STAGE_NAME, "%s", row->module);
    if (p->sequence) snprintf(name + used, 30, ", sequence %lld", (long long)p->sequence);
}

static void note_first_bad(progress *p, const judged_row *row)
{
    char name[STAGE_NAME + 30];
    const result *const r = row->r;
    const char *tensor = "";
    if (*p->first_bad) return;
    for (int i = 0; i < r->outputs && !*tensor; i++)
        if (r->output[i].outside) tensor = r->output[i].name;
    name_row(p, row, name);
    snprintf(p->first_bad, sizeof p->first_bad, "%s, %.150s", name, *tensor ? tensor : r->why);
}

static void count_result(progress *p, const judged_row *row)
{
    const result *const r = row->r;
    verdict_class const class = verdict_counts_as(r->v, p->o->strict);
    for (int i = 0; i < r->outputs; i++) p->elements += (double)r->output[i].count;
    p->passed += class == COUNT_PASSED;
    p->failed += class == COUNT_FAILED;
    p->skipped += class == COUNT_SKIPPED;
    if (class == COUNT_FAILED) note_first_bad(p, row);
    if (r->v == SUSPECT && !*p->first_suspect) name_row(p, row, p->first_suspect);
}

/* "y 12.6" of each output, bits. */
static void print_outputs(const result *r)
{
    for (int i = 0; i < r->outputs; i++) {
        const output_stats *const s = &r->output[i];
        printf("%s%s", i ? ", " : "  ", s->name);
        if (s->bits_exact)
            printf(" exact");
        else if (!s->bits_none)
            printf(" %.1f bits", s->bits);
    }
}

static void show_row(void *context, const judged_row *row)
{
    progress *const p = context;
    char name[STAGE_NAME + 30], text[STAGE_NAME + 70];
    terminal_line_clear();
    count_result(p, row);
    name_row(p, row, name);
    stage_lines_add(&p->lines, name, row->given, row->r);
    snprintf(text, sizeof text, row->p ? "%s (%s)" : "%s", name, row->p ? row->p->op->name : "");
    if (row->r->v == PASS && !p->o->verbose) {
        printf("%-18s %s", row->r->statistical ? "PASS(statistical)" : "PASS(proved)", text);
        print_outputs(row->r);
        putchar('\n');
    } else {
        report_text(stdout, text, "engine", NULL, row->r, p->o->verbose);
    }
    if (*row->given && (row->r->v != PASS || p->o->verbose)) printf("  given  %s\n", row->given);
    fflush(stdout);
}

static int finish(const progress *p, bool good, const complaint *why)
{
    if (*p->first_bad) printf("first stage outside: %s\n", p->first_bad);
    if (*p->first_suspect) printf("first SUSPECT: %s\n", p->first_suspect);
    printf("%.0f elements judged\n%d passed, %d failed, %d skipped\n", p->elements, p->passed, p->failed, p->skipped);
    if (!good) return usage_error("%s", why->text);
    if (p->failed || (p->o->strict && p->skipped)) return EXIT_BAD_VERDICT;
    return p->passed ? EXIT_GOOD : EXIT_NOTHING;
}

/* ---- the list ---- */

static void print_cost(const char *words, const char *names)
{
    char text[STAGE_WORDS + 40];
    snprintf(text, sizeof text, "%s%s", words, names);
    if (*names) print_wrapped(stdout, "             ", text, 15, SCREEN_COLUMNS);
}

/* A line a stage, and below it what its lack costs. */
static void print_listed(void *context, const listed_stage *s)
{
    (void)context;
    printf("%4d of %-4d %s\n", s->recorded, s->places, s->name);
    if (s->recorded == s->places) return;
    print_cost("without it wider: ", s->wider);
    print_cost("without it not judged: ", s->unjudged);
}

static int list_recording(const engine_run *e)
{
    complaint why;
    if (!list_stages(e, print_listed, NULL, &why)) return usage_error("%s", why.text);
    printf("%lld tensors recorded\n", (long long)e->recorded->count);
    return EXIT_GOOD;
}

/* ---- sequences ---- */

static bool find_sequences(const engine_run *e, const name_map *names, sequences *s, complaint *why)
{
    int64_t const tokens = e->m->n_tokens;
    if (names->each) return sequences_cut(names->each, tokens, s, why);
    return sequences_read(names->seqlens, e->recorded, tokens, s, why) &&
           tokens_check(e->m->tokens, 0, s->start[s->count], e->m->config, why);
}

/* One after the other, each as if the rest were padding. */
static bool judge_sequences(const engine_run *all, name_map *names, progress *p, complaint *why)
{
    sequences s;
    if (!*names->seqlens && !names->each) return judge_rows(all, why);
    names->tokens = all->m->n_tokens;
    bool good = find_sequences(all, names, &s, why);
    for (int64_t b = 0; good && b < s.count; b++) {
        model_run m = *all->m;
        engine_run one = *all;
        names->first_token = s.start[b], names->end_token = s.start[b + 1];
        m.tokens += names->first_token, m.n_tokens = names->end_token - names->first_token;
        one.m = &m, p->sequence = b + 1;
        good = !m.n_tokens || judge_rows(&one, why);
    }
    sequences_free(&s);
    return good;
}

/* ---- the command ---- */

bool read_sections(const char *value, const dsv3_config *c, sections *s, complaint *why)
{
    given_numerics given;
    complaint cause;
    if (!read_numerics_option(value, &given, why)) return false;
    if (sections_read(given.text, s, &cause) && sections_check(s, c, &cause)) return true;
    return refuse(why, "%s%s%s", given.file ? given.file : "", given.file ? ": " : "", cause.text);
}

static int judge_and_report(const engine_run *e, name_map *names, progress *p)
{
    complaint why, unwritten;
    files_in_use const in_use = {e->recorded, e->m->weights, {p->o->map, p->o->numerics}};
    int const code = stage_lines_open(&p->lines, p->o->jsonl, &in_use);
    if (code) return stage_lines_close(&p->lines, 0, 0, 0, &why), code;
    bool const good = judge_sequences(e, names, p, &why);
    bool const written = stage_lines_close(&p->lines, p->passed, p->failed, p->skipped, &unwritten);
    return finish(p, good && written, good ? &unwritten : &why);
}

int judge_recording(const engine_options *o, const model_run *m, const recording *r, name_map *names)
{
    complaint why;
    progress p = {.o = o};
    sections *const numerics = malloc(sizeof *numerics);
    if (!numerics) return usage_error("no memory for the declaration");
    engine_run const e = {m, r, names, numerics, o->diagnose ? WANT_DIAGNOSIS : 0, show_row, &p};
    int code = EXIT_USAGE;
    if (o->list)
        code = list_recording(&e);
    else if (!read_sections(o->numerics, m->config, numerics, &why))
        usage_error("%s", why.text);
    else
        code = judge_and_report(&e, names, &p);
    free(numerics);
    return code;
}
