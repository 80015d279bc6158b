/* verify run */
#include "options.h"
#include "report/report.h"
#include "run/run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    option_list backends, requires;
    const char *format, *out;
    double timeout;
    int jobs;
    bool strict, diagnose, verbose;
} arguments;

static const option options[] = {
    {"--backend", OPTION_BACKENDS, offsetof(arguments, backends), "B",
     "plain, avx512, cuda, transformers; a path such as ./port.so; or exec:'COMMAND'. Several with commas, or the "
     "option several times. Default: every known one"},
    {"--require", OPTION_REPEATED, offsetof(arguments, requires), "B", "exit 3 unless this backend was judged"},
    {"--format", OPTION_TEXT, offsetof(arguments, format), "F", "text (default), jsonl, or both: text,jsonl"},
    {"--out", OPTION_TEXT, offsetof(arguments, out), "DIR",
     "where jsonl goes, as DIR/results.jsonl; default: standard output"},
    {"--jobs", OPTION_WHOLE, offsetof(arguments, jobs), "N",
     "processes that judge; default: as many as there are processors", 1, 64},
    {"--timeout", OPTION_NUMBER, offsetof(arguments, timeout), "S", "seconds for one case on one port; default 60",
     0.01, 86400},
    {"--strict", OPTION_FLAG, offsetof(arguments, strict), NULL, "SUSPECT counts as failed"},
    {"--diagnose", OPTION_FLAG, offsetof(arguments, diagnose), NULL,
     "try the known mistakes on what fails, and name the likely one"},
    {"--verbose", OPTION_FLAG, offsetof(arguments, verbose), NULL, "declarations and repro lines for every case"},
    {NULL},
};

static const syntax run_syntax = {"run", "usage: verify run CASE... [--backend=B[,B...]] [options]\n", options,
                                  "A port is code that runs here: judge only ports that you trust.\n"
                                  "The last line reads: N passed, N failed, N skipped.\n"};

typedef struct {
    arguments a;
    plan pl;
    const char *backend_text[MAX_BACKENDS];
    bool text, jsonl;
    FILE *json;
    tally t;
    bool progress;
} session;

static int add_backend(session *s, const char *text)
{
    complaint why;
    if (s->pl.backends == MAX_BACKENDS) return usage_error("at most %d backends in one run", MAX_BACKENDS);
    if (!backend_resolve(text, &s->pl.backend[s->pl.backends], &why)) return usage_error("%s", why.text);
    s->backend_text[s->pl.backends++] = text;
    return EXIT_GOOD;
}

/* Those asked for, or every known one. */
static int add_backends(session *s)
{
    int code = EXIT_GOOD;
    for (int i = 0; i < s->a.backends.count && !code; i++) code = add_backend(s, s->a.backends.item[i]);
    for (int i = 0; !s->a.backends.count && backend_known(i) && !code; i++) code = add_backend(s, backend_known(i));
    return code;
}

static int set_format(session *s, const char *value)
{
    s->text = !strcmp(value, "text") || !strcmp(value, "text,jsonl") || !strcmp(value, "jsonl,text");
    s->jsonl = !strcmp(value, "jsonl") || strchr(value, ',');
    return s->text || !strcmp(value, "jsonl")
               ? EXIT_GOOD
               : usage_error("--format=%s is unknown; it takes text, jsonl, or text,jsonl", value);
}

static int add_cases(session *s, const operands *cases)
{
    complaint why;
    for (int i = 0; i < cases->count; i++)
        if (!cases_add(&s->pl.cases, cases->word[i], &why)) return usage_error("%s", why.text);
    if (s->pl.cases.count) return EXIT_GOOD;
    return usage_error("run needs at least one case, as in: verify run @smoke --backend=./port.so");
}

static int use_arguments(session *s, const operands *cases)
{
    s->pl.jobs = s->a.jobs;
    s->pl.timeout = s->a.timeout;
    s->pl.diagnose = s->a.diagnose;
    int code = set_format(s, s->a.format);
    if (!code) code = add_backends(s);
    if (!code) code = add_cases(s, cases);
    return code;
}

/* ---- checks before anything runs ---- */

/* Bytes that the system says it can still give. */
static double memory_available(void)
{
    char line[200];
    double kilobytes = 0;
    FILE *const f = fopen("/proc/meminfo", "r");
    if (!f) return HUGE_VAL;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lf kB", &kilobytes) == 1) break;
    fclose(f);
    return kilobytes > 0 ? kilobytes * 1024 : HUGE_VAL;
}

static int check_memory(const session *s)
{
    double const there = memory_available();
    complaint why;
    problem p;
    for (int i = 0; i < s->pl.cases.count; i++) {
        if (!problem_parse(s->pl.cases.id[i], &p, &why)) return usage_error("%s", why.text);
        double const need = problem_memory(&p);
        if (need > there)
            return usage_error("%s needs about %.1f GB and %.1f GB are available: choose smaller sizes", p.id,
                               need / 1e9, there / 1e9);
    }
    return EXIT_GOOD;
}

/* Opens each backend once: one that is no port at all is a usage error, not a verdict. */
static int check_backends(const session *s)
{
    int code = EXIT_GOOD;
    for (int b = 0; b < s->pl.backends && !code; b++) {
        port *const p = port_open(&s->pl.backend[b], s->pl.timeout);
        if (port_is(p) == PORT_UNUSABLE)
            code = usage_error("backend %s can't be used: %s", s->backend_text[b], port_why(p));
        port_close(p);
    }
    return code;
}

static int check_requires(const session *s)
{
    for (int i = 0; i < s->a.requires.count; i++) {
        bool found = false;
        for (int b = 0; b < s->pl.backends; b++) found |= !strcmp(s->backend_text[b], s->a.requires.item[i]);
        if (!found) return usage_error("--require=%s names no backend of this run", s->a.requires.item[i]);
    }
    return EXIT_GOOD;
}

static int open_json(session *s)
{
    char path[1200];
    if (!s->jsonl) return EXIT_GOOD;
    s->json = stdout;
    if (!s->a.out) return s->text ? usage_error("--format=text,jsonl needs --out=DIR for the jsonl") : EXIT_GOOD;
    if (mkdir(s->a.out, 0777) && errno != EEXIST)
        return usage_error("cannot make the folder %s: %s", s->a.out, strerror(errno));
    snprintf(path, sizeof path, "%s/results.jsonl", s->a.out);
    s->json = fopen(path, "w");
    return s->json ? EXIT_GOOD : usage_error("cannot write %s: %s", path, strerror(errno));
}

/* ---- the run ---- */

static void show_progress(const session *s, int index)
{
    if (!s->progress) return;
    fprintf(stderr, "\r%d of %d cases, %d failed\033[K", index + 1, s->pl.cases.count, s->t.failed);
    if (index + 1 == s->pl.cases.count) fprintf(stderr, "\r\033[K");
    fflush(stderr);
}

static void on_case(const plan *pl, int index, const result results[], void *context)
{
    session *const s = context;
    const char *const id = pl->cases.id[index];
    if (s->progress) fprintf(stderr, "\r\033[K");
    for (int b = 0; b < pl->backends; b++) {
        tally_add(&s->t, b, &results[b], s->a.strict);
        bool const quiet = results[b].v == SKIP && !s->a.verbose; /* counted in the table */
        if (s->text && !quiet)
            report_text(stdout, id, pl->backend[b].name, s->backend_text[b], &results[b], s->a.verbose);
        if (s->json) report_json(s->json, id, s->backend_text[b], &results[b]);
    }
    fflush(stdout);
    if (s->json) fflush(s->json);
    show_progress(s, index);
}

static int exit_code(const session *s)
{
    if (s->t.failed) return EXIT_BAD_VERDICT;
    for (int i = 0; i < s->a.requires.count; i++)
        for (int b = 0; b < s->pl.backends; b++)
            if (!strcmp(s->backend_text[b], s->a.requires.item[i]) && !s->t.by_backend[b][PASS]) {
                fprintf(stderr, "verify: required backend %s was not judged: %s\n", s->a.requires.item[i],
                        s->t.skip_why[b]);
                return EXIT_NOTHING;
            }
    return s->t.passed ? EXIT_GOOD : EXIT_NOTHING;
}

static int run_session(session *s)
{
    int code = check_memory(s);
    if (!code) code = check_requires(s);
    if (!code) code = check_backends(s);
    if (!code) code = open_json(s);
    if (code) return code;
    s->progress = isatty(STDERR_FILENO) && s->text;
    if (s->pl.jobs > s->pl.cases.count) s->pl.jobs = s->pl.cases.count;
    int const signal_number = run_plan(&s->pl, on_case, s);
    FILE *const f = s->text ? stdout : stderr;
    const char *name[MAX_BACKENDS];
    for (int b = 0; b < s->pl.backends; b++) name[b] = s->pl.backend[b].name;
    report_summary(f, name, s->pl.backends, &s->t);
    bool const written = !(s->json && s->json != stdout && fclose(s->json)) && !fflush(stdout) && !ferror(stdout);
    if (!written) return usage_error("the report could not be written whole: %s", strerror(errno));
    return signal_number ? 128 + signal_number : exit_code(s);
}

int command_run(int argc, char **argv)
{
    session *const s = calloc(1, sizeof *s);
    operands cases;
    int code;
    if (!s) return usage_error("no memory");
    long const processors = sysconf(_SC_NPROCESSORS_ONLN);
    int const jobs = processors > 0 && processors < 64 ? (int)processors : 1;
    s->a = (arguments){.format = "text", .timeout = 60, .jobs = jobs};
    if (options_read(&run_syntax, argc, argv, &s->a, &cases, &code)) {
        code = use_arguments(s, &cases);
        if (!code) code = run_session(s);
    }
    cases_free(&s->pl.cases);
    free(s);
    return code;
}
