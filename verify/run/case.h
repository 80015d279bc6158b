/* One case: filled once, asked of each port, judged. */
#ifndef CASE_H
#define CASE_H

#include "port/port.h"
#include "result.h"

/* What may be wanted besides a verdict. */
enum {
    WANT_DIAGNOSIS = 1, /* the known mistake of an answer that fails */
    WANT_SIGHT = 2,     /* of a PASS, which known mistakes the case sees: the reference is read anew for each */
    WANT_GLANCE = 4,    /* of a run, which known mistakes its cases see together: glance.h */
    WANT_PROOFS = 8,    /* verdicts that rest on theorems alone: no statistics */
    WANT_PROFILE = 16   /* times the number of a profile, from 1 on: what that reference does by convention is no bug */
};

/* Judges what each port makes of a problem; the steps and their order are those of docs/harness.md, the port before the reference.
 * The result of a sequence is that of its first call that fails, else of the first that isn't a PASS, else of all of them.
 * given: tensors that no fill made, given[i] belongs to tensor[i]; its outputs are the last port's. NULL: the problem's own fill.
 * wanted: what is asked for besides a verdict. Each result is filled here and nowhere else. */
void run_case(const problem *p, void *const given[], port *const ports[], int count, unsigned wanted, result results[]);

/* The same of outputs that are there: nobody is asked. declared: the numerics of whoever made them. */
void run_answered(const problem *p, void *const given[], const char *declared, unsigned wanted, result *r);

#endif
