/* See native.h. */
#include "native.h"

#include "case/fill.h"
#include "deadline.h"
#include "fault.h"
#include "load.h"
#include "own_locale.h"
#include "trial.h"
#include "twin.h"
#include "wire.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct native {
    backend b;
    port_limits limits;
    process worker;
    heard heard;                               /* of the case in work; of the first, of the start too */
    uint64_t serial;                           /* of that case */
    int late;                                  /* starts in a row that were too late */
    char ops[sizeof(((answer *)0)->declared)]; /* names, a space behind each */
};

/* ---- what goes through the pipes ---- */

/*
 * To the worker: a case, and if they are given the inputs in order. Back: an answer, and if the port ran the outputs of its first
 * run in order. The first answer is the hello, whose `declared` names the ops and
 * whose `why` says what the port runs on, or nothing.
 */

/* A case, with its tensors behind it. As it stands: the worker was forked from this process, so the tables of ops that a problem
 * points to are where they were. */
typedef struct {
    bool given;
    problem p;
} case_head;

static bool is_output(const problem *p, int i)
{
    return p->tensor[i].row->kind == TENSOR_OUT;
}

static void send_case(native *n, const problem *p, bool given, const deadline *until)
{
    case_head const head = {given, *p};
    size_t const bytes = (size_t)p->tensors * sizeof *p->tensor;
    frame const f = frame_of(FRAME_CASE, n->serial, sizeof head + bytes);
    if (deadline_write_all(until, &n->worker, &f, sizeof f) <= 0) return;
    if (deadline_write_all(until, &n->worker, &head, sizeof head) <= 0) return;
    deadline_write_all(until, &n->worker, p->tensor, bytes);
}

/* False: an input can't be read, as when it is mapped from a file that was cut. */
static bool send_inputs(native *n, const problem *p, void *const data[], const deadline *until)
{
    errno = 0;
    for (int i = 0; i < p->tensors; i++)
        if (!is_output(p, i) &&
            wire_write(until, &n->worker, FRAME_TENSOR, n->serial, data[i], p->tensor[i].bytes) <= 0)
            return errno != EFAULT;
    return true;
}

static wire_state receive_outputs(native *n, const problem *p, void *const data[], const deadline *until)
{
    wire_state state = WIRE_GOOD;
    for (int i = 0; i < p->tensors && state == WIRE_GOOD; i++)
        if (is_output(p, i)) state = wire_read(until, &n->worker, FRAME_TENSOR, n->serial, data[i], p->tensor[i].bytes);
    return state;
}

/* The steps of a sequence come as its id: they lie elsewhere in this process. */
static bool make_steps(problem *p)
{
    problem whole;
    complaint why;
    if (!p->steps) return true;
    p->step = NULL;
    if (!problem_parse(p->id, &whole, &why)) return false;
    free(p->tensor);
    *p = whole;
    return true;
}

/* problem_close either way. */
static bool receive_case(int fd, case_head *head, uint64_t *serial)
{
    frame f;
    head->p = (problem){.tensors = 0};
    if (!wire_receive_head(fd, FRAME_CASE, &f)) return false;
    bool const read = read_all(fd, head, sizeof *head);
    head->p.step = NULL;
    if (!read) return head->p.tensor = NULL, false;
    size_t const bytes = (size_t)head->p.tensors * sizeof *head->p.tensor;
    *serial = f.serial;
    head->p.tensor = calloc(1, bytes + 1);
    return head->p.tensor && f.bytes == sizeof *head + bytes && read_all(fd, head->p.tensor, bytes) &&
           make_steps(&head->p);
}

static bool receive_inputs(int fd, uint64_t serial, const problem *p, void *const data[])
{
    for (int i = 0; i < p->tensors; i++)
        if (!is_output(p, i) && !wire_receive(fd, FRAME_TENSOR, serial, data[i], p->tensor[i].bytes)) return false;
    return true;
}

static bool send_outputs(int fd, uint64_t serial, const problem *p, void *const data[])
{
    for (int i = 0; i < p->tensors; i++)
        if (is_output(p, i) && !wire_send(fd, FRAME_TENSOR, serial, data[i], p->tensor[i].bytes)) return false;
    return true;
}

/* ---- in the worker ---- */

typedef struct {
    loaded_port port;
    int requests, answers;
    uint64_t serial; /* of the case in work */
} desk;

static void run_trial(desk *d, trial *t, bool given, answer *a)
{
    if (given ? receive_inputs(d->requests, d->serial, t->whole, t->input) : fill_inputs(t->whole, t->input))
        trial_run(t, a);
    else
        answer_set(a, PORT_NOT_ASKED, given ? "the inputs did not arrive" : "no memory for the inputs");
}

/* What the port printed is out before the answer. */
static bool send_answer(desk *d, const answer *a)
{
    fflush(NULL);
    return wire_send(d->answers, FRAME_ANSWER, d->serial, a, sizeof *a);
}

/* False: the answer didn't get through. */
static bool serve_case(desk *d, const problem *p, bool given)
{
    trial t;
    answer a = {.outcome = PORT_NOT_ASKED};
    if (trial_open(&t, p, &d->port, given))
        run_trial(d, &t, given, &a);
    else
        answer_set(&a, PORT_NOT_ASKED, "no memory for the tensors");
    fault_rest();
    bool const sent =
        send_answer(d, &a) && (!answer_has_outputs(&a) || send_outputs(d->answers, d->serial, p, t.written[0]));
    trial_close(&t);
    return sent;
}

static bool say_hello(const backend *b, desk *d)
{
    answer hello = {.outcome = PORT_NOT_ASKED};
    bool const ready = load_port(b, &d->port, &hello);
    if (ready) {
        answer_set(&hello, PORT_RAN, d->port.runs_on);
        name_ops(&d->port, hello.declared, sizeof hello.declared);
    }
    return send_answer(d, &hello) && ready;
}

static bool serve_next(desk *d)
{
    case_head next;
    bool const come = receive_case(d->requests, &next, &d->serial);
    fault_case(d->serial);
    if (come && !serve_case(d, &next.p, next.given)) pause(); /* the pipe is closed: the other side ends this process */
    problem_close(&next.p);
    return come;
}

/* Serves until `requests` closes. */
static _Noreturn void serve(const backend *b, const process *p, pid_t asker)
{
    desk d = {.requests = p->requests, .answers = p->answers};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != asker) _exit(0);
    setvbuf(stdout, NULL, _IOLBF, 0); /* a port that crashes has printed its lines */
    own_locale();
    twin_watch();
    fault_catch(d.answers);
    if (!say_hello(b, &d)) _exit(0);
    while (serve_next(&d)) continue;
    unload_port(&d.port);
    _exit(0);
}

/* ---- in the process that asks ---- */

static bool start_worker(native *n)
{
    pid_t const asker = getpid();
    if (!process_start(&n->worker, &n->heard)) return false;
    if (n->worker.pid == 0) serve(&n->b, &n->worker, asker);
    return true;
}

/* The worker is gone, or what runs there doesn't speak any more. */
static port_outcome describe_death(native *n, complaint *why)
{
    static double const patience = 0.5; /* for one whose pipe is closed already */
    for (double const last = now() + patience; !process_has_ended(&n->worker) && now() < last;) pause_for(1e-3);
    bool const ended = process_has_ended(&n->worker);
    int const status = process_end(&n->worker, 0);
    if (!ended) return refuse(why, "the port closed the pipe that its process answers through"), PORT_REJECTED;
    if (WIFSIGNALED(status))
        refuse(why, "signal %s", sigabbrev_np(WTERMSIG(status)));
    else
        refuse(why, "the port ended the process with exit code %d", WEXITSTATUS(status));
    return PORT_CRASHED;
}

/* There is no answer, or none that can be believed: that becomes one, and the worker is gone. */
static void give_up(native *n, wire_state state, const deadline *until, answer *a)
{
    complaint why = {""};
    port_outcome outcome = PORT_REJECTED;
    if (state == WIRE_LATE)
        outcome = deadline_missed(until, &why);
    else if (state == WIRE_GONE)
        outcome = describe_death(n, &why);
    else
        refuse(&why, "what came from its process is no answer: the port wrote to a pipe that isn't its own");
    process_end(&n->worker, 0);
    memset(a, 0, sizeof *a);
    answer_set(a, outcome, why.text);
}

static void await(native *n, const deadline *until, answer *a)
{
    wire_state const state = wire_read_answer(until, &n->worker, n->serial, a);
    if (state != WIRE_GOOD)
        give_up(n, state, until, a);
    else if (a->outcome == PORT_CRASHED || a->outcome == PORT_NOT_ASKED || /* it is gone, or without memory, */
             a->outcome == PORT_CORRUPT)                                   /* or its memory isn't to be trusted */
        process_end(&n->worker, deadline_to_end(n->limits.timeout));
}

/* Starts a worker and reads its hello; without a port that can be used it is gone again. */
static void begin(native *n, answer *hello)
{
    deadline const until = deadline_in(n->limits.start);
    answer_set(hello, PORT_NOT_ASKED, "cannot start a process");
    n->serial = 0;
    if (!start_worker(n)) return;
    await(n, &until, hello);
    n->late = hello->outcome == PORT_LATE ? n->late + 1 : 0;
    if (hello->outcome != PORT_RAN) process_end(&n->worker, deadline_to_end(n->limits.timeout));
}

native *native_open(const backend *b, port_limits limits, answer *hello)
{
    native *const n = calloc(1, sizeof *n);
    if (!n) abort();
    n->b = *b;
    n->limits = limits;
    begin(n, hello);
    if (hello->outcome == PORT_RAN) snprintf(n->ops, sizeof n->ops, "%s", hello->declared);
    return n;
}

void native_close(native *n, complaint *why)
{
    double const patience = deadline_to_end(n->limits.timeout);
    int const status = process_end(&n->worker, patience);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        refuse(why, "its close did not return within %g s", patience);
    else if (status)
        refuse(why, "its close ended the process with %s %d", WIFSIGNALED(status) ? "signal" : "exit code",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    free(n);
}

const heard *native_heard(const native *n)
{
    return &n->heard;
}

bool native_has_op(const native *n, const char *name)
{
    size_t const length = strlen(name);
    for (const char *s = n->ops; *s; s += strcspn(s, " ") + (strchr(s, ' ') != NULL))
        if (!strncmp(s, name, length) && s[length] == ' ') return true;
    return false;
}

static void ask(native *n, const problem *pr, void *const data[], bool given, answer *a)
{
    deadline const until = deadline_in(n->limits.timeout);
    n->serial++;
    send_case(n, pr, given, &until);
    if (given && !send_inputs(n, pr, data, &until)) {
        process_end(&n->worker, 0);
        return answer_set(a, PORT_NOT_ASKED, "an input can't be read");
    }
    await(n, &until, a);
    if (!answer_has_outputs(a)) return;
    wire_state const state = receive_outputs(n, pr, data, &until);
    if (state != WIRE_GOOD) give_up(n, state, &until, a);
}

void native_ask(native *n, const problem *pr, void *const data[], bool given, answer *a)
{
    if (!n->worker.pid || n->serial) n->heard.kept = 0, n->heard.bytes = 0;
    answer_set(a, PORT_RAN, "");
    if (n->late >= MOST_LATE_STARTS) return answer_set(a, PORT_LATE, late_starts);
    if (!n->worker.pid) begin(n, a);
    if (a->outcome != PORT_RAN) return;
    memset(a, 0, sizeof *a);
    ask(n, pr, data, given, a);
    if (n->worker.pid) process_hear(&n->worker);
}
