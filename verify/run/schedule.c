/* See schedule.h. */
#include "schedule.h"

#include "ask.h"
#include "case.h"
#include "glance.h"
#include "port/process.h"
#include "port/struck.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- runners: processes that judge one case after another ---- */

/* What it is asked: a case, and for each port which known mistakes the cases before it see. */
typedef struct {
    int index;
    ref_set seen[MAX_BACKENDS];
} request;

typedef struct {
    process process;
    int index;   /* of the case in work; -1: idle */
    double from; /* when it was handed out */
} runner;

static _Noreturn void runner_serve(const plan *pl, pid_t judge_of_all, int requests, int answers)
{
    port *ports[MAX_BACKENDS];
    size_t const bytes = (size_t)pl->backends * sizeof(result);
    result *const results = malloc(bytes);
    request asked;
    if (!results) abort();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != judge_of_all) _exit(0);
    signal(SIGPIPE, SIG_IGN);
    struck_watch();
    for (int b = 0; b < pl->backends; b++) ports[b] = port_open(&pl->backend[b], pl->limits);
    while (read_all(requests, &asked, sizeof asked)) {
        const problem *const p = pl->cases.problem[asked.index];
        run_case(p, NULL, ports, pl->backends, pl->wanted, results);
        if (pl->wanted & WANT_GLANCE) glance(p, asked.seen, pl->backends, results);
        if (!write_all(answers, results, bytes)) break;
    }
    for (int b = 0; b < pl->backends; b++) port_close(ports[b]);
    free(results);
    _exit(0);
}

static bool runner_start(const plan *pl, runner *r)
{
    pid_t const own = getpid();
    r->index = -1;
    if (!process_start(&r->process, NULL)) return false;
    if (r->process.pid == 0) runner_serve(pl, own, r->process.requests, r->process.answers);
    return true;
}

/* ---- the schedule ---- */

typedef struct {
    const plan *pl;
    on_results *report;
    void *context;
    result **done;              /* by case; NULL: not yet */
    int next;                   /* case to hand out */
    int shown;                  /* cases reported */
    bool stopped;               /* nobody reads the report any more */
    ref_set seen[MAX_BACKENDS]; /* by port: known mistakes that its cases see so far */
} schedule;

static volatile sig_atomic_t interrupted; /* set by a signal handler: its number */
static volatile sig_atomic_t running;     /* a handler only takes note */

static void on_interrupt(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (struck_by_port(info)) return;
    static const char text[] = "verify: interrupted before anything was judged\n";
    interrupted = number;
    if (running) return;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(128 + number);
}

void catch_interrupts(void)
{
    struct sigaction const action = {.sa_sigaction = on_interrupt, .sa_flags = SA_SIGINFO};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction before;
    sigaction(SIGHUP, NULL, &before);
    if (before.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, NULL); /* nohup */
}

/* Is there a verdict of an earlier run? */
static bool is_known(const plan *pl, int index)
{
    const result *const r = pl->earlier ? pl->earlier[index] : NULL;
    for (int b = 0; r && b < pl->backends; b++)
        if (r[b].v == ERROR) return false;
    return r != NULL;
}

int plan_known(const plan *pl)
{
    int n = 0;
    for (int i = 0; i < pl->cases.count; i++) n += is_known(pl, i);
    return n;
}

static void show_ready(schedule *s)
{
    while (s->shown < s->pl->cases.count && s->done[s->shown]) {
        s->stopped |= !s->report(s->pl, s->shown, s->done[s->shown], s->context);
        free(s->done[s->shown]);
        s->done[s->shown++] = NULL;
    }
}

static void note_seen(schedule *s, const result results[])
{
    for (int b = 0; b < s->pl->backends; b++)
        for (int w = 0; w < REF_SET_MOST / 64; w++) s->seen[b].word[w] |= results[b].quirks_seen.word[w];
}

static void take_earlier(schedule *s)
{
    size_t const bytes = (size_t)s->pl->backends * sizeof(result);
    for (int i = 0; i < s->pl->cases.count; i++) {
        if (!is_known(s->pl, i)) continue;
        s->done[i] = malloc(bytes);
        if (!s->done[i]) abort();
        memcpy(s->done[i], s->pl->earlier[i], bytes);
        note_seen(s, s->done[i]);
    }
}

/* After an interruption: those that are behind a case which isn't judged. */
static void show_rest(schedule *s)
{
    for (int i = s->shown; i < s->pl->cases.count; i++)
        if (s->done[i]) s->report(s->pl, i, s->done[i], s->context);
}

static void hand_out(schedule *s, runner *r)
{
    while (s->next < s->pl->cases.count && is_known(s->pl, s->next)) s->next++;
    if (r->process.pid <= 0 || r->index >= 0 || s->next >= s->pl->cases.count) return;
    request asked = {.index = s->next++};
    memcpy(asked.seen, s->seen, sizeof asked.seen);
    r->index = asked.index;
    r->from = now();
    write_all(r->process.requests, &asked, sizeof asked);
}

/* The runner died in the middle of a case: that is an ERROR of the harness, or a port killed it. */
static void record_death(const schedule *s, int status, result *results)
{
    char why[100];
    if (WIFSIGNALED(status))
        snprintf(why, sizeof why, "the judging process died by signal %s%s", sigabbrev_np(WTERMSIG(status)),
                 WTERMSIG(status) == SIGKILL ? ", which a port, or the system without memory, may send" : "");
    else
        snprintf(why, sizeof why, "the judging process ended with exit code %d", WEXITSTATUS(status));
    for (int b = 0; b < s->pl->backends; b++) case_unjudged(&results[b], why);
}

/* What an earlier run found stays found. */
static void keep_earlier(const plan *pl, int index, result *results)
{
    const result *const earlier = pl->earlier ? pl->earlier[index] : NULL;
    for (int b = 0; earlier && b < pl->backends; b++)
        if (earlier[b].v != ERROR) results[b] = earlier[b];
}

static void collect(schedule *s, runner *r)
{
    size_t const bytes = (size_t)s->pl->backends * sizeof(result);
    result *const results = calloc(1, bytes);
    if (!results) abort();
    int const index = r->index;
    if (!read_all(r->process.answers, results, bytes)) {
        record_death(s, process_end(&r->process, 1), results);
        runner_start(s->pl, r);
    }
    r->index = -1;
    if (index < 0) {
        free(results);
        return;
    }
    keep_earlier(s->pl, index, results);
    note_seen(s, results);
    s->done[index] = results;
    if (s->pl->judged) s->stopped |= !s->pl->judged(s->pl, index, results, s->context);
    show_ready(s);
}

static bool any_alive(const plan *pl, const runner *runners)
{
    for (int j = 0; j < pl->jobs; j++)
        if (runners[j].process.pid > 0) return true;
    fprintf(stderr, "verify: cannot start a process to judge in\n");
    return false;
}

/* A port may have stopped the process that judges it. */
static void wake_all(const schedule *s, const runner *runners)
{
    for (int j = 0; j < s->pl->jobs; j++)
        if (runners[j].process.pid > 0) kill(runners[j].process.pid, SIGCONT);
}

static void tell_waiting(const schedule *s, const runner *runners)
{
    const runner *longest = NULL;
    for (int j = 0; s->pl->waiting && j < s->pl->jobs; j++) {
        const runner *const r = &runners[j];
        if (r->process.pid > 0 && r->index >= 0 && (!longest || r->from < longest->from)) longest = r;
    }
    if (longest) s->pl->waiting(s->pl, longest->index, now() - longest->from, s->context);
}

/* Waits until some runner has something to say. */
static void wait_for_any(schedule *s, runner *runners)
{
    struct pollfd fds[64];
    int busy = 0, which[64];
    for (int j = 0; j < s->pl->jobs; j++) {
        if (runners[j].process.pid <= 0 || runners[j].index < 0) continue;
        which[busy] = j;
        fds[busy++] = (struct pollfd){runners[j].process.answers, POLLIN, 0};
    }
    int const ready = busy ? poll(fds, (nfds_t)busy, 500) : 0;
    if (ready == 0) wake_all(s, runners);
    tell_waiting(s, runners);
    if (ready <= 0) return;
    for (int i = 0; i < busy; i++)
        if (fds[i].revents) collect(s, &runners[which[i]]);
}

/* Seconds that a runner has to end its ports in. */
static double patience(const plan *pl)
{
    return 10 + 12.0 * pl->backends;
}

int run_plan(const plan *pl, on_results *report, void *context)
{
    runner runners[64];
    schedule s = {pl, report, context, calloc((size_t)pl->cases.count, sizeof(result *)), 0, 0, false, {{{0}}}};
    if (!s.done) abort();
    running = 1;
    take_earlier(&s);
    show_ready(&s);
    for (int j = 0; j < pl->jobs; j++) runner_start(pl, &runners[j]);
    while (s.shown < pl->cases.count && !interrupted && !s.stopped && any_alive(pl, runners)) {
        for (int j = 0; j < pl->jobs; j++) hand_out(&s, &runners[j]);
        wait_for_any(&s, runners);
    }
    if (interrupted) show_rest(&s);
    for (int j = 0; j < pl->jobs; j++) process_end(&runners[j].process, interrupted || s.stopped ? 0 : patience(pl));
    for (int i = 0; i < pl->cases.count; i++) free(s.done[i]);
    free(s.done);
    return interrupted;
}
