/* What stays of a case while one port after another is judged. */
#ifndef CASE_STATE_H
#define CASE_STATE_H

#include "case/fill.h"
#include "judge/judge.h"
#include "judge/nulls.h"
#include "result.h"

/* What doesn't depend on the port is made once. */
typedef struct {
    const problem *p;
    bool given;        /* the tensors are the caller's */
    void *const *data; /* the outputs are those of the port in work */
    void **filled;     /* the same, owned; NULL if given */
    enclosures truth, legal, alone;
    bool has_truth, has_legal, has_alone;
    char declared[REF_NUMERICS_CAP]; /* by a port: legal is what is legal under it */
    char forced[FINGERPRINT_TEXT];   /* what truth and legal take from a port */
    nulls nulls;                     /* what statistics know */
    const enclosures *own;           /* the reference's own decisions, if the op has a choice */
} case_state;

/* Fills the tensors unless they are given. NULL: no memory. p must outlive the state; case_close takes NULL, too. */
case_state *case_open(const problem *p, void *const given[]);
void case_close(case_state *c);

/* The truth, what is legal under the declaration n, which r->declared spells, and the reference's own decisions. Where outputs
 * follow from one another, truth and legal results are those given the port's own earlier outputs; else the exact results hold
 * the own decisions. False: no memory, and r says so. */
bool enclose_results(case_state *c, const ref_numerics *n, result *r);

#endif
