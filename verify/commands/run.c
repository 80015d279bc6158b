/* verify run */
#include "options.h"
#include "report/report.h"
#include "port/port.h"
#include "run/schedule.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] = "usage: verify run CASE... [--backend=B[,B...]] [options]\n"
                           "\n"
                           "  --backend=B     plain, avx512, cuda, transformers; a path such as ./port.so; or\n"
                           "                  exec:'COMMAND'. May be given more than once. Default: every known one\n"
                           "  --require=B     exit 3 unless this backend was judged\n"
                           "  --format=F      text (default), jsonl, or both: text,jsonl\n"
                           "  --out=DIR       where jsonl goes, as DIR/results.jsonl; default: standard output\n"
                           "  --jobs=N        processes that judge; default: as many as there are processors\n"
                           "  --timeout=S     seconds for one case on one port; default 60\n"
                           "  --strict        SUSPECT counts as failed\n"
                           "  --diagnose      try the known mistakes on what fails, and name the likely one\n"
                           "  --verbose       declarations and repro lines for every case\n"
                           "\n"
                           "A port is code that runs here: judge only ports that you trust.\n"
                           "The last line reads: N passed, N failed, N skipped.\n";

typedef struct {
    plan pl;
    char backend_text[MAX_BACKENDS][800];
    const char *require[MAX_BACKENDS];
    int requires;
    bool text, jsonl, strict, verbose;
    const char *out;
    FILE *json;
    tally t;
    bool progress;
} session;

static int add_backend(session *s, const char *text)
{
    complaint why;
    if (s->pl.backends == MAX_BACKENDS) return usage_error("at most %d backends in one run", MAX_BACKENDS);
    if (strlen(text) >= sizeof s->backend_text[0])
        return usage_error("--backend is longer than %zu characters", sizeof s->backend_text[0] - 1);
    if (!backend_resolve(text, &s->pl.backend[s->pl.backends], &why)) return usage_error("%s", why.text);
    strcpy(s->backend_text[s->pl.backends++], text);
    return EXIT_GOOD;
}

/* A comma separates backends, but not inside exec:…, whose command may hold one. */
static int add_backends(session *s, const char *list)
{
    char copy[800], *rest = NULL;
    if (!*list)
        return usage_error(
            "--backend= names none; it takes plain, avx512, cuda, transformers, ./port.so or exec:'command'");
    if (!strncmp(list, "exec:", 5)) return add_backend(s, list);
    if (strlen(list) >= sizeof copy) return usage_error("--backend is longer than %zu characters", sizeof copy - 1);
    strcpy(copy, list);
    for (char *b = strtok_r(copy, ",", &rest); b; b = strtok_r(NULL, ",", &rest)) {
        int const code = add_backend(s, b);
        if (code) return code;
    }
    return EXIT_GOOD;
}

static int set_number(const char *option, const char *text, double least, double most, double *out)
{
    char *end;
    *out = strtod(text, &end);
    if (*text && !*end && *out >= least && *out <= most) return EXIT_GOOD;
    return usage_error("%s=%s is out of range: it takes numbers from %g to %g", option, text, least, most);
}

static int set_format(session *s, const char *value)
{
    s->text = !strcmp(value, "text") || !strcmp(value, "text,jsonl") || !strcmp(value, "jsonl,text");
    s->jsonl = !strcmp(value, "jsonl") || strchr(value, ',');
    return s->text || !strcmp(value, "jsonl")
               ? EXIT_GOOD
               : usage_error("--format=%s is unknown; it takes text, jsonl, or text,jsonl", value);
}

static int set_option(session *s, const char *a)
{
    const char *v;
    double number;
    int code = EXIT_GOOD;
    if ((v = option_value(a, "--backend"))) return add_backends(s, v);
    if ((v = option_value(a, "--format"))) return set_format(s, v);
    if ((v = option_value(a, "--out"))) return s->out = v, EXIT_GOOD;
    if ((v = option_value(a, "--require"))) {
        if (s->requires == MAX_BACKENDS) return usage_error("at most %d --require", MAX_BACKENDS);
        s->require[s->requires ++] = v;
        return EXIT_GOOD;
    }
    if ((v = option_value(a, "--jobs"))) {
        code = set_number("--jobs", v, 1, 64, &number);
        s->pl.jobs = (int)number;
        return code;
    }
    if ((v = option_value(a, "--timeout"))) return set_number("--timeout", v, 0.01, 86400, &s->pl.timeout);
    if (!strcmp(a, "--strict")) return s->strict = true, EXIT_GOOD;
    if (!strcmp(a, "--diagnose")) return s->pl.diagnose = true, EXIT_GOOD;
    if (!strcmp(a, "--verbose")) return s->verbose = true, EXIT_GOOD;
    return usage_error("unknown option '%s' of run; see verify run --help", a);
}

static int read_arguments(session *s, int argc, char **argv)
{
    complaint why;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-') {
            int const code = set_option(s, argv[i]);
            if (code) return code;
        } else if (!cases_add(&s->pl.cases, argv[i], &why)) {
            return usage_error("%s", why.text);
        }
    }
    if (s->pl.cases.count == 0)
        return usage_error("run needs at least one case, as in: verify run @smoke --backend=./port.so");
    bool const all = s->pl.backends == 0;
    for (int i = 0; all && backend_known(i); i++)
        if (add_backend(s, backend_known(i))) return EXIT_USAGE;
    return EXIT_GOOD;
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
    for (int i = 0; i < s->pl.cases.count; i++) {
        double const need = problem_memory(s->pl.cases.problem[i]);
        if (need > there)
            return usage_error("%s needs about %.1f GB and %.1f GB are available: choose smaller sizes",
                               s->pl.cases.id[i], need / 1e9, there / 1e9);
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
    for (int i = 0; i < s->requires; i++) {
        bool found = false;
        for (int b = 0; b < s->pl.backends; b++) found |= !strcmp(s->backend_text[b], s->require[i]);
        if (!found) return usage_error("--require=%s names no backend of this run", s->require[i]);
    }
    return EXIT_GOOD;
}

static int open_json(session *s)
{
    char path[1200];
    if (!s->jsonl) return EXIT_GOOD;
    s->json = stdout;
    if (!s->out) return s->text ? usage_error("--format=text,jsonl needs --out=DIR for the jsonl") : EXIT_GOOD;
    if (mkdir(s->out, 0777) && errno != EEXIST)
        return usage_error("cannot make the folder %s: %s", s->out, strerror(errno));
    snprintf(path, sizeof path, "%s/results.jsonl", s->out);
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
        tally_add(&s->t, b, &results[b], s->strict);
        bool const quiet = results[b].v == SKIP && !s->verbose; /* counted in the table */
        if (s->text && !quiet)
            report_text(stdout, id, pl->backend[b].name, s->backend_text[b], &results[b], s->verbose);
        if (s->json) report_json(s->json, id, s->backend_text[b], &results[b]);
    }
    fflush(stdout);
    if (s->json) fflush(s->json);
    show_progress(s, index);
}

static int exit_code(const session *s)
{
    if (s->t.failed) return EXIT_BAD_VERDICT;
    for (int i = 0; i < s->requires; i++)
        for (int b = 0; b < s->pl.backends; b++)
            if (!strcmp(s->backend_text[b], s->require[i]) && !s->t.by_backend[b][PASS]) {
                fprintf(stderr, "verify: required backend %s was not judged: %s\n", s->require[i], s->t.skip_why[b]);
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
    if (argc > 1 && !strcmp(argv[1], "--help")) return fputs(help, stdout), EXIT_GOOD;
    session *const s = calloc(1, sizeof *s);
    if (!s) return usage_error("no memory");
    long const processors = sysconf(_SC_NPROCESSORS_ONLN);
    s->text = true;
    s->pl.timeout = 60;
    s->pl.jobs = processors > 0 && processors < 64 ? (int)processors : 1;
    int code = read_arguments(s, argc, argv);
    if (!code) code = run_session(s);
    cases_free(&s->pl.cases);
    free(s);
    return code;
}
