/* What a run made of each op: counts of its cases, by port. */
#ifndef BY_OP_H
#define BY_OP_H

#include "reasons.h"
#include "report.h"

/* What one port made of the cases of one op. Budget and bits are of the cases that passed. */
typedef struct {
    int passed, failed, vacuous, constant, statistical,
        suspect;         /* passed by filters; of the passed, those that are suspect */
    int partly_constant; /* in some outputs */
    int64_t flips;
    double elements, budget;
    double bits;  /* the fewest; infinite: none were measured */
    bool inexact; /* some output is */
    sight sight;
    reasons skips;
    reasons partial; /* made without some outputs: `why` names them */
} cell;

typedef struct {
    char name[32];
    int cases;
    bool told; /* what its cases see: the results don't say it */
    cell of[MAX_BACKENDS];
} op_row;

/* Read through op and ops; op_of is its own. */
typedef struct {
    const report_run *run;
    int ops; /* in the order of the cases */
    op_row *op;
    bool rows;  /* a row an op; else each case has a line, which says more of a few, each of another op */
    int *op_of; /* by case */
} by_op;

by_op *by_op_open(const report_run *run); /* NULL: no memory */
void by_op_close(by_op *t);

/* Counts what the ports made of case `index`. False: no memory. */
bool by_op_add(by_op *t, int index, const result results[]);

/* Adds why the port skipped cases, and what it was judged without, of all ops. */
void by_op_join(const by_op *t, int b, reasons *skips, reasons *partial);

/* The ports that have a row or skip an op; returns their number, 0 where there are no rows. */
int by_op_ports(const by_op *t, int port[MAX_BACKENDS]);

/* "9.8", "exact", or "-" where nothing passed or there are no bits. */
void by_op_bits(const cell *c, char *text, size_t cap);

/* What the cases of an op see of its known mistakes, in every port that passed all of them, or else some. */
typedef struct {
    int seen, quirks;
    bool looked; /* somebody looked */
    bool whole;  /* at every case */
} op_sight;

op_sight by_op_sight(const by_op *t, int op);

/* Did the port get anywhere with the op? */
bool by_op_has_row(const op_row *o, int b);

/* Does the port skip every case of the op? */
bool by_op_skips(const op_row *o, int b);

#endif
