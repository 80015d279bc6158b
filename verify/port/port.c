/* See port.h. */
#include "port.h"

#include "native.h"
#include "program.h"
#include "struck.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Either native or program; the other is NULL, and both are when the port is absent. */
struct port {
    backend b;
    port_state state;
    answer hello; /* when it is not ready: what became of its start */
    native *native;
    program *program;
};

static port_state state_after(port_outcome hello)
{
    return hello == PORT_RAN ? PORT_READY : hello == PORT_SKIPPED ? PORT_ABSENT : PORT_UNUSABLE;
}

/* What a port got from us counts for nothing when it sent a signal to this process. */
static void hold_signal_against(answer *a)
{
    char why[100];
    int const number = struck_take();
    if (!number || (a->outcome != PORT_RAN && a->outcome != PORT_SKIPPED)) return;
    snprintf(why, sizeof why, "the port sent signal %s to the process that judges it", sigabbrev_np(number));
    answer_set(a, PORT_REJECTED, why);
}

port *port_open(const backend *b, port_limits limits)
{
    port *const p = calloc(1, sizeof *p);
    if (!p) abort();
    p->b = *b;
    limits.start = start_seconds(b->kind == BACKEND_PROGRAM, limits);
    struck_take();
    if (*b->absent) {
        answer_set(&p->hello, PORT_SKIPPED, b->absent);
        p->hello.skip = SKIP_ABSENT;
    } else if (b->kind == BACKEND_PROGRAM) {
        p->program = program_open(p->b.target, limits, &p->hello);
    } else {
        p->native = native_open(&p->b, limits, &p->hello);
    }
    hold_signal_against(&p->hello);
    p->state = state_after(p->hello.outcome);
    return p;
}

void port_end(port *p, complaint *why)
{
    if (p->program) program_close(p->program);
    if (p->native) native_close(p->native, why);
    free(p);
}

void port_close(port *p)
{
    complaint why;
    port_end(p, &why);
}

port_state port_is(const port *p)
{
    return p->state;
}

const char *port_why(const port *p)
{
    return p->hello.why;
}

const heard *port_heard(const port *p)
{
    return p->program ? program_heard(p->program) : p->native ? native_heard(p->native) : NULL;
}

const char *port_called(const port *p)
{
    return p->program ? program_called(p->program) : "";
}

const char *port_hello(const port *p)
{
    return p->program ? program_hello(p->program) : "";
}

bool port_has_op(const port *p, const char *name)
{
    if (p->program) return program_has_op(p->program, name);
    return p->native && native_has_op(p->native, name);
}

void port_answer(port *p, const problem *pr, void *const data[], bool given, answer *a)
{
    memset(a, 0, sizeof *a);
    if (p->state == PORT_ABSENT) return answer_skip(a, p->hello.skip, p->hello.why);
    struck_take();
    if (p->program)
        program_ask(p->program, pr, data, a);
    else
        native_ask(p->native, pr, data, given, a);
    hold_signal_against(a);
}
