/* See native.h. */
#include "native.h"

#include "case/fill.h"
#include "deadline.h"
#include "fault.h"
#include "load.h"
#include "process.h"
#include "trial.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct native {
    backend b;
    double timeout;
    process worker;
    char ops[sizeof(((answer *)0)->declared)]; /* names, a space behind each */
};

/* ---- what goes through the pipes ---- */

/*
 * To the worker: `given`, the problem, and if they are given the inputs in order. Back: an answer, and if the port ran the outputs
 * of its first run in order. The first answer is the hello, whose `declared` names the ops.
 */

/* As it stands: the worker was forked from this process, so the tables of ops that a problem points to are where they were. */
static void send_problem(int fd, const problem *p)
{
    write_all(fd, p, sizeof *p);
    write_all(fd, p->tensor, (size_t)p->tensors * sizeof *p->tensor);
}

/* problem_close either way. */
static bool receive_problem(int fd, problem *p)
{
    *p = (problem){.tensors = 0};
    if (!read_all(fd, p, sizeof *p)) return p->tensor = NULL, false;
    p->tensor = calloc((size_t)p->tensors, sizeof *p->tensor);
    return p->tensor && read_all(fd, p->tensor, (size_t)p->tensors * sizeof *p->tensor);
}

static bool is_output(const problem *p, int i)
{
    return p->tensor[i].row->kind == TENSOR_OUT;
}

/* False: an input can't be read, as when it is mapped from a file that was cut. */
static bool send_inputs(int fd, const problem *p, void *const data[])
{
    for (int i = 0; i < p->tensors; i++)
        if (!is_output(p, i) && !write_all(fd, data[i], p->tensor[i].bytes) && errno == EFAULT) return false;
    return true;
}

static bool receive_inputs(int fd, const problem *p, void *const data[])
{
    for (int i = 0; i < p->tensors; i++)
        if (!is_output(p, i) && !read_all(fd, data[i], p->tensor[i].bytes)) return false;
    return true;
}

static void send_outputs(int fd, const problem *p, void *const data[])
{
    for (int i = 0; i < p->tensors; i++)
        if (is_output(p, i) && !write_all(fd, data[i], p->tensor[i].bytes)) return;
}

static bool receive_outputs(int fd, const problem *p, void *const data[], const deadline *until)
{
    for (int i = 0; i < p->tensors; i++)
        if (is_output(p, i) && deadline_read_all(until, fd, data[i], p->tensor[i].bytes) <= 0) return false;
    return true;
}

/* ---- in the worker ---- */

static void run_trial(trial *t, const loaded_port *port, bool given, int requests, answer *a)
{
    if (!given) fill_inputs(t->p, t->input);
    if (!given || receive_inputs(requests, t->p, t->input))
        trial_run(t, port, a);
    else
        answer_set(a, PORT_NOT_ASKED, "the inputs did not arrive");
}

static void serve_case(const loaded_port *port, const problem *p, bool given, int requests, int answers)
{
    trial t;
    answer a = {.outcome = PORT_NOT_ASKED};
    if (trial_open(&t, p))
        run_trial(&t, port, given, requests, &a);
    else
        answer_set(&a, PORT_NOT_ASKED, "no memory for the tensors");
    if (write_all(answers, &a, sizeof a) && a.outcome == PORT_RAN) send_outputs(answers, p, t.written[0]);
    trial_close(&t);
}

static bool say_hello(const backend *b, loaded_port *port, int answers)
{
    answer hello = {.outcome = PORT_NOT_ASKED};
    bool const ready = load_port(b, port, &hello);
    if (ready) {
        answer_set(&hello, PORT_RAN, "");
        name_ops(port, hello.declared, sizeof hello.declared);
    }
    return write_all(answers, &hello, sizeof hello) && ready;
}

/* Serves until `requests` closes. */
static _Noreturn void serve(const backend *b, int requests, int answers)
{
    loaded_port port;
    bool given;
    problem p;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN);
    fault_catch(answers);
    if (!say_hello(b, &port, answers)) _exit(0);
    while (read_all(requests, &given, sizeof given) && receive_problem(requests, &p)) {
        serve_case(&port, &p, given, requests, answers);
        problem_close(&p);
    }
    unload_port(&port);
    _exit(0);
}

/* ---- in the process that asks ---- */

static bool start_worker(native *n)
{
    if (!process_start(&n->worker)) return false;
    if (n->worker.pid == 0) serve(&n->b, n->worker.requests, n->worker.answers);
    return true;
}

static port_outcome describe_death(int status, complaint *why)
{
    if (WIFSIGNALED(status))
        refuse(why, "signal %s", sigabbrev_np(WTERMSIG(status)));
    else
        refuse(why, "the port ended the process with exit code %d", WEXITSTATUS(status));
    return PORT_CRASHED;
}

/* Waits for an answer. A death or a silence becomes one, and the worker is gone. */
static void await(native *n, const deadline *until, answer *a)
{
    complaint why;
    int const got = deadline_read_all(until, n->worker.answers, a, sizeof *a);
    if (got > 0 && a->outcome != PORT_CRASHED) return;
    int const status = process_end(&n->worker, got < 0);
    if (got > 0) return;
    port_outcome const outcome = got < 0 ? deadline_missed(until, &why) : describe_death(status, &why);
    memset(a, 0, sizeof *a);
    answer_set(a, outcome, why.text);
}

/* Starts a worker and reads its hello. */
static void begin(native *n, answer *hello)
{
    deadline const until = deadline_in(n->timeout);
    answer_set(hello, PORT_NOT_ASKED, "cannot start a process");
    if (start_worker(n)) await(n, &until, hello);
}

native *native_open(const backend *b, double timeout, answer *hello)
{
    native *const n = calloc(1, sizeof *n);
    if (!n) abort();
    n->b = *b;
    n->timeout = timeout;
    begin(n, hello);
    snprintf(n->ops, sizeof n->ops, "%s", hello->declared);
    return n;
}

void native_close(native *n)
{
    process_end(&n->worker, false);
    free(n);
}

bool native_has_op(const native *n, const char *name)
{
    size_t const length = strlen(name);
    for (const char *s = n->ops; *s; s += strcspn(s, " ") + 1)
        if (!strncmp(s, name, length) && s[length] == ' ') return true;
    return false;
}

void native_ask(native *n, const problem *pr, void *const data[], bool given, answer *a)
{
    deadline const until = deadline_in(n->timeout);
    if (!n->worker.pid) begin(n, a);
    if (!n->worker.pid) return;
    write_all(n->worker.requests, &given, sizeof given);
    send_problem(n->worker.requests, pr);
    if (given && !send_inputs(n->worker.requests, pr, data)) {
        process_end(&n->worker, true);
        answer_set(a, PORT_NOT_ASKED, "an input can't be read");
        return;
    }
    await(n, &until, a);
    if (a->outcome != PORT_RAN || receive_outputs(n->worker.answers, pr, data, &until)) return;
    process_end(&n->worker, true);
    memset(a, 0, sizeof *a);
    answer_set(a, PORT_NOT_ASKED, "the worker's outputs did not arrive");
}
