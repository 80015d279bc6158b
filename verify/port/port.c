/* See port.h. */
#include "port.h"

#include "native.h"
#include "program.h"

#include <stdio.h>
#include <stdlib.h>

/* Either native or program, when it is ready; the other is NULL. */
struct port {
    backend b;
    port_state state;
    char why[512];
    native *native;
    program *program;
};

static void open_native(port *p, double timeout)
{
    answer hello = {.outcome = PORT_NOT_ASKED};
    p->native = native_open(&p->b, timeout, &hello);
    p->state = hello.outcome == PORT_RAN ? PORT_READY : hello.outcome == PORT_SKIPPED ? PORT_ABSENT : PORT_UNUSABLE;
    snprintf(p->why, sizeof p->why, "%s", hello.why);
}

static void open_program(port *p, double timeout)
{
    complaint why = {""};
    p->program = program_open(p->b.target, timeout, &why);
    p->state = p->program ? PORT_READY : PORT_UNUSABLE;
    snprintf(p->why, sizeof p->why, "%.511s", why.text);
}

port *port_open(const backend *b, double timeout)
{
    port *const p = calloc(1, sizeof *p);
    if (!p) abort();
    p->b = *b;
    if (*b->absent) {
        p->state = PORT_ABSENT;
        snprintf(p->why, sizeof p->why, "%s", b->absent);
    } else if (b->kind == BACKEND_PROGRAM) {
        open_program(p, timeout);
    } else {
        open_native(p, timeout);
    }
    return p;
}

void port_close(port *p)
{
    if (p->program) program_close(p->program);
    if (p->native) native_close(p->native);
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
    if (p->state != PORT_READY)
        answer_skip(a, *p->b.absent ? SKIP_ABSENT : SKIP_START, p->why);
    else if (p->program)
        program_ask(p->program, pr, data, a);
    else
        native_ask(p->native, pr, data, given, a);
}
