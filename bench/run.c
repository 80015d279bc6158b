/* bench run: times of ports on cases that the judge passes, beside the limits of the same minute. */
#include "anchor.h"
#include "bench.h"
#include "case/expand.h"
#include "case/fill.h"
#include "commands/options.h"
#include "cost.h"
#include "port/load.h"
#include "port/process.h"
#include "run/case.h"
#include "port/twin.h"
#include "timing.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLES = 7, MOST_COPIES = 512 };

static double const sample_seconds = 0.04;
static size_t const rotated = (size_t)192 << 20; /* bytes of weights and caches that a round passes through */

typedef struct {
    option_list backends;
    const char *format;
    int threads;
    bool unprepared;
} settings;

static const option table[] = {
    {"--backend", OPTION_BACKENDS, offsetof(settings, backends), "B", "a port in C: avx512, plain or a path"},
    {"--format", OPTION_TEXT, offsetof(settings, format), "F", "text, csv, jsonl or md"},
    {"--threads", OPTION_WHOLE, offsetof(settings, threads), "N",
     "of the limits and of avx512; all processors unless said", 1, 64},
    {"--unprepared", OPTION_FLAG, offsetof(settings, unprepared), NULL, "ops are called without their prepare"},
    {NULL}};

static const syntax run_syntax = {
    "run", "usage: bench run [OPTION]... ID|@FILE...\n", table,
    "Every case is judged first; one that does not pass is not timed. A VACUOUS one is, and says so.\n"};

/* ---- one case on one port ---- */

typedef struct {
    const char *id, *port;
    double seconds, least, most; /* a call: median, and the middle half of the samples */
    double floor;                /* at the limits of the same minute */
    double prepare;              /* seconds of one prepare: median; 0: there is none */
    cost needs;
    anchor limits;
    const char *verdict;
} timing_row;

/* Tensors of a call; copies share what is small. */
typedef struct {
    const problem *p;
    int copies;
    void **data[MOST_COPIES];
    void *io[MOST_COPIES];
} rotation;

static bool is_rotated(const tensor_info *t)
{
    return t->row->kind != TENSOR_OUT && t->bytes >= 4096;
}

/* Memory at a multiple of 64, as frameworks give it. */
static void *copy_of(const void *data, size_t bytes)
{
    void *const copy = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (copy) memcpy(copy, data, bytes);
    return copy;
}

/* One copy; what isn't rotated is that of the first. */
static bool add_copy(rotation *r, void *const filled[])
{
    void **const copy = r->data[r->copies] = calloc((size_t)r->p->tensors + 1, sizeof *copy);
    for (int i = 0; copy && i < r->p->tensors; i++) {
        bool const shared = r->copies > 0 && !is_rotated(&r->p->tensor[i]);
        copy[i] = shared ? r->data[0][i] : copy_of(filled[i], r->p->tensor[i].bytes);
        if (!copy[i]) return false;
    }
    r->io[r->copies] = copy ? problem_bind(r->p, copy) : NULL;
    return r->io[r->copies] && ++r->copies;
}

static bool open_rotation(rotation *r, const problem *p)
{
    size_t bytes = 0;
    void **filled;
    *r = (rotation){.p = p};
    bool good = tensors_open(p, &filled);
    for (int i = 0; i < p->tensors; i++) bytes += is_rotated(&p->tensor[i]) ? p->tensor[i].bytes : 0;
    int const wanted = bytes ? (int)fmin((double)(rotated / bytes) + 1, MOST_COPIES) : 1;
    while (good && r->copies < wanted) good = add_copy(r, filled);
    tensors_close(p, filled);
    return good;
}

static void close_rotation(rotation *r)
{
    for (int c = r->copies; c-- > 0;) {
        for (int i = 0; i < r->p->tensors; i++)
            if (!c || is_rotated(&r->p->tensor[i])) free(r->data[c][i]);
        free(r->io[c]);
        free(r->data[c]);
    }
}

/* Each copy is prepared; seconds of one, or negative: it can't be. */
static double prepare(const rotation *r, const loaded_port *loaded)
{
    double seconds[MOST_COPIES];
    for (int c = 0; c < r->copies; c++) {
        double const from = now();
        if (loaded->table.prepare(loaded->ctx, r->p->op->name, r->p->prob.bytes, r->io[c]) != DSV3_OK) return -1;
        if (loaded->table.sync) loaded->table.sync(loaded->ctx);
        seconds[c] = now() - from;
    }
    sort_values(seconds, r->copies);
    return seconds[r->copies / 2];
}

static void unprepare(const rotation *r, const loaded_port *loaded)
{
    for (int c = 0; c < r->copies; c++)
        loaded->table.unprepare(loaded->ctx, r->p->op->name, r->p->prob.bytes, r->io[c]);
}

/* Seconds of n calls. */
static double call(const rotation *r, const loaded_port *loaded, int64_t n, int64_t *at)
{
    double const from = now();
    for (int64_t i = 0; i < n; i++, ++*at) {
        op_call(r->p->op, &loaded->table, loaded->ctx, r->p->prob.bytes, r->io[*at % r->copies]);
        if (loaded->table.sync) loaded->table.sync(loaded->ctx);
    }
    return now() - from;
}

static void measure(const rotation *r, const loaded_port *loaded, timing_row *row)
{
    double seconds[SAMPLES];
    int64_t at = 0;
    call(r, loaded, 1, &at);
    double const once = call(r, loaded, 1, &at);
    int64_t const n = (int64_t)fmax(1, fmin(sample_seconds / once, 1e6));
    anchor const before = measure_anchor();
    call(r, loaded, n, &at);
    for (int i = 0; i < SAMPLES; i++) seconds[i] = call(r, loaded, n, &at) / (double)n;
    row->limits = anchor_between(before, measure_anchor());
    sort_values(seconds, SAMPLES);
    row->seconds = seconds[SAMPLES / 2], row->least = seconds[SAMPLES / 4],
    row->most = seconds[SAMPLES - 1 - SAMPLES / 4];
    row->needs = cost_of(r->p, r->data[0]);
    row->floor = floor_of(&row->needs, &row->limits);
}

/* ---- what is printed ---- */

static void print_head(const char *format)
{
    if (!strcmp(format, "text"))
        printf("%-10s %11s %5s %9s %8s %11s %9s  case\n", "port", "time", "limit", "GFLOP/s", "GB/s", "prepare",
               "verdict");
    if (!strcmp(format, "md"))
        printf("| case | port | time | of the limit | GFLOP/s | GB/s | prepare | verdict |\n"
               "|---|---|---|---|---|---|---|---|\n");
    if (!strcmp(format, "csv"))
        printf("id,port,seconds,least,most,floor,operations,bytes,f32,bf16,memory,verdict,prepare\n");
}

static void print_row(const timing_row *r, const char *format)
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
        printf("\"%s\",%s,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%s,%.9g\n", r->id, r->port, r->seconds, r->least,
               r->most, r->floor, r->needs.operations, r->needs.bytes, r->limits.f32, r->limits.bf16, r->limits.memory,
               r->verdict, r->prepare);
    if (!strcmp(format, "jsonl"))
        printf("{\"id\":\"%s\",\"port\":\"%s\",\"seconds\":%.9g,\"least\":%.9g,\"most\":%.9g,\"floor\":%.9g,"
               "\"operations\":%.9g,\"bytes\":%.9g,"
               "\"f32\":%.9g,\"bf16\":%.9g,\"memory\":%.9g,\"prepare\":%.9g,\"verdict\":\"%s\"}\n",
               r->id, r->port, r->seconds, r->least, r->most, r->floor, r->needs.operations, r->needs.bytes,
               r->limits.f32, r->limits.bf16, r->limits.memory, r->prepare, r->verdict);
    fflush(stdout);
}

/* ---- the command ---- */

/* The judge's verdict on this build. */
static result judge(const problem *p, const backend *b)
{
    port_limits const limits = {.timeout = 600};
    port *const asked = port_open(b, limits);
    result r;
    run_case(p, NULL, (port *const[]){asked}, 1, 0, &r);
    port_close(asked);
    return r;
}

static bool run_one(const problem *p, const backend *b, const settings *s)
{
    result const judged = judge(p, b);
    if (judged.v != PASS && judged.v != VACUOUS)
        return fprintf(stderr, "bench: %s on %s is %s, and only what passes is timed: %s\n", p->id, b->name,
                       verdict_name(judged.v), judged.why),
               false;
    loaded_port loaded;
    answer a = {0};
    rotation *const r = malloc(sizeof *r);
    timing_row row = {.id = p->id, .port = b->name, .verdict = verdict_name(judged.v)};
    bool const there = r && load_port(b, &loaded, &a), open = there && open_rotation(r, p);
    bool const prepared = open && loaded.table.prepare && loaded.table.unprepare && !s->unprepared;
    if (prepared) row.prepare = prepare(r, &loaded);
    bool const good = open && row.prepare >= 0;
    if (good) {
        measure(r, &loaded, &row);
        print_row(&row, s->format);
    } else {
        fprintf(stderr, "bench: %s on %s: %s\n", p->id, b->name, there ? "no memory" : a.why);
    }
    if (good && prepared) unprepare(r, &loaded);
    if (open) close_rotation(r);
    if (there) unload_port(&loaded);
    free(r);
    return good;
}

static int processors(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

static bool known_format(const char *format)
{
    static const char *const formats[] = {"text", "csv", "jsonl", "md"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(format, formats[i])) return true;
    return fprintf(stderr, "bench: --format=%s: it is text, csv, jsonl or md\n", format), false;
}

int bench_run(int argc, char **argv)
{
    settings s = {.format = "text", .threads = processors()};
    operands ids;
    complaint why;
    int code;
    if (!options_read(&run_syntax, argc, argv, &s, &ids, &code)) return code;
    if (!known_format(s.format)) return 2;
    if (!ids.count) return fprintf(stderr, "bench: run needs a case id or @FILE\n"), 2;
    if (!s.backends.count) s.backends.item[s.backends.count++] = "avx512";
    case_list cases = {0};
    for (int i = 0; i < ids.count; i++)
        if (!cases_add(&cases, ids.word[i], &why)) return fprintf(stderr, "bench: %s\n", why.text), 2;
    twin_watch(); /* ports are loaded into this process */
    if (!anchors_open(s.threads)) return 2;
    bool good = true;
    print_head(s.format);
    for (int c = 0; c < cases.count; c++)
        for (int i = 0; i < s.backends.count; i++) {
            backend b;
            if (!backend_resolve(s.backends.item[i], &b, &why)) return fprintf(stderr, "bench: %s\n", why.text), 2;
            if (b.kind == BACKEND_PROGRAM)
                return fprintf(stderr, "bench: %s is a program; bench times ports in C\n", b.name), 2;
            good = run_one(cases.problem[c], &b, &s) && good;
        }
    anchors_close();
    cases_free(&cases);
    return good ? 0 : 2;
}
