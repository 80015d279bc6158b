/* See jsonl.h. */
#include "jsonl.h"

#include "by_op.h"
#include "printable.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* JSON has no infinity and no NaN: those become strings. */
static void print_json_number(FILE *f, const char *key, double v)
{
    if (fpclassify(v) == FP_ZERO && signbit(v)) {
        fprintf(f, ",\"%s\":-0.0", key); /* "-0" would be read as a whole number, which has no sign */
        return;
    }
    fprintf(f, isfinite(v) ? ",\"%s\":%.17g" : ",\"%s\":\"%f\"", key,
            isnan(v) ? (double)NAN : v); /* without its sign */
}

/* The key, and its value as a string. */
static void print_json_pair(FILE *f, const char *key, const char *text)
{
    fprintf(f, ",\"%s\":", key);
    print_json_text(f, text);
}

static const char *json_bool(bool b)
{
    return b ? "true" : "false";
}

/* ---- a result ---- */

static void print_json_output(FILE *f, const output_stats *s)
{
    fprintf(f, "{\"name\":\"%s\",\"dtype\":\"%s\",\"count\":%lld,\"outside\":%lld,\"undecided\":%lld,\"single\":%lld",
            s->name, ref_dtype_name(s->dtype), (long long)s->count, (long long)s->outside, (long long)s->undecided,
            (long long)s->single);
    fprintf(f, ",\"shape\":[");
    for (int d = 0; d < s->ndim; d++) fprintf(f, "%s%lld", d ? "," : "", (long long)s->shape[d]);
    fprintf(f, "],\"bad_rows\":%lld,\"bad_columns\":%lld", (long long)s->bad_rows, (long long)s->bad_columns);
    print_json_number(f, "budget", s->budget);
    if (s->bits_exact)
        fprintf(f, ",\"bits\":\"exact\"");
    else
        print_json_number(f, "bits", s->bits);
    fprintf(f, ",\"mutants\":%d,\"survivors\":%d", s->mutants, s->survivors);
    fprintf(f, ",\"decidable\":%lld,\"decided\":%lld,\"rows\":%lld,\"rows_open\":%lld,\"rows_blind\":%lld",
            (long long)s->decidable, (long long)s->decided, (long long)s->rows, (long long)s->rows_open,
            (long long)s->rows_blind);
    fprintf(f, ",\"vacuous\":%s,\"constant\":%s,\"bits_none\":%s", s->vacuous ? "true" : "false",
            s->constant ? "true" : "false", s->bits_none ? "true" : "false");
    if (s->worst >= 0) {
        fprintf(f, ",\"worst\":%lld", (long long)s->worst);
        print_json_number(f, "got", s->got);
        print_json_number(f, "truth", s->truth);
        print_json_number(f, "lower", s->lower);
        print_json_number(f, "upper", s->upper);
    }
    fputc('}', f);
}

/* A list of names, from "act, shared_act"; nothing for none. */
static void print_not_made(FILE *f, const char *names)
{
    if (!*names) return;
    fprintf(f, ",\"not_made\":[");
    for (const char *at = names; *at;) {
        int const length = (int)strcspn(at, ",");
        fprintf(f, "%s\"%.*s\"", at == names ? "" : ",", length, at);
        at += length + 2 * (at[length] == ',');
    }
    fputc(']', f);
}

static void print_mistakes(FILE *f, ref_set set)
{
    fputc('[', f);
    for (int q = 0, n = 0; ref_quirk(q); q++)
        if (ref_has(set, q)) fprintf(f, "%s\"%s\"", n++ ? "," : "", ref_quirk(q)->name);
    fputc(']', f);
}

/* Of a case that filters were tried on. */
static void print_senses(FILE *f, const result *r)
{
    const senses *const s = &r->sensed;
    if (r->statistical) fprintf(f, ",\"statistical\":true");
    if (!s->filters) return;
    fprintf(f, ",\"sensed\":{\"filters\":%d,\"rung\":\"%s\",\"filter\":\"%s\"", s->filters, s->rung, s->filter);
    print_json_number(f, "share", s->share);
    print_json_number(f, "t", s->t);
    print_json_number(f, "size", s->size);
    print_json_number(f, "sd", s->sd);
    fprintf(f, ",\"alone\":%s,\"words\":", s->alone ? "true" : "false");
    print_json_text(f, s->words);
    fprintf(f, ",\"known\":%d,\"shown\":", s->known);
    print_mistakes(f, s->sees);
    fprintf(f, ",\"population\":\"%s\"", s->population);
    print_json_number(f, "ratio", s->ratio);
    print_json_number(f, "ratio_t", s->ratio_t);
    print_json_number(f, "sense_seconds", s->seconds);
    fputc('}', f);
}

/* b: the backend. */
static void print_result(FILE *f, const report_run *run, int index, int b, const result *r)
{
    fprintf(f, "{\"id\":");
    print_json_text(f, run->id[index]);
    fprintf(f, ",\"backend\":");
    print_json_text(f, run->text[b]);
    fprintf(f, ",\"port\":");
    print_json_text(f, run->name[b]);
    if (run->given) print_json_pair(f, "given", run->given);
    fprintf(f, ",\"verdict\":\"%s\",\"constant\":%s,\"why\":", verdict_name(r->v), r->constant ? "true" : "false");
    print_json_text(f, r->why);
    fprintf(f, ",\"declared\":");
    print_json_text(f, r->declared);
    fprintf(f, ",\"assumed\":");
    print_json_text(f, r->assumed);
    print_json_number(f, "port_seconds", r->port_seconds);
    print_json_number(f, "reference_seconds", r->reference_seconds);
    fprintf(f, ",\"flips\":%lld,\"choice\":", (long long)r->flips);
    print_json_text(f, r->choice);
    if (r->choice_illegal) fprintf(f, ",\"choice_illegal\":true");
    if (r->printed) {
        fprintf(f, ",\"output\":");
        print_json_text(f, r->port_output);
        fprintf(f, ",\"printed\":%lld", r->printed);
    }
    fprintf(f, ",\"diagnosis\":[");
    for (int i = 0; i < r->diagnoses; i++) {
        const ref_quirk_row *const other = ref_quirk(r->diagnosis[i].other);
        fprintf(f, "%s{\"mistake\":\"%s\"", i ? "," : "", ref_quirk(r->diagnosis[i].quirk)->name);
        if (other) fprintf(f, ",\"and\":\"%s\"", other->name);
        fprintf(f, ",\"illegal\":%lld", (long long)r->diagnosis[i].illegal);
        print_json_number(f, "worst", r->diagnosis[i].worst);
        fprintf(f, ",\"undecided\":%lld", (long long)r->diagnosis[i].undecided);
        fputc('}', f);
    }
    fprintf(f, "],\"quirks_tried\":%d,\"blind\":", r->quirks_tried);
    print_mistakes(f, r->quirks_blind);
    if (r->quirks_seconds > 0) print_json_number(f, "quirks_seconds", r->quirks_seconds);
    fprintf(f, ",\"undiagnosed\":");
    print_json_text(f, r->undiagnosed);
    fprintf(f, ",\"would_pass\":");
    print_json_text(f, r->would_pass);
    if (*r->way_out) {
        fprintf(f, ",\"way_out\":");
        print_json_text(f, r->way_out);
    }
    print_not_made(f, r->not_made);
    print_senses(f, r);
    fprintf(f, ",\"outputs\":[");
    for (int i = 0; i < r->outputs; i++) {
        if (i) fputc(',', f);
        print_json_output(f, &r->output[i]);
    }
    fprintf(f, "]}\n");
}

/* ---- the run ---- */

static double longest_start(const report_run *run)
{
    double longest = 0;
    for (int b = 0; b < run->backends; b++) longest = fmax(longest, run->start_timeout[b]);
    return longest;
}

static void print_options(FILE *f, const report_run *run)
{
    const run_about *const a = run->about;
    fprintf(f, ",\"options\":{\"strict\":%s,\"proofs\":%s,\"diagnose\":%s,\"verbose\":%s", json_bool(a->strict),
            json_bool(a->proofs), json_bool(a->diagnose), json_bool(a->verbose));
    if (a->profile) fprintf(f, ",\"profile\":\"%s\"", a->profile);
    print_json_number(f, "timeout", a->timeout);
    print_json_number(f, "start_timeout", longest_start(run));
    fprintf(f, ",\"require\":[");
    for (int i = 0; i < a->requires; i++) {
        if (i) fputc(',', f);
        print_json_text(f, a->require[i]);
    }
    fprintf(f, "]}");
}

static void print_environment(FILE *f, const environment *e)
{
    fprintf(f, ",\"environment\":{");
    for (int i = 0; i < e->count; i++) {
        fprintf(f, "%s\"%.*s\":", i ? "," : "", (int)e->set[i].length, e->set[i].name);
        print_json_text(f, e->set[i].value);
    }
    fputc('}', f);
}

static void print_ports(FILE *f, const report_run *run)
{
    fprintf(f, ",\"ports\":[");
    for (int b = 0; b < run->backends; b++) {
        fprintf(f, "%s{\"backend\":", b ? "," : "");
        print_json_text(f, run->text[b]);
        print_json_pair(f, "port", run->name[b]);
        print_json_pair(f, "hello", run->hello[b] ? run->hello[b] : "");
        print_json_number(f, "start_timeout", run->start_timeout[b]);
        if (run->absent[b]) print_json_pair(f, "absent", run->absent[b]);
        fputc('}', f);
    }
    fputc(']', f);
}

/* The first line. */
static void print_run(FILE *f, const report_run *run)
{
    const run_about *const a = run->about;
    fprintf(f, "{\"run\":{\"format\":2");
    print_json_pair(f, "version", a->version);
    print_json_pair(f, "commit", a->commit);
    print_json_pair(f, "host", a->host);
    print_json_pair(f, "processor", a->processor);
    print_json_pair(f, "started", a->started);
    print_options(f, run);
    print_environment(f, &a->environment);
    print_ports(f, run);
    fprintf(f, ",\"shard\":%d,\"shards\":%d,\"cases\":%d,\"whole\":%d", a->shard, a->shards, run->cases, a->whole);
    print_json_pair(f, "ids", a->ids);
    fprintf(f, "}}\n");
}

/* Ports of which a case passed. */
static void print_port_sights(FILE *f, const report_run *run, const op_row *o)
{
    for (int b = 0, n = 0; b < run->backends; b++) {
        const sight *const s = &o->of[b].sight;
        if (!s->looked && !s->unlooked) continue;
        fprintf(f, "%s{\"port\":", n++ ? "," : "");
        print_json_text(f, run->name[b]);
        fprintf(f, ",\"looked\":\"%s\",\"seen\":", !s->looked ? "none" : s->unlooked ? "some" : "all");
        print_mistakes(f, s->seen);
        fputc('}', f);
    }
}

/* Of each op that somebody passed. */
static void print_sights(FILE *f, const by_op *table)
{
    fprintf(f, ",\"sees\":[");
    for (int i = 0, n = 0; i < table->ops; i++) {
        const op_row *const o = &table->op[i];
        op_sight const s = by_op_sight(table, i);
        if (!s.looked && s.whole) continue;
        fprintf(f, "%s{\"op\":", n++ ? "," : "");
        print_json_text(f, o->name);
        fprintf(f, ",\"seen\":%d,\"mistakes\":%d,\"whole\":%s,\"ports\":[", s.looked ? s.seen : 0, s.quirks,
                json_bool(s.whole));
        print_port_sights(f, table->run, o);
        fprintf(f, "]}");
    }
    fputc(']', f);
}

/* The last line. */
static void print_end(FILE *f, const by_op *table, const tally *t)
{
    const run_about *const a = table->run->about;
    fprintf(f, "{\"end\":{\"passed\":%d,\"failed\":%d,\"skipped\":%d,\"suspect\":%d,\"cases\":%d", t->passed, t->failed,
            t->skipped, t->suspect, t->cases);
    print_json_number(f, "run_seconds", t->seconds);
    fprintf(f, ",\"interrupted\":%s,\"shard\":%d,\"shards\":%d", json_bool(t->interrupted), a->shard, a->shards);
    print_sights(f, table);
    fprintf(f, "}}\n");
}

/* ---- the format ---- */

typedef struct {
    FILE *f;
    const report_run *run;
    by_op *table; /* NULL: this is no run */
} jsonl_report;

static void *open_jsonl(FILE *f, const report_run *run)
{
    jsonl_report *const j = malloc(sizeof *j);
    if (!j) return NULL;
    *j = (jsonl_report){f, run, run->about ? by_op_open(run) : NULL};
    if (run->about && !j->table) return free(j), NULL;
    if (run->about) print_run(f, run);
    return j;
}

static void print_results(void *own, int index, const result results[])
{
    const jsonl_report *const j = own;
    if (j->table) by_op_add(j->table, index, results);
    for (int b = 0; b < j->run->backends; b++) print_result(j->f, j->run, index, b, &results[b]);
}

static void close_jsonl(void *own, const tally *counts)
{
    const jsonl_report *const j = own;
    if (j->table) {
        print_end(j->f, j->table, counts);
        by_op_close(j->table);
    }
    free(own);
}

const report_format report_as_jsonl = {"jsonl", "results.jsonl", open_jsonl, print_results, close_jsonl, true, 2};
