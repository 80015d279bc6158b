/* See port.h. */
#include "port.h"

#include "deadline.h"
#include "exec.h"
#include "process.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

struct port {
    backend b;
    double timeout;
    port_state state;
    char why[512];
    char ops[sizeof(((answer *)0)->declared)]; /* of a port in C: names, a space behind each */
    process worker;                            /* of a port in C */
    exec_port *exec;                           /* of a program; NULL: none */
};

/* ---- the worker of a port in C ---- */

static bool start_worker(port *p)
{
    if (!process_start(&p->worker)) return false;
    if (p->worker.pid == 0) worker_serve(&p->b, p->worker.requests, p->worker.answers);
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
static void await(port *p, const deadline *until, answer *a)
{
    complaint why;
    int const got = deadline_read_all(until, p->worker.answers, a, sizeof *a);
    if (got > 0 && a->outcome != PORT_CRASHED) return;
    int const status = process_end(&p->worker, got < 0);
    if (got > 0) return;
    memset(a, 0, sizeof *a);
    port_outcome const outcome = got < 0 ? deadline_missed(until, &why) : describe_death(status, &why);
    answer_fail(a, outcome, why.text);
}

/* Starts a worker and reads its first answer. */
static void open_worker(port *p, answer *hello)
{
    *hello = (answer){.outcome = PORT_NOT_ASKED, .why = "cannot start a process"};
    deadline const until = deadline_in(p->timeout);
    if (start_worker(p)) await(p, &until, hello);
}

static void receive_outputs(port *p, const problem *pr, void *const data[], const deadline *until, answer *a)
{
    for (int i = 0; i < pr->tensors; i++) {
        if (pr->tensor[i].row->kind != TENSOR_OUT) continue;
        if (deadline_read_all(until, p->worker.answers, data[i], pr->tensor[i].bytes) > 0) continue;
        process_end(&p->worker, true);
        *a = (answer){.outcome = PORT_NOT_ASKED, .why = "the worker's outputs did not arrive"};
        return;
    }
}

static void ask_worker(port *p, const problem *pr, void *const data[], bool given, answer *a)
{
    deadline const until = deadline_in(p->timeout);
    request const r = {strlen(pr->id), given};
    if (!p->worker.pid) open_worker(p, a);
    if (!p->worker.pid) return;
    write_all(p->worker.requests, &r, sizeof r);
    write_all(p->worker.requests, pr->id, r.length);
    for (int i = 0; given && i < pr->tensors; i++)
        if (pr->tensor[i].row->kind != TENSOR_OUT) write_all(p->worker.requests, data[i], pr->tensor[i].bytes);
    await(p, &until, a);
    if (a->outcome == PORT_RAN) receive_outputs(p, pr, data, &until, a);
}

/* ---- programs ---- */

static port_outcome ask_once(port *p, const problem *pr, void *const data[], answer *a)
{
    port_outcome status = PORT_RAN;
    complaint why = {""};
    if (!p->exec) p->exec = exec_open(p->b.target, p->timeout, &status, &why);
    if (p->exec) status = exec_run(p->exec, pr, data, p->timeout, a->declared, sizeof a->declared, &why);
    snprintf(a->why, sizeof a->why, "%.511s", why.text);
    if (status == PORT_SKIPPED) a->skip = SKIP_SAID;
    if (!p->exec) return status;
    if (status != PORT_RAN && status != PORT_SKIPPED) { /* dead, or out of step */
        exec_close(p->exec);
        p->exec = NULL;
    }
    return status;
}

static void free_outputs(const problem *pr, void *const data[], void **second)
{
    for (int i = 0; second && i < pr->tensors; i++)
        if (second[i] != data[i]) free(second[i]);
    free(second);
}

/* Twice, into separate outputs: a port must answer the same. */
static void ask_program(port *p, const problem *pr, void *const data[], answer *a)
{
    void **const second = calloc((size_t)pr->tensors, sizeof *second);
    double const from = now();
    memset(a, 0, sizeof *a);
    a->outcome = ask_once(p, pr, data, a);
    if (a->outcome != PORT_RAN) return free(second);
    a->seconds = now() - from;
    bool memory = second != NULL;
    for (int i = 0; second && i < pr->tensors; i++) {
        second[i] = pr->tensor[i].row->kind == TENSOR_OUT ? malloc(pr->tensor[i].bytes) : data[i];
        memory = memory && second[i];
    }
    if (memory) {
        a->outcome = ask_once(p, pr, second, a);
    } else {
        a->outcome = PORT_NOT_ASKED; /* a check that was not made is no PORT_RAN */
        snprintf(a->why, sizeof a->why, "no memory for a second run");
    }
    for (int i = 0; memory && a->outcome == PORT_RAN && i < pr->tensors; i++)
        if (memcmp(second[i], data[i], pr->tensor[i].bytes)) {
            a->outcome = PORT_NONDET;
            snprintf(a->why, sizeof a->why, "two runs on the same inputs differ in %s", pr->tensor[i].name);
        }
    free_outputs(pr, data, second);
}

/* ---- both ---- */

static void open_program(port *p)
{
    port_outcome status = PORT_RAN;
    complaint why = {""};
    p->exec = exec_open(p->b.target, p->timeout, &status, &why);
    snprintf(p->why, sizeof p->why, "%.511s", why.text);
    p->state = p->exec ? PORT_READY : PORT_UNUSABLE;
}

port *port_open(const backend *b, double timeout)
{
    port *const p = calloc(1, sizeof *p);
    if (!p) abort();
    p->b = *b;
    p->timeout = timeout;
    if (*b->absent) {
        p->state = PORT_ABSENT;
        snprintf(p->why, sizeof p->why, "%s", b->absent);
    } else if (b->kind == BACKEND_PROGRAM) {
        open_program(p);
    } else {
        answer hello;
        open_worker(p, &hello);
        p->state = hello.outcome == PORT_RAN ? PORT_READY : hello.outcome == PORT_SKIPPED ? PORT_ABSENT : PORT_UNUSABLE;
        snprintf(p->why, sizeof p->why, "%s", hello.why);
        snprintf(p->ops, sizeof p->ops, "%s", hello.declared);
    }
    return p;
}

void port_close(port *p)
{
    if (p->exec) exec_close(p->exec);
    process_end(&p->worker, false);
    free(p);
}

port_state port_is(const port *p)
{
    return p->state;
}

const char *port_why(const port *p)
{
    return p->why;
}

bool port_has_op(const port *p, const char *name)
{
    size_t const length = strlen(name);
    if (p->exec) return exec_has_op(p->exec, name);
    for (const char *s = p->ops; *s; s += strcspn(s, " ") + 1)
        if (!strncmp(s, name, length) && s[length] == ' ') return true;
    return false;
}

void port_answer(port *p, const problem *pr, void *const data[], bool given, answer *a)
{
    memset(a, 0, sizeof *a);
    if (p->state != PORT_READY)
        answer_skip(a, *p->b.absent ? SKIP_ABSENT : SKIP_START, p->why);
    else if (p->b.kind == BACKEND_PROGRAM && p->exec && !exec_has_op(p->exec, pr->op->name))
        answer_skip(a, SKIP_OP, NULL);
    else if (p->b.kind == BACKEND_PROGRAM)
        ask_program(p, pr, data, a);
    else
        ask_worker(p, pr, data, given, a);
}
