/* See summary.h. */
#include "summary.h"

void tally_add(tally *t, int which, const result *r, bool strict)
{
    switch (verdict_counts_as(r->v, strict)) {
    case COUNT_PASSED: t->passed++; break;
    case COUNT_FAILED: t->failed++; break;
    case COUNT_SKIPPED: t->skipped++; break;
    }
    t->suspect += r->v == SUSPECT;
    t->by_backend[which][r->v]++;
    for (int i = 0; i < r->outputs; i++) t->elements[which] += (double)r->output[i].count;
    if (r->v == SKIP && !*t->skip_why[which]) snprintf(t->skip_why[which], sizeof t->skip_why[which], "%.159s", r->why);
}

static void print_backend_row(FILE *f, const char *backend, const char *absent, const tally *t, int b)
{
    int ran = 0;
    for (int v = 0; v < VERDICTS; v++) ran += v != SKIP ? t->by_backend[b][v] : 0;
    if (absent && !ran) {
        fprintf(f, "%s: %s\n", backend, absent);
        return;
    }
    fprintf(f, "%-12s ", backend);
    if (!ran) {
        fprintf(f, "%s\n", t->skip_why[b]);
        return;
    }
    for (int v = 0; v < VERDICTS; v++)
        if (t->by_backend[b][v]) fprintf(f, "%d %s, ", t->by_backend[b][v], verdict_name((verdict)v));
    fprintf(f, "%.0f elements judged\n", t->elements[b]);
}

void report_verdicts(FILE *f, const tally *t, verdict v)
{
    int n = 0;
    for (int b = 0; b < MAX_BACKENDS; b++) n += t->by_backend[b][v];
    if (n) fprintf(f, "(%d %s)\n", n, verdict_name(v));
}

void report_closing(FILE *f, const tally *t)
{
    if (t->shards > 1) fprintf(f, "shard %d of %d: ", t->shard, t->shards);
    fprintf(f, "%d passed, %d failed, %d skipped\n", t->passed, t->failed, t->skipped);
}

void report_summary(FILE *f, const char *const backend[], const char *const absent[], int backends, const tally *t)
{
    fputc('\n', f);
    for (int b = 0; b < backends; b++) print_backend_row(f, backend[b], absent[b], t, b);
    if (t->suspect) fprintf(f, "(%d SUSPECT)\n", t->suspect);
    report_closing(f, t);
}
