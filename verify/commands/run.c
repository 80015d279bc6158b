/* verify run */
#include "command_line.h"
#include "memory.h"
#include "options.h"
#include "progress.h"
#include "files/unknown_word.h"
#include "port/port.h"
#include "printable.h"
#include "profile.h"
#include "reports.h"
#include "resume.h"
#include "run/case.h"
#include "run/schedule.h"
#include "shard.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    option_list backends, requires;
    const char *format, *out, *resume, *shard;
    port_limits limits;
    int jobs;
    const char *profile;
    bool strict, proofs, diagnose, verbose;
} arguments;

static const option options[] = {
    {"--backend", OPTION_BACKENDS, offsetof(arguments, backends), "B",
     "plain, avx512, portable, cuda, transformers; a path such as ./port.so; cuda:./kernels.cu; or exec:'COMMAND'. "
     "Several with commas, though all behind exec: is its command, or the option several times. Default: every known "
     "one"},
    {"--require", OPTION_REPEATED, offsetof(arguments, requires), "B", "exit 3 unless this backend was judged"},
    {"--format", OPTION_TEXT, offsetof(arguments, format), "F",
     "text (default), jsonl, junit (XML), md (for GitHub's step summary), html (one page); several with commas"},
    {"--out", OPTION_TEXT, offsetof(arguments, out), "DIR",
     "where files go: results.jsonl, junit.xml, summary.md, report.html; default: standard output, of one"},
    {"--shard", OPTION_TEXT, offsetof(arguments, shard), "I/N",
     "judge every N-th case from the I-th on; auto: as Open MPI, PMI or Slurm number this job. See verify merge"},
    {"--resume", OPTION_TEXT, offsetof(arguments, resume), "JOURNAL",
     "write each verdict to this file as it comes; the same command goes on from there if it was killed"},
    {"--jobs", OPTION_WHOLE, offsetof(arguments, jobs), "N",
     "processes that judge; default: as many as there are processors", 1, 64},
    {"--timeout", OPTION_NUMBER, offsetof(arguments, limits.timeout), "S",
     "seconds for one case on one port; default 60", 0.01, 86400},
    {"--start-timeout", OPTION_NUMBER, offsetof(arguments, limits.start), "S",
     "seconds for the start of a port; default 120 for a program, as --timeout for a shared object", 0.01, 86400},
    {"--strict", OPTION_FLAG, offsetof(arguments, strict), NULL, "SUSPECT and CONVENTION count as failed"},
    {"--profile", OPTION_WORD, offsetof(arguments, profile), "NAME",
     "what this public reference does by convention is CONVENTION and no FAIL: deepseek, transformers, "
     "transformers-2025, vllm, sglang, llama.cpp; verify list --profiles says what and since when",
     .words = profile_names},
    {"--proofs", OPTION_FLAG, offsetof(arguments, proofs), NULL,
     "verdicts that rest on theorems alone: no statistics, which take most of the time"},
    {"--diagnose", OPTION_FLAG, offsetof(arguments, diagnose), NULL,
     "try the known mistakes on what fails, and name the likely one"},
    {"--verbose", OPTION_FLAG, offsetof(arguments, verbose), NULL,
     "a line a case, with declaration, repro, and the known mistakes that it can't see; all that fails in full"},
    {NULL},
};

static const syntax run_syntax = {
    "run", "usage: verify run CASE... [--backend=B[,B...]] [options]\n", options,
    "Prints what fails (three in full, twenty by a line, then a number), then a row an op:\n"
    "how many of its cases passed, the coarsest resolution of these (bits), and how many\n"
    "known mistakes of the op they see together. A few cases, each of another op,\n"
    "have a line each instead. A port that can't run here is named, and isn't counted.\n"
    "\n"
    "A port is code that runs here: judge only ports that you trust.\n"
    "The last line reads: N passed, N failed, N skipped.\n"};

typedef struct {
    arguments a;
    plan pl;
    report_run reported;
    run_about about;
    char absent[MAX_BACKENDS][512]; /* why; see report_run */
    char hello[MAX_BACKENDS][256];  /* see report_run */
    reports reports;
    resume_port port[MAX_BACKENDS];
    journal kept;
    complaint lost; /* why the journal could not be written; "": it could */
    tally t;
    progress shown;
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

static int add_cases(session *s, const operands *cases)
{
    complaint why;
    for (int i = 0; i < cases->count; i++)
        if (!cases_add(&s->pl.cases, cases->word[i], &why)) return usage_error("%s", why.text);
    if (s->pl.cases.count) return EXIT_GOOD;
    if (cases->count) return usage_error("%s holds no case: write one a line, as in rmsnorm@v3", cases->word[0]);
    return usage_error("run needs at least one case, as in: verify run @smoke --backend=./port.so");
}

/* Of the cases, as --shard says. */
static int take_share(session *s)
{
    complaint why;
    shard part;
    if (!shard_read(s->a.shard, &part, &why)) return usage_error("%s", why.text);
    int const whole = s->pl.cases.count;
    if (part.of > whole)
        return usage_error("--shard=%d/%d leaves some shards without a case: there %s %d; take at most %d shard%s",
                           part.index, part.of, whole == 1 ? "is" : "are", whole, whole, whole == 1 ? "" : "s");
    about_cases(&s->about, s->pl.cases.id, whole);
    s->about.shard = s->t.shard = part.index;
    s->about.shards = s->t.shards = part.of;
    cases_share(&s->pl.cases, part.index - 1, part.of);
    return EXIT_GOOD;
}

static int use_arguments(session *s, const operands *cases)
{
    s->pl.jobs = s->a.jobs;
    s->pl.limits = s->a.limits;
    s->reports = (reports){.formats = s->a.format, .out = s->a.out, .kept = &s->a.resume, .kepts = s->a.resume != NULL};
    int code = reports_choose(&s->reports);
    unsigned const looks = s->a.verbose ? WANT_SIGHT : s->reports.sees ? WANT_GLANCE : 0;
    unsigned const followed = s->a.profile ? (unsigned)profile_named(s->a.profile) + 1 : 0;
    s->pl.wanted =
        WANT_PROFILE * followed | (s->a.diagnose ? WANT_DIAGNOSIS : 0) | (s->a.proofs ? WANT_PROOFS : 0) | looks;
    if (!code) code = add_backends(s);
    if (!code) code = add_cases(s, cases);
    if (!code) code = take_share(s);
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

/* With what it printed, behind a bar: the end of a program's traceback says most. */
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
    for (size_t length = 0; n && *from; from += length + (from[length] == '\n')) {
        length = strcspn(from, "\n");
        fprintf(stderr, "| %.*s\n", (int)length, from);
    }
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

/* "NAME VERSION", of which the version may be missing. */
static void note_hello(session *s, int b, const char *hello)
{
    char *const own = s->hello[b];
    snprintf(own, sizeof s->hello[b], "%s", hello);
    for (size_t n = strlen(own); n && own[n - 1] == ' '; n--) own[n - 1] = 0;
    s->reported.hello[b] = own;
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
        note_hello(s, b, port_hello(p));
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

/* What the reports say of the run. */
static void note_run(session *s)
{
    run_about *const a = &s->about;
    about_here(a);
    a->timeout = s->a.limits.timeout;
    a->strict = s->a.strict;
    a->proofs = s->a.proofs;
    a->diagnose = s->a.diagnose;
    a->verbose = s->a.verbose;
    a->profile = s->a.profile;
    a->requires = s->a.requires.count;
    memcpy(a->require, s->a.requires.item, sizeof a->require);
    s->reported.about = a;
}

static int open_reports(session *s)
{
    note_run(s);
    s->reported.cases = s->pl.cases.count;
    s->reported.id = s->pl.cases.id;
    s->reported.backends = s->pl.backends;
    s->reported.verbose = s->a.verbose;
    for (int b = 0; b < s->pl.backends; b++)
        s->reported.start_timeout[b] = start_seconds(s->pl.backend[b].kind == BACKEND_PROGRAM, s->a.limits);
    s->reported.known = !s->a.backends.count;
    if (!repros_of_run(&s->reported)) return usage_error("no memory");
    return reports_open(&s->reports, &s->reported);
}

/* ---- the run ---- */

static void on_waiting(const plan *pl, int index, double seconds, void *context)
{
    const session *const s = context;
    progress_show(&s->shown, pl, s->t.cases, s->t.failed, index, seconds);
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
    progress_clear(&s->shown);
    reports_add(&s->reports, &s->reported, index, results, &s->t);
    progress_add(&s->shown, pl, index);
    if (s->t.cases < pl->cases.count) progress_show(&s->shown, pl, s->t.cases, s->t.failed, index, 0);
    return !reports_are_unread(&s->reports);
}

/* What fewer cases than jobs leave is for the blocks of a CUDA kernel on the machine of cuda/emu, unless that is set. */
static void share_processors(int asked, int used)
{
    char text[16];
    snprintf(text, sizeof text, "%d", used ? asked / used : 1);
    setenv("DSV3_CUDA_THREADS", text, 0);
}

static int run_session(session *s)
{
    complaint why;
    int code = check_memory(s);
    if (!code) code = check_requires(s);
    if (!code) code = check_backends(s);
    if (!code) code = open_journal(s);
    if (!code) code = open_reports(s);
    if (code) return code;
    progress_start(&s->shown, &s->pl, s->reports.people);
    s->pl.waiting = on_waiting;
    s->pl.judged = s->a.resume ? on_judged : NULL;
    int const left = s->pl.cases.count - plan_known(&s->pl);
    if (s->pl.jobs > left) s->pl.jobs = left;
    share_processors(s->a.jobs, s->pl.jobs);
    double const from = now();
    int const signal_number = run_plan(&s->pl, on_case, s);
    s->t.seconds = now() - from;
    progress_clear(&s->shown);
    s->t.interrupted = signal_number || *s->lost.text;
    if (!reports_close(&s->reports, &s->reported, &s->t, &why)) return usage_error("%s", why.text);
    if (*s->lost.text) return usage_error("%s", s->lost.text);
    if (signal_number && s->a.resume) fprintf(stderr, "verify: the same command goes on from %s\n", s->a.resume);
    return signal_number ? 128 + signal_number : reports_exit_code(&s->reported, &s->t);
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
    s->a = (arguments){.format = "text", .limits = usual_limits, .jobs = jobs};
    if (options_read(&run_syntax, argc, argv, &s->a, &cases, &code)) {
        code = use_arguments(s, &cases);
        if (!code) code = run_session(s);
    }
    resume_close(&s->kept, &s->pl);
    repros_free(&s->reported);
    cases_free(&s->pl.cases);
    free(s);
    return code;
}
