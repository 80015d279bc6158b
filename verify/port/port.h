/*
 * A port as a runner sees it: opened once, asked problem by problem; dies and is started again.
 */
#ifndef PORT_H
#define PORT_H

#include "backends.h"
#include "case/problem.h"
#include "result.h"

typedef struct port port;

typedef enum {
    PORT_READY,
    PORT_ABSENT,  /* can't run here; its cases are SKIP */
    PORT_UNUSABLE /* is no port: a usage error */
} port_state;

/* Starts the port; never NULL. timeout: seconds for the start and for each case. */
port *port_open(const backend *b, double timeout);
void port_close(port *p);
port_state port_is(const port *p);
const char *port_why(const port *p); /* when not ready: one sentence */

/* Does it have this op? No, unless it is ready. */
bool port_has_op(const port *p, const char *name);

/* Runs a problem. data[i] belongs to tensor[i]: the inputs are filled, the outputs are written when the verdict is PASS
 * ("it ran"; now judge). Sets v, why, declared and port_seconds of the result. */
void port_run(port *p, const problem *pr, void *const data[], result *r);

/* The same on inputs that no fill made. */
void port_run_on(port *p, const problem *pr, void *const data[], result *r);

#endif
