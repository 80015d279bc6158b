/* Cases x ports: processes that judge, and results in the order of the cases. */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include "case/expand.h"
#include "port/backends.h"
#include "result.h"

typedef struct {
    case_list cases;
    int backends;
    backend backend[MAX_BACKENDS];
    double timeout;  /* seconds, of one case on one port */
    int jobs;        /* processes that judge */
    unsigned wanted; /* besides a verdict: see case.h */
} plan;

/* Called once a case, in order, with one result a backend. */
typedef void on_results(const plan *pl, int index, const result results[], void *context);

/* Runs all; the caller has checked the cases and the backends. Returns the number of the signal that interrupted it
 * (SIGINT, SIGTERM), or 0. */
int run_plan(const plan *pl, on_results *report, void *context);

#endif
