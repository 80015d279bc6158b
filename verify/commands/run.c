/* verify run */
#include "memory.h"
#include "options.h"
#include "files/unknown_word.h"
#include "report/report.h"
#include "port/port.h"
#include "printable.h"
#include "resume.h"
#include "run/case.h"
#include "run/schedule.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    option_list backends, requires;
    const char *format, *out, *resume;
    port_limits limits;
    int jobs;
    bool strict, diagnose, verbose;
} arguments;

static const option options[] = {
    {"--backend", OPTION_BACKENDS, offsetof(arguments, backends), "B",
     "plain, avx512, portable, cuda, transformers; a path such as ./port.so; cuda:./kernels.cu; or exec:'COMMAND'. "
     "Several with commas, "
     "or the "
     "option several times. Default: every known one"},
    {"--require", OPTION_REPEATED, offsetof(arguments, requires), "B", "exit 3 unless this backend was judged"},
    {"--format", OPTION_TEXT, offsetof(arguments, format), "F", "text (default), jsonl, or both: text,jsonl"},
    {"--out", OPTION_TEXT, offsetof(arguments, out), "DIR",
     "where jsonl goes, as DIR/results.jsonl; default: standard output"},
    {"--resume", OPTION_TEXT, offsetof(arguments, resume), "JOURNAL",
     "write each verdict to this file as it comes; the same command goes on from there if it was killed"},
    {"--jobs", OPTION_WHOLE, offsetof(arguments, jobs), "N",
     "processes that judge; default: as many as there are processors", 1, 64},
    {"--timeout", OPTION_NUMBER, offsetof(arguments, limits.timeout), "S",
     "seconds for one case on one port; default 60", 0.01, 86400},
    {"--start-timeout", OPTION_NUMBER, offsetof(arguments, limits.start), "S",
     "seconds for the start of a port; default 120 for a program, as --timeout for a shared object", 0.01, 86400},
    {"--strict", OPTION_FLAG, offsetof(arguments, strict), NULL, "SUSPECT counts as failed"},
    {"--diagnose", OPTION_FLAG, offsetof(arguments, diagnose), NULL,
     "try the known mistakes on what fails, and name the likely one"},
    {"--verbose", OPTION_FLAG, offsetof(arguments, verbose), NULL,
     "a line a case, with declaration, repro, and the known mistakes that it can't see"},
    {NULL},
};

static const syntax run_syntax = {
    "run", "usage: verify run CASE... [--backend=B[,B...]] [options]\n", options,
    "Prints what fails in full, then a row an op and port: how many of the cases passed,\n"
    "how many output elements they have, and of those that passed the largest share of the\n"
    "legal distance that was used (budget) and the coarsest resolution (bits). An op with a\n"
    "single case gets a line about that case instead. A port that can't run here is one\n"
    "line, and isn't counted.\n"
    "\n"
    "A port is code that runs here: judge only ports that you trust.\n"
    "The last line reads: N passed, N failed, N skipped.\n"};

/* A report in work. */
typedef struct {
    const report_format *format;
    FILE *f;
    void *own; /* of the format */
} output;

typedef struct {
    arguments a;
    plan pl;
    report_run reported;
    char absent[MAX_BACKENDS][512]; /* why; see report_run */
    int outputs;
    output output[MAX_FORMATS];
    bool people; /* one of them is for people */
    resume_port port[MAX_BACKENDS];
    journal kept;
    complaint lost; /* why the journal could not be written; "": it could */
    tally t;
    bool progress;
} session;

static int add_backend(session *s, const char *text)
{
    complaint why;
    if (s->pl.backends == MAX_BACKENDS) return usage_error("at most %d backends in one run", MAX_BACKENDS);
    if (!backend_resolve(text, &s->pl.backend[s->pl.backends], &why)) return usage_error("%s", why.text);
    s->reported.name[s->pl.backends] = s->pl.backend[s->pl.backends].name;
    s->reported.text[s->pl.backends++] = text;
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

static const report_format *format_named(const char *name)
{
    for (int i = 0; report_formats[i]; i++)
        if (!strcmp(report_formats[i]->name, name)) return report_formats[i];
    return NULL;
}

static bool has_format(const session *s, const report_format *format)
{
    for (int i = 0; i < s->outputs; i++)
        if (s->output[i].format == format) return true;
    return false;
}

static int refuse_format(const char *value, const char *name)
{
    complaint why;
    unknown_word u = {.word = name};
    refuse(&why, "--format=%.200s is unknown", value);
    for (int i = 0; report_formats[i]; i++) unknown_word_offer(&u, report_formats[i]->name);
    if (format_named(name)) u.nearest = NULL; /* it is there twice */
    unknown_word_refuse(&u, "it takes", &why);
    return usage_error(u.nearest ? "%s" : "%s, or several with commas, each once", why.text);
}

/* Names with commas between them, each once. */
static int choose_formats(session *s, const char *value)
{
    char name[32];
    for (const char *from = value;; from++) {
        size_t const length = strcspn(from, ",");
        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), from);
        const report_format *const format = format_named(name);
        if (!format || has_format(s, format) || s->outputs == MAX_FORMATS) return refuse_format(value, name);
        s->output[s->outputs++].format = format;
        s->people |= !format->file;
        from += length;
        if (!*from) return EXIT_GOOD;
    }
}

static int add_cases(session *s, const operands *cases)
{
    complaint why;
    for (int i = 0; i < cases->count; i++)
        if (!cases_add(&s->pl.cases, cases->word[i], &why)) return usage_error("%s", why.text);
    if (s->pl.cases.count) return EXIT_GOOD;
    if (cases->count) return usage_error("%s holds no case: write one a line, as in rmsnorm@v3", cases->word[0]);
    return usage_error("run needs at least one case, as in: verify run @smoke --backend=./port.so");
}

static int use_arguments(session *s, const operands *cases)
{
    s->pl.jobs = s->a.jobs;
    s->pl.limits = s->a.limits;
    s->pl.wanted = (s->a.diagnose ? WANT_DIAGNOSIS : 0) | (s->a.verbose ? WANT_SIGHT : 0);
    int code = choose_formats(s, s->a.format);
    if (!code) code = add_backends(s);
    if (!code) code = add_cases(s, cases);
    return code;
}

/* ---- checks before anything runs ---- */

/* Programs get all tensors, as files. */
static bool asks_programs(const session *s)
{
    for (int b = 0; b < s->pl.backends; b++)
        if (s->pl.backend[b].kind == BACKEND_PROGRAM) return true;
    return false;
}

static int check_memory(const session *s)
{
    complaint why;
    double const available = memory_available();
    bool const whole = asks_programs(s);
    for (int i = 0; i < s->pl.cases.count; i++)
        if (!memory_holds(available, s->pl.cases.problem[i], whole, &why)) return usage_error("%s", why.text);
    return EXIT_GOOD;
}

/* With what it printed: the end of a program's traceback says most. */
static int refuse_backend(const session *s, int b, const port *p)
{
    enum { LINES = 20 };
    char text[sizeof((heard *)0)->text];
    const heard *const h = port_heard(p);
    size_t const n = h ? printable(text, sizeof text, h->text, h->kept, true) : 0;
    int lines = n > 0 && text[n - 1] != '\n';
    for (size_t i = 0; i < n; i++) lines += text[i] == '\n';
    const char *from = text;
    for (; n && lines > LINES; lines--) from = strchr(from, '\n') + 1;
    if (n) fprintf(stderr, "%s%s", from, text[n - 1] == '\n' ? "" : "\n");
    return usage_error("backend %s can't be used: %s", s->reported.text[b], port_why(p));
}

/* Where there is a journal: what it must be the journal of. */
static int note_content(session *s, int b, const port *p)
{
    complaint why;
    if (!s->a.resume || port_is(p) == PORT_UNUSABLE) return EXIT_GOOD;
    bool const good =
        resume_port_of(s->reported.text[b], &s->pl.backend[b], port_hello(p), s->reported.absent[b], &s->port[b], &why);
    return good ? EXIT_GOOD : usage_error("backend %s can't be used: %s", s->reported.text[b], why.text);
}

/* "cuda(NVIDIA H100 80GB HBM3)". */
static void show_device(backend *b, const char *device)
{
    char name[sizeof b->name];
    if (!b->shows_device || !*device) return;
    snprintf(name, sizeof name, "%.12s(%.48s)", b->name, device);
    for (char *c = name; *c; c++)
        if (*c == '"' || *c == '\\') *c = '_';
    memcpy(b->name, name, sizeof name);
}

/* Opens each backend once: one that is no port at all is a usage error, not a verdict; one that can't run here is absent. */
static int check_backends(session *s)
{
    int code = EXIT_GOOD;
    for (int b = 0; b < s->pl.backends && !code; b++) {
        port *const p = port_open(&s->pl.backend[b], s->pl.limits);
        if (port_is(p) == PORT_ABSENT) {
            snprintf(s->absent[b], sizeof s->absent[b], "%s", port_why(p));
            s->reported.absent[b] = s->absent[b];
        }
        if (port_is(p) == PORT_READY) show_device(&s->pl.backend[b], port_why(p));
        backend_call(&s->pl.backend[b], port_called(p));
        code = port_is(p) == PORT_UNUSABLE ? refuse_backend(s, b, p) : note_content(s, b, p);
        complaint why = {""};
        port_end(p, &why);
        if (*why.text) fprintf(stderr, "verify: note: backend %s: %s\n", s->reported.text[b], why.text);
    }
    backends_number(s->pl.backend, s->pl.backends);
    return code;
}

static int refuse_require(const session *s, const char *name)
{
    complaint why;
    unknown_word u = {.word = name};
    refuse(&why, "--require=%.200s names no backend of this run", name);
    for (int b = 0; b < s->pl.backends; b++) unknown_word_offer(&u, s->reported.text[b]);
    unknown_word_refuse(&u, "it takes", &why);
    return usage_error("%s", why.text);
}

static int check_requires(const session *s)
{
    for (int i = 0; i < s->a.requires.count; i++) {
        bool found = false;
        for (int b = 0; b < s->pl.backends; b++) found |= !strcmp(s->reported.text[b], s->a.requires.item[i]);
        if (!found) return refuse_require(s, s->a.requires.item[i]);
    }
    return EXIT_GOOD;
}

/* The journal, with what an earlier run found. */
static int open_journal(session *s)
{
    complaint why;
    if (!s->a.resume) return EXIT_GOOD;
    if (!resume_open(&s->kept, s->a.resume, &s->pl, s->port, &why)) return usage_error("%s", why.text);
    if (s->kept.torn) fprintf(stderr, "verify: note: %s: its last line was torn, and is dropped\n", s->a.resume);
    int const known = plan_known(&s->pl);
    if (!known) return EXIT_GOOD;
    fprintf(stderr, "verify: note: %s: goes on behind %d of %d cases", s->a.resume, known, s->pl.cases.count);
    for (int b = 0; b < s->pl.backends; b++)
        if (s->port[b].lacks) fprintf(stderr, "; of %s it compared %s", s->reported.name[b], s->port[b].lacks);
    fputc('\n', stderr);
    return EXIT_GOOD;
}

/* A report must not be written over the journal. */
static bool is_journal(const session *s, const char *path)
{
    file_identity report, kept;
    return s->a.resume && file_identify(path, &report) && file_identify(s->a.resume, &kept) &&
           file_is_one(&report, &kept);
}

static int open_file(const session *s, output *o)
{
    char path[1200];
    o->f = stdout;
    if (!o->format->file) return EXIT_GOOD;
    if (!s->a.out && s->outputs == 1) return EXIT_GOOD;
    if (!s->a.out) return usage_error("--format=%s needs --out=DIR for the %s", s->a.format, o->format->name);
    if (mkdir(s->a.out, 0777) && errno != EEXIST)
        return usage_error("cannot make the folder %s: %s", s->a.out, strerror(errno));
    snprintf(path, sizeof path, "%s/%s", s->a.out, o->format->file);
    if (is_journal(s, path)) return usage_error("--resume=%s: is the report's own file; name another", s->a.resume);
    o->f = fopen(path, "w");
    return o->f ? EXIT_GOOD : usage_error("cannot write %s: %s", path, strerror(errno));
}

static int open_reports(session *s)
{
    int code = EXIT_GOOD;
    s->reported.cases = s->pl.cases.count;
    s->reported.id = s->pl.cases.id;
    s->reported.backends = s->pl.backends;
    s->reported.verbose = s->a.verbose;
    for (int i = 0; i < s->outputs && !code; i++) code = open_file(s, &s->output[i]);
    for (int i = 0; i < s->outputs && !code; i++) {
        output *const o = &s->output[i];
        o->own = o->format->open(o->f, &s->reported);
        if (!o->own) code = usage_error("no memory for the report");
    }
    return code;
}

/* False: a file could not be written. Standard output is main's to check. */
static bool close_reports(session *s)
{
    bool good = true;
    for (int i = 0; i < s->outputs; i++) {
        output *const o = &s->output[i];
        o->format->close(o->own, &s->t);
        if (o->f == stdout) continue;
        good &= !fflush(o->f) && !ferror(o->f);
        good &= !fclose(o->f);
    }
    if (!s->people) report_summary(stderr, s->reported.name, s->reported.absent, s->pl.backends, &s->t);
    return good;
}

/* ---- the run ---- */

static void show_progress(const session *s, int index)
{
    if (!s->progress) return;
    fprintf(stderr, "\r%d of %d cases, %d failed\033[K", index + 1, s->pl.cases.count, s->t.failed);
    if (index + 1 == s->pl.cases.count) fprintf(stderr, "\r\033[K");
    fflush(stderr);
}

/* Is somebody there to read what goes to this descriptor? */
static bool has_reader(int fd)
{
    struct pollfd end = {fd, POLLOUT, 0};
    return poll(&end, 1, 0) < 0 || !(end.revents & POLLERR);
}

/* Standard output alone was asked for, and whoever read it has gone, as head does. */
static bool is_unread(const session *s)
{
    return s->outputs == 1 && s->output[0].f == stdout && ferror(stdout) && !has_reader(STDOUT_FILENO);
}

/* False: what isn't kept would be lost. */
static bool on_judged(const plan *pl, int index, const result results[], void *context)
{
    session *const s = context;
    return resume_add(&s->kept, pl, index, results, &s->lost);
}

static bool on_case(const plan *pl, int index, const result results[], void *context)
{
    session *const s = context;
    if (s->progress) fprintf(stderr, "\r\033[K");
    for (int b = 0; b < pl->backends; b++)
        if (report_counts(&s->reported, b, &results[b])) tally_add(&s->t, b, &results[b], s->a.strict);
    for (int i = 0; i < s->outputs; i++) {
        s->output[i].format->result(s->output[i].own, index, results);
        fflush(s->output[i].f);
    }
    show_progress(s, index);
    return !is_unread(s);
}

static int exit_code(const session *s)
{
    if (s->t.failed) return EXIT_BAD_VERDICT;
    for (int i = 0; i < s->a.requires.count; i++)
        for (int b = 0; b < s->pl.backends; b++)
            if (!strcmp(s->reported.text[b], s->a.requires.item[i]) && !s->t.by_backend[b][PASS]) {
                fprintf(stderr, "verify: required backend %s was not judged: %s\n", s->a.requires.item[i],
                        s->reported.absent[b] ? s->reported.absent[b] : s->t.skip_why[b]);
                return EXIT_NOTHING;
            }
    return s->t.passed ? EXIT_GOOD : EXIT_NOTHING;
}

static int run_session(session *s)
{
    int code = check_memory(s);
    if (!code) code = check_requires(s);
    if (!code) code = check_backends(s);
    if (!code) code = open_journal(s);
    if (!code) code = open_reports(s);
    if (code) return code;
    s->progress = isatty(STDERR_FILENO) && s->people;
    s->pl.judged = s->a.resume ? on_judged : NULL;
    int const left = s->pl.cases.count - plan_known(&s->pl);
    if (s->pl.jobs > left) s->pl.jobs = left;
    int const signal_number = run_plan(&s->pl, on_case, s);
    if (!close_reports(s)) return usage_error("the report could not be written whole: %s", strerror(errno));
    if (*s->lost.text) return usage_error("%s", s->lost.text);
    if (signal_number && s->a.resume) fprintf(stderr, "verify: the same command goes on from %s\n", s->a.resume);
    return signal_number ? 128 + signal_number : exit_code(s);
}

int command_run(int argc, char **argv)
{
    session *const s = calloc(1, sizeof *s);
    operands cases;
    int code;
    catch_interrupts();
    if (!s) return usage_error("no memory");
    long const processors = sysconf(_SC_NPROCESSORS_ONLN);
    int const jobs = processors > 0 && processors < 64 ? (int)processors : 1;
    s->kept.fd = -1;
    s->a = (arguments){.format = "text", .limits = {.timeout = 60}, .jobs = jobs};
    if (options_read(&run_syntax, argc, argv, &s->a, &cases, &code)) {
        code = use_arguments(s, &cases);
        if (!code) code = run_session(s);
    }
    resume_close(&s->kept, &s->pl);
    cases_free(&s->pl.cases);
    free(s);
    return code;
}
