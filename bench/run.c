/* bench run: times of ports on cases that the judge passes, beside the limits of the same minute. */
#include "anchor.h"
#include "bench.h"
#include "cost.h"
#include "files/program_name.h"
#include "paths.h"
#include "port/process.h"
#include "port/twin.h"
#include "printable.h"
#include "progress.h"
#include "rotation.h"
#include "subjects.h"
#include "sum.h"
#include "timing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    option_list backends;
    const char *format;
    int threads;
    bool unprepared, sum;
} settings;

static const option table[] = {
    {"--backend", OPTION_BACKENDS, offsetof(settings, backends), "B", "a port in C: avx512, plain or a path"},
    {"--format", OPTION_TEXT, offsetof(settings, format), "F", "text, csv, json, jsonl or md"},
    {"--sum", OPTION_FLAG, offsetof(settings, sum), NULL, "of all cases: their times beside their limits, last"},
    {"--threads", OPTION_WHOLE, offsetof(settings, threads), "N",
     "of the limits and of avx512; all processors unless said", 1, 64},
    {"--unprepared", OPTION_FLAG, offsetof(settings, unprepared), NULL, "ops are called without their prepare"},
    {NULL}};

static const syntax run_syntax = {
    "run", "usage: bench run [OPTION]... ID|@FILE...\n", table,
    "Every case is judged first; one that does not pass is not timed. A VACUOUS one is where the same case\n"
    "with stages=1 passes, and a line on stderr says so. There is no sum where a case has no time.\n"
    "@perf are the cases that come with bench, @layer those of a layer: bench run --sum @layer. Where DSV3_FAST\n"
    "would have made avx512 faster, a line on stderr says so.\n",
    "bench"};

/* ---- one case on one port ---- */

typedef struct {
    const char *id, *port;
    double seconds, least, most; /* a call: median, and the middle half of the samples */
    double floor;                /* at the limits of the same minute */
    cost needs;
    anchor limits;
    double prepare; /* seconds of one prepare, and of what the first call makes of experts: medians; 0: there is none */
    const char *verdict;
    const char *cpu; /* where it was measured, and on how many threads */
    int threads;
} timing_row;

static void measure(rotation *r, const loaded_port *loaded, timing_row *row)
{
    double seconds[SAMPLES];
    anchor const before = measure_anchor();
    rotation_samples(r, loaded, seconds);
    row->limits = anchor_between(before, measure_anchor());
    row->seconds = seconds[SAMPLES / 2], row->least = seconds[SAMPLES / 4],
    row->most = seconds[SAMPLES - 1 - SAMPLES / 4];
    row->needs = cost_of(r->p, r->data[0]);
    row->floor = floor_of(&row->needs, &row->limits);
}

/* ---- what is printed ---- */

static void print_head(const char *format)
{
    if (!strcmp(format, "json")) puts("[");
    if (!strcmp(format, "text"))
        printf("%-10s %11s %5s %9s %8s %11s %9s  case\n", "port", "time", "limit", "GFLOP/s", "GB/s", "prepare",
               "verdict");
    if (!strcmp(format, "md"))
        printf("| case | port | time | of the limit | GFLOP/s | GB/s | prepare | verdict |\n"
               "|---|---|---|---|---|---|---|---|\n");
    if (!strcmp(format, "csv"))
        printf("id,port,seconds,least,most,floor,operations,bytes,f32,bf16,memory,verdict,prepare,cpu,threads,unit\n");
}

/* first: no row was printed before. */
static void print_row(const timing_row *r, const char *format, bool first)
{
    double const share = r->floor / r->seconds, rate = r->needs.operations / r->seconds * 1e-9,
                 bytes = r->needs.bytes / r->seconds * 1e-9;
    if (!strcmp(format, "text"))
        printf("%-10s %8.1f us %5.2f %9.1f %8.1f %8.1f us %9s  %s\n", r->port, r->seconds * 1e6, share, rate, bytes,
               r->prepare * 1e6, r->verdict, r->id);
    if (!strcmp(format, "md"))
        printf("| `%s` | %s | %.1f us | %.2f | %.1f | %.1f | %.1f us | %s |\n", r->id, r->port, r->seconds * 1e6, share,
               rate, bytes, r->prepare * 1e6, r->verdict);
    if (!strcmp(format, "csv"))
        printf("\"%s\",%s,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%s,%.9g,\"%s\",%d,%s\n", r->id, r->port,
               r->seconds, r->least, r->most, r->floor, r->needs.operations, r->needs.bytes, r->limits.f32,
               r->limits.bf16, r->limits.memory, r->verdict, r->prepare, r->cpu, r->threads,
               unit_of(&r->needs, &r->limits));
    bool const json = !strcmp(format, "json");
    if (json && !first) puts(",");
    if (json || !strcmp(format, "jsonl")) {
        printf("{\"id\":\"%s\",\"port\":", r->id);
        print_json_text(stdout, r->port);
        printf(",\"seconds\":%.9g,\"least\":%.9g,\"most\":%.9g,\"floor\":%.9g,"
               "\"operations\":%.9g,\"bytes\":%.9g,"
               "\"f32\":%.9g,\"bf16\":%.9g,\"memory\":%.9g,\"prepare\":%.9g,\"verdict\":\"%s\",\"cpu\":\"%s\","
               "\"threads\":%d,\"unit\":\"%s\"}%s",
               r->seconds, r->least, r->most, r->floor, r->needs.operations, r->needs.bytes, r->limits.f32,
               r->limits.bf16, r->limits.memory, r->prepare, r->verdict, r->cpu, r->threads,
               unit_of(&r->needs, &r->limits), json ? "" : "\n");
    }
    fflush(stdout);
}

static void print_foot(const char *format, bool empty)
{
    if (!strcmp(format, "json")) puts(empty ? "]" : "\n]");
}

/* ---- the command ---- */

typedef struct {
    settings s;
    subjects *ports;
    case_list cases;
    time_sum sum[MAX_BACKENDS];
    progress at;
    char cpu[100];
    int printed;
    bool good; /* every case was timed on every port */
} bench_state;

static void time_port(bench_state *b, rotation *r, int i)
{
    complaint why;
    const result *const judged = &b->ports->verdict[i];
    timing_row row = {.id = r->p->id,
                      .port = b->ports->of[i].name,
                      .verdict = verdict_name(judged->v),
                      .cpu = b->cpu,
                      .threads = b->s.threads};
    if (!subject_passed(b->ports, i)) {
        subject_refused(b->ports, i, r->p, &why);
        progress_complain(&b->good, why.text);
        return;
    }
    const loaded_port *const loaded = &b->ports->loaded[i];
    bool const prepared = !b->s.unprepared && loaded->table.prepare && loaded->table.unprepare;
    if (has_experts(r->p)) rotation_first(r, loaded); /* what it touches is filled then */
    if (prepared) row.prepare = rotation_prepare(r, loaded);
    if (row.prepare < 0) {
        refuse(&why, "%s on %s can't be prepared", r->p->id, row.port);
        progress_complain(&b->good, why.text);
        return;
    }
    double const first = has_experts(r->p) && prepared ? rotation_first(r, loaded) : 0;
    measure(r, loaded, &row);
    row.prepare += fmax(0, first - row.seconds);
    progress_hide();
    if (judged->v == VACUOUS)
        fprintf(stderr, "bench: %s on %s is VACUOUS; with stages=1 it is PASS\n", row.id, row.port);
    print_row(&row, b->s.format, !b->printed++);
    sum_add(&b->sum[i], row.seconds, row.floor, &row.needs);
    if (beats_floor(row.seconds, row.floor, &why)) fprintf(stderr, "bench: %s on %s: %s\n", row.id, row.port, why.text);
    if (!strcmp(row.port, "avx512")) try_paths(r, &b->ports->of[i], loaded, prepared);
    if (prepared) rotation_unprepare(r, loaded);
}

static void time_ports(bench_state *b, const problem *p)
{
    complaint why;
    rotation *const r = calloc(1, sizeof *r);
    bool const there = r && rotation_open(r, p);
    for (int i = 0; there && i < b->ports->count; i++) time_port(b, r, i);
    if (!there) refuse(&why, "no memory to time %s", p->id), progress_complain(&b->good, why.text);
    if (r) rotation_close(r);
    free(r);
}

static void time_case(bench_state *b, const problem *p)
{
    complaint why;
    progress_say(&b->at, "judging", p->id);
    bool const passed = subjects_judge(b->ports, p, &why);
    progress_say(&b->at, "timing", p->id);
    if (passed || problem_calls(p) == 1)
        time_ports(b, p);
    else
        progress_complain(&b->good, why.text);
}

static void print_sum(bench_state *b, int i)
{
    complaint why;
    const char *const name = b->ports->of[i].name;
    sum_place const at = {name, b->cpu, b->s.threads, !b->printed};
    if (!sum_is_whole(&b->sum[i], b->cases.count, name, &why)) {
        progress_complain(&b->good, why.text);
        return;
    }
    sum_print(&b->sum[i], &at, b->s.format);
    b->printed++;
}

static void time_all(bench_state *b)
{
    print_head(b->s.format);
    b->at = progress_begin(b->cases.count);
    for (; b->at.done < b->cases.count; b->at.done++) time_case(b, b->cases.problem[b->at.done]);
    progress_hide();
    for (int i = 0; b->s.sum && i < b->ports->count; i++) print_sum(b, i);
    print_foot(b->s.format, !b->printed);
}

static bool check_format(const char *format, complaint *why)
{
    static const char *const formats[] = {"text", "csv", "json", "jsonl", "md"};
    for (int i = 0; i < 5; i++)
        if (!strcmp(format, formats[i])) return true;
    return refuse(why, "--format=%s: it is text, csv, json, jsonl or md", format);
}

int bench_run(int argc, char **argv)
{
    bench_state b = {.s = {.format = "text", .threads = processors()}, .good = true};
    operands ids;
    complaint why;
    int code;
    if (!options_read(&run_syntax, argc, argv, &b.s, &ids, &code)) return code;
    if (!ids.count)
        return fprintf(stderr, "bench: run needs a case id or @FILE, as in: %sbench run @perf\n", program_prefix()), 2;
    if (!b.s.backends.count) b.s.backends.item[b.s.backends.count++] = "avx512";
    twin_watch(); /* ports are loaded into this process */
    use_threads(b.s.threads);
    processor_name(b.cpu, sizeof b.cpu);
    bool const good = check_format(b.s.format, &why) && subjects_cases(&b.cases, ids.count, ids.word, &why) &&
                      (b.ports = subjects_open(&b.s.backends, NULL, &why)) && subjects_load(b.ports, &why);
    if (!good) progress_complain(&b.good, why.text);
    b.good = good && anchors_open(b.s.threads);
    if (b.good) {
        time_all(&b);
        anchors_close();
    }
    subjects_close(b.ports);
    cases_free(&b.cases);
    return b.good ? 0 : 2;
}
