/* Cases x backends: processes that judge, and results in the order of the cases. */
#ifndef RUN_H
#define RUN_H

#include "case/expand.h"
#include "port/port.h"

typedef struct {
    case_list cases;
    int backends;
    backend backend[MAX_BACKENDS];
    double timeout; /* seconds, of one case on one port */
    int jobs;       /* processes that judge */
    bool diagnose;  /* name the mistake of an answer that fails */
} plan;

/* Called once a case, in order, with one result a backend. */
typedef void on_results(const plan *pl, int index, const result results[], void *context);

/* Runs all; the caller has checked the cases and the backends. Returns the number of the signal that interrupted it
 * (SIGINT, SIGTERM), or 0. */
int run_plan(const plan *pl, on_results *report, void *context);

/* One case on one open port: the order of steps is that of docs/harness.md, the port before the reference. */
void run_case(const problem *p, port *const ports[], int count, bool diagnose, result results[]);

/* One problem on inputs that no fill made; the outputs of data are the port's. */
void run_on(const problem *p, port *judged, void *const data[], bool diagnose, result *r);

#endif
