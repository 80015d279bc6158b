/* Cases x ports: processes that judge, and results in the order of the cases. */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include "case/expand.h"
#include "port/backends.h"
#include "port/limits.h"
#include "result.h"

typedef struct plan plan;

/* Called with one result a backend. False: nobody reads it, and the run may stop. */
typedef bool on_results(const plan *pl, int index, const result results[], void *context);

struct plan {
    case_list cases;
    int backends;
    backend backend[MAX_BACKENDS];
    port_limits limits;
    int jobs;        /* processes that judge */
    unsigned wanted; /* besides a verdict: see case.h */
    /* By case: what an earlier run found, or NULL. A case with an ERROR is judged again. NULL: nothing was found. */
    result **earlier;
    /* Called now and then: the case that is in work longest, and since how many seconds. NULL: nobody. */
    void (*waiting)(const plan *pl, int index, double seconds, void *context);
    on_results *judged; /* called as soon as a case is judged, in any order; NULL: nobody */
};

/* Cases that need not be judged again. */
int plan_known(const plan *pl);

/* From now on SIGINT, SIGTERM and SIGHUP (if nobody ignores it) end this process with code 128 + n, and in run_plan they end the run. */
void catch_interrupts(void);

/* Runs all; the caller has checked the cases and the backends. `report` is called once a case, in their order. Returns the number of the signal that interrupted it
 * (SIGINT, SIGTERM, SIGHUP), or 0; then what was judged is reported, in the order of the cases. */
int run_plan(const plan *pl, on_results *report, void *context);

#endif
