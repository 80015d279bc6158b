/*
 * bench peers: our time and error on a case, and those of libraries that others wrote, asked by the same judge on the
 * same tensors.
 */
#include "anchor.h"
#include "bench.h"
#include "compare_builds.h"
#include "files/products.h"
#include "port/twin.h"
#include "progress.h"
#include "rotation.h"
#include "run/case.h"
#include "subjects.h"

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
    {"--backend", OPTION_TEXT, offsetof(settings, backend), "B", "ours: avx512 unless said, portable or plain"},
    {"--format", OPTION_TEXT, offsetof(settings, format), "F", "text or jsonl"},
    {"--peer", OPTION_BACKENDS, offsetof(settings, peers), "P", "openblas, onednn, torch; all unless said"},
    {"--threads", OPTION_WHOLE, offsetof(settings, threads), "N", "of every port; all processors unless said", 1, 64},
    {NULL}};

static const syntax peers_syntax = {
    "peers", "usage: bench peers [OPTION]... [ID|@FILE]...\n", table,
    "Without an id it times @peers. A peer's verdict does not keep it from being timed; it stands beside the time. A "
    "case\n"
    "that a peer doesn't do has no time. Peers declare nothing: their legal error is the widest.\n"
    "  openblas  cblas_sgemm and cblas_sgemv of libopenblas.so.0\n"
    "  onednn    dnnl_sgemm of libdnnl.so.3 or .2\n"
    "  torch     functions of torch.nn.functional, which take oneDNN's kernels for BF16\n"
    "\n"
    "exit: 0 measured; 2 usage, or a port that can't run here, or ours does not pass\n",
    "bench"};

enum { MOST_PORTS = 4 };

/* A port of this run; the first is ours. */
typedef struct {
    backend of;
    port *judged;
    loaded_port loaded; /* of a port in C */
    bool is_loaded;
} peer;

typedef struct {
    settings s;
    case_list cases;
    peer port[MOST_PORTS];
    int ports;
    char seconds_file[64]; /* where a program writes its time */
    char cpu[100];
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

static bool resolve_torch(backend *of, complaint *why)
{
    char folder[500], command[1200];
    products_folder(folder, sizeof folder);
    snprintf(command, sizeof command, "%s/ports/python", folder);
    if (access(command, X_OK)) return refuse(why, "torch is not installed: make transformers-port");
    snprintf(command, sizeof command, "exec:'%s/ports/python' '%s/ports/torch_port.py'", folder, folder);
    if (!backend_resolve(command, of, why)) return false;
    snprintf(of->name, sizeof of->name, "torch");
    return true;
}

static bool resolve_peer(const char *name, backend *of, complaint *why)
{
    return strcmp(name, "torch") ? resolve_library(name, of, why) : resolve_torch(of, why);
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
    *p = (peer){0};
}

/* A peer that can't be had is a sentence; the others are timed. */
static void add_peer(peers_state *b, const char *name)
{
    complaint why;
    peer *const p = &b->port[b->ports];
    if (resolve_peer(name, &p->of, &why) && start(p, &why)) {
        b->ports++;
    } else {
        progress_complain(&b->good, why.text);
        end(p);
    }
}

static bool add_ours(peers_state *b, complaint *why)
{
    peer *const p = &b->port[0];
    bool const good = builds_backend(b->s.backend, why) && backend_resolve(b->s.backend, &p->of, why) && start(p, why);
    b->ports = good;
    return good;
}

/* ---- one case on one port ---- */

typedef struct {
    const char *id, *port, *verdict;
    double seconds; /* NaN: it has no time */
    double ratio;   /* to our own */
    double error,
        budget; /* of the worst element: its distance from the truth, and that as a fraction of the legal one */
} row;

static double seconds_of_program(const peers_state *b)
{
    double seconds = NAN;
    FILE *const f = fopen(b->seconds_file, "r");
    if (!f || fscanf(f, "%lf", &seconds) != 1) seconds = NAN;
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
    return subject_passed(judged) || judged->v == FAIL;
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

static void print_row(const peers_state *b, const row *r)
{
    char text[4][32];
    progress_hide();
    if (!strcmp(b->s.format, "jsonl"))
        printf("{\"id\":\"%s\",\"port\":\"%s\",\"seconds\":%s,\"ratio\":%s,\"error\":%s,\"budget\":%s,"
               "\"verdict\":\"%s\",\"cpu\":\"%s\",\"threads\":%d}\n",
               r->id, r->port, number(r->seconds, "%.9g", "null", text[0]), number(r->ratio, "%.6g", "null", text[1]),
               number(r->error, "%.6g", "null", text[2]), number(r->budget, "%.6g", "null", text[3]), r->verdict,
               b->cpu, b->s.threads);
    else
        printf("%-10s %9s us %6s %10s %8s %9s  %s\n", r->port, number(r->seconds * 1e6, "%.1f", "-", text[0]),
               number(r->ratio, "%.2f", "-", text[1]), number(r->error, "%.2e", "-", text[2]),
               number(r->budget, "%.3f", "-", text[3]), r->verdict, r->id);
    fflush(stdout);
}

static double time_one(const peers_state *b, rotation *r, int i, const result *judged)
{
    if (!has_run(judged)) return NAN;
    const peer *const p = &b->port[i];
    return p->is_loaded ? seconds_of_port(r, &p->loaded) : seconds_of_program(b);
}

static void time_ports(peers_state *b, rotation *r, const result judged[])
{
    double ours = NAN;
    for (int i = 0; i < b->ports; i++) {
        row of = {.id = r->p->id, .port = b->port[i].of.name, .verdict = verdict_name(judged[i].v)};
        of.seconds = time_one(b, r, i, &judged[i]);
        if (i == 0) ours = of.seconds;
        of.ratio = of.seconds / ours;
        add_errors(&judged[i], &of);
        print_row(b, &of);
    }
}

static bool judge(const peers_state *b, const problem *p, result judged[], complaint *why)
{
    port *ports[MOST_PORTS];
    if (problem_calls(p) > 1) return refuse(why, "%s is a sequence of calls, and only one call is timed", p->id);
    for (int i = 0; i < b->ports; i++) ports[i] = b->port[i].judged;
    run_case(p, NULL, ports, b->ports, 0, judged);
    return subject_passed(&judged[0]) || refuse(why, "%s on %s is %s, and only what passes is timed: %s", p->id,
                                                b->port[0].of.name, verdict_name(judged[0].v), judged[0].why);
}

static void time_case(peers_state *b, const problem *p)
{
    static result judged[MOST_PORTS];
    complaint why;
    progress_say(&b->at, "judging and timing", p->id);
    if (!judge(b, p, judged, &why)) {
        progress_complain(&b->good, why.text);
        return;
    }
    rotation *const r = calloc(1, sizeof *r);
    if (r && rotation_open(r, p))
        time_ports(b, r, judged);
    else
        refuse(&why, "no memory to time %s", p->id), progress_complain(&b->good, why.text);
    if (r) rotation_close(r);
    free(r);
}

/* ---- the command ---- */

static void time_all(peers_state *b)
{
    if (!strcmp(b->s.format, "text"))
        printf("%-10s %12s %6s %10s %8s %9s  case\n", "port", "time", "ratio", "error", "of legal", "verdict");
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

static bool open_file(peers_state *b, complaint *why)
{
    snprintf(b->seconds_file, sizeof b->seconds_file, "/tmp/dsv3-peers-XXXXXX");
    int const fd = mkstemp(b->seconds_file);
    if (fd < 0) return *b->seconds_file = 0, refuse(why, "no temporary file for times");
    close(fd);
    setenv("DSV3_PEER_SECONDS", b->seconds_file, 1);
    return true;
}

static bool check_peers(const option_list *peers, complaint *why)
{
    static const char *const known[] = {"openblas", "onednn", "torch"};
    for (int i = 0; i < peers->count; i++) {
        int k = 0;
        while (k < 3 && strcmp(known[k], peers->item[i])) k++;
        if (k == 3) return refuse(why, "--peer=%s: it is openblas, onednn or torch", peers->item[i]);
    }
    return peers->count <= 3 || refuse(why, "--peer names a peer twice");
}

static bool open_all(peers_state *b, const operands *ids, complaint *why)
{
    static char *const unless_said[] = {"@peers"};
    const char *const f = b->s.format;
    if (strcmp(f, "text") && strcmp(f, "jsonl")) return refuse(why, "--format=%s: it is text or jsonl", f);
    if (!check_peers(&b->s.peers, why)) return false;
    if (!subjects_cases(&b->cases, ids->count ? ids->count : 1, ids->count ? ids->word : unless_said, why))
        return false;
    return open_file(b, why) && add_ours(b, why);
}

int bench_peers(int argc, char **argv)
{
    static const option_list all = {3, {"openblas", "onednn", "torch"}};
    static peers_state b = {.s = {.backend = "avx512", .format = "text"}, .good = true};
    operands ids;
    complaint why;
    int code;
    b.s.threads = processors();
    if (!options_read(&peers_syntax, argc, argv, &b.s, &ids, &code)) return code;
    if (!b.s.peers.count) b.s.peers = all;
    twin_watch();
    use_equal_threads(b.s.threads);
    processor_name(b.cpu, sizeof b.cpu);
    if (open_all(&b, &ids, &why)) {
        for (int i = 0; i < b.s.peers.count; i++) add_peer(&b, b.s.peers.item[i]);
        time_all(&b);
    } else {
        progress_complain(&b.good, why.text);
    }
    while (b.ports) end(&b.port[--b.ports]);
    if (*b.seconds_file) unlink(b.seconds_file);
    cases_free(&b.cases);
    return b.good ? EXIT_GOOD : EXIT_USAGE;
}
