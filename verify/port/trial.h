/*
 * One case on a loaded port: two runs on the same inputs, in fresh guarded memory, with outputs poisoned before; and what the port
 * did besides computing. A run of a sequence is all of its calls in the same memory. It calls the port's code: only a worker does
 * that.
 */
#ifndef TRIAL_H
#define TRIAL_H

#include "answer.h"
#include "arena.h"
#include "case/problem.h"
#include "load.h"

typedef struct {
    const problem *whole; /* maybe a sequence: the pointers below are in the order of its tensors */
    const problem *p;     /* the call in work */
    int step, first;      /* its number, and that of its first tensor */
    bool on_demand;       /* lazy tensors are filled when the port touches them */
    void **input;         /* as filled; NULL for outputs, and for what isn't filled yet */
    void **written[2];    /* outputs of either run; NULL for inputs */
    void **bound;         /* what the op is called with, by tensor of a call */
    arena memory[2];      /* by run: addresses of the first stay taken, so that what still writes there is seen */
    int run;              /* in work */
    const loaded_port *port;
    bool preparing; /* the status in work is that of prepare */
    answer *a;
} trial;

/* Memory for all of it. What inputs there are, are the caller's to fill; given: all of them. False: no memory. Close either way. */
bool trial_open(trial *t, const problem *p, const loaded_port *port, bool given);
void trial_close(trial *t);

/* Sets outcome, why, declared and seconds of the answer. */
void trial_run(trial *t, answer *a);

#endif
