/*
 * A port as a runner sees it: opened once, asked problem by problem; dies and is started again.
 */
#ifndef PORT_H
#define PORT_H

#include "answer.h"
#include "backends.h"
#include "case/problem.h"
#include "limits.h"
#include "process.h"

typedef struct port port;

typedef enum {
    PORT_READY,
    PORT_ABSENT,  /* can't run here; its cases are SKIP */
    PORT_UNUSABLE /* is no port: a usage error */
} port_state;

/* Starts the port; never NULL. */
port *port_open(const backend *b, port_limits limits);
void port_close(port *p);
void port_end(port *p, complaint *why); /* the same; one sentence in why if it did not end well */
port_state port_is(const port *p);
const char *port_why(const port *p); /* when not ready: one sentence; else what it says it runs on, or "" */

/* A program's name for itself; "" for other ports. */
const char *port_called(const port *p);

/* What a program calls itself, with its version; "" for other ports. */
const char *port_hello(const port *p);

/* Does it have this op? No, unless it is ready. */
bool port_has_op(const port *p, const char *name);

/* What it printed in its last case, or in a start that failed; in the first case, what it printed since its start. NULL: it has no process of its own. */
const heard *port_heard(const port *p);

/* Asks for a problem's outputs. data[i] belongs to tensor[i]: the inputs are filled, by the fill of the problem or, given, in any
 * other way; the outputs are written when the answer says that it ran. Now judge them. */
void port_answer(port *p, const problem *pr, void *const data[], bool given, answer *a);

#endif
