/* See run.h. */
#include "run.h"

#include "case/fill.h"
#include "judge/diagnose.h"
#include "judge/judge.h"
#include "port/process.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- one case ---- */

/* What is known of a case: tensors, truth, and the legal results under the last declaration asked for. */
typedef struct {
    const problem *p;
    void *data[MAX_TENSORS];
    enclosures truth, legal, own; /* own: of an op with a choice */
    bool have_truth, have_legal;
    char declared[REF_NUMERICS_CAP];
} known;

static void forget(known *k)
{
    tensors_close(k->data);
    enclosures_free(&k->truth);
    enclosures_free(&k->legal);
    enclosures_free(&k->own);
}

static bool learn(known *k, const ref_numerics *n, const char *declared)
{
    if (k->p->op->staged && k->have_truth) { /* both depend on what this port decided */
        enclosures_free(&k->truth);
        k->have_truth = false;
        k->declared[0] = 1;
    }
    if (!k->have_truth) k->have_truth = enclose_truth(k->p, k->data, &k->truth);
    if (!k->have_truth) return false;
    if (k->p->op->choice && !k->own.value && !enclose_own(k->p, k->data, &k->own)) return false;
    if (k->have_legal && !strcmp(k->declared, declared)) return true;
    if (k->have_legal) enclosures_free(&k->legal);
    k->have_legal = enclose_legal(k->p, n, k->data, &k->legal);
    snprintf(k->declared, sizeof k->declared, "%s", declared);
    return k->have_legal;
}

/* The port ran: what is its answer worth? */
static void judge_answer(known *k, bool diagnosing, result *r)
{
    ref_numerics numerics;
    complaint why;
    double const from = now();
    if (!ref_numerics_parse(k->p->op->name, r->declared, &numerics, why.text, sizeof why.text)) {
        r->v = REJECTED;
        snprintf(r->why, sizeof r->why, "its declaration can't be read: %.470s", why.text);
        return;
    }
    ref_numerics_print(k->p->op->name, &numerics, true, r->assumed, sizeof r->assumed);
    if (!learn(k, &numerics, r->declared)) {
        r->v = ERROR;
        snprintf(r->why, sizeof r->why, "no memory for the reference");
        return;
    }
    judge(k->p, &k->truth, &k->legal, &k->own, k->data, r);
    if (diagnosing && (r->v == FAIL || r->v == NOT_A_NUMBER)) diagnose(k->p, &numerics, k->data, r);
    r->reference_seconds = now() - from;
}

void run_case(const problem *p, port *const ports[], int count, bool diagnosing, result results[])
{
    known k = {.p = p};
    memset(results, 0, (size_t)count * sizeof *results);
    bool const memory = tensors_open(p, k.data);
    for (int b = 0; b < count; b++) {
        if (memory) {
            port_run(ports[b], p, k.data, &results[b]);
        } else {
            results[b].v = ERROR;
            snprintf(results[b].why, sizeof results[b].why, "no memory for the tensors");
        }
        if (memory && results[b].v == PASS) judge_answer(&k, diagnosing, &results[b]);
    }
    forget(&k);
}

void run_on(const problem *p, port *judged, void *const data[], bool diagnosing, result *r)
{
    known k = {.p = p};
    memset(r, 0, sizeof *r);
    memcpy(k.data, data, (size_t)p->tensors * sizeof *data);
    port_run_on(judged, p, k.data, r);
    if (r->v == PASS) judge_answer(&k, diagnosing, r);
    enclosures_free(&k.truth);
    enclosures_free(&k.legal);
    enclosures_free(&k.own);
}

/* ---- runners: processes that judge one case after another ---- */

typedef struct {
    process process;
    int index; /* of the case in work; -1: idle */
} runner;

static _Noreturn void runner_serve(const plan *pl, int requests, int answers)
{
    port *ports[MAX_BACKENDS];
    result results[MAX_BACKENDS];
    problem p;
    complaint why;
    int index;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    for (int b = 0; b < pl->backends; b++) ports[b] = port_open(&pl->backend[b], pl->timeout);
    while (read_all(requests, &index, sizeof index)) {
        if (!problem_parse(pl->cases.id[index], &p, &why)) break;
        run_case(&p, ports, pl->backends, pl->diagnose, results);
        if (!write_all(answers, results, (size_t)pl->backends * sizeof *results)) break;
    }
    for (int b = 0; b < pl->backends; b++) port_close(ports[b]);
    _exit(0);
}

static bool runner_start(const plan *pl, runner *r)
{
    r->index = -1;
    if (!process_start(&r->process)) return false;
    if (r->process.pid == 0) runner_serve(pl, r->process.requests, r->process.answers);
    return true;
}

/* ---- the schedule ---- */

typedef struct {
    const plan *pl;
    on_results *report;
    void *context;
    result **done; /* by case; NULL: not yet */
    int next;      /* case to hand out */
    int shown;     /* cases reported */
} schedule;

static volatile sig_atomic_t interrupted; /* set by a signal handler */

static void on_interrupt(int number)
{
    interrupted = number;
}

static void show_ready(schedule *s)
{
    while (s->shown < s->pl->cases.count && s->done[s->shown]) {
        s->report(s->pl, s->shown, s->done[s->shown], s->context);
        free(s->done[s->shown]);
        s->done[s->shown++] = NULL;
    }
}

static void hand_out(schedule *s, runner *r)
{
    if (r->process.pid <= 0 || r->index >= 0 || s->next >= s->pl->cases.count) return;
    r->index = s->next++;
    write_all(r->process.requests, &r->index, sizeof r->index);
}

/* The runner died in the middle of a case: that is an ERROR of the harness, or a port killed it. */
static void record_death(const schedule *s, int status, result *results)
{
    for (int b = 0; b < s->pl->backends; b++) {
        results[b].v = ERROR;
        if (WIFSIGNALED(status))
            snprintf(results[b].why, sizeof results[b].why, "the judging process died by signal %s",
                     sigabbrev_np(WTERMSIG(status)));
        else
            snprintf(results[b].why, sizeof results[b].why, "the judging process ended with exit code %d",
                     WEXITSTATUS(status));
    }
}

static void collect(schedule *s, runner *r)
{
    size_t const bytes = (size_t)s->pl->backends * sizeof(result);
    result *const results = calloc(1, bytes);
    if (!results) abort();
    int const index = r->index;
    if (!read_all(r->process.answers, results, bytes)) {
        record_death(s, process_end(&r->process, false), results);
        runner_start(s->pl, r);
    }
    r->index = -1;
    if (index < 0) {
        free(results);
        return;
    }
    s->done[index] = results;
    show_ready(s);
}

static bool any_alive(const plan *pl, const runner *runners)
{
    for (int j = 0; j < pl->jobs; j++)
        if (runners[j].process.pid > 0) return true;
    fprintf(stderr, "verify: cannot start a process to judge in\n");
    return false;
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
    if (busy == 0 || poll(fds, (nfds_t)busy, 1000) <= 0) return;
    for (int i = 0; i < busy; i++)
        if (fds[i].revents) collect(s, &runners[which[i]]);
}

int run_plan(const plan *pl, on_results *report, void *context)
{
    runner runners[64];
    schedule s = {pl, report, context, calloc((size_t)pl->cases.count, sizeof(result *)), 0, 0};
    struct sigaction const action = {.sa_handler = on_interrupt};
    if (!s.done) abort();
    interrupted = 0;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    for (int j = 0; j < pl->jobs; j++) runner_start(pl, &runners[j]);
    while (s.shown < pl->cases.count && !interrupted && any_alive(pl, runners)) {
        for (int j = 0; j < pl->jobs; j++) hand_out(&s, &runners[j]);
        wait_for_any(&s, runners);
    }
    for (int j = 0; j < pl->jobs; j++) process_end(&runners[j].process, interrupted != 0);
    for (int i = 0; i < pl->cases.count; i++) free(s.done[i]);
    free(s.done);
    return interrupted;
}
