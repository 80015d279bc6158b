/*
 * The null: what ports write that keep to a declaration, as so many of them that are drawn write it (ref_sampled). All outputs of
 * numbers are one vector; decisions are the port's own. docs/statistics.md.
 */
#ifndef NULL_H
#define NULL_H

#include "enclose.h"
#include "result.h"

enum { NULL_PORTS = 32, NULL_ARRAYS = 6 /* that stay */ };

/* One output of the vector. */
typedef struct {
    int tensor, tensor_out; /* among the problem's tensors, and among its outputs */
    int64_t first, count;
    dsv3_dtype dtype;
    bool truncates; /* the last rounding is toward zero */
    bool idle;      /* which does nothing where sums are binary32 numbers already: half of the ports truncate */
} null_output;

/* What a port with such an output writes of a number. */
double null_written(const null_output *t, double v);

/* Each array has n elements; drawn and written (ports, n), until the ports are let go. An element that isn't a number in all of them
 * has weight 0. */
typedef struct {
    int64_t n;
    int ports, outputs;
    null_output output[MAX_OUTPUTS];
    double *drawn, *written; /* by the ports: before the last rounding, and behind it; NULL: they are gone */
    double *mean, *sd;       /* of those */
    double *ulp;             /* between the output format's values there; of a 0 in all ports, at the size of others */
    double *mu, *variance;   /* of what is written */
    double *weight;          /* 1 / (sd^2 + ulp^2 / 12) */
} null_ports;

/* Is it an output of the vector? */
bool has_numbers(const tensor_info *t);

/* Do the ports differ by last places in element i? */
bool null_scatters(const null_ports *null, int64_t i);

/* Draws the ports; decisions and stages in data are the port's. False: no memory, and nothing to free. */
bool null_open(const problem *p, const ref_numerics *n, void *const data[], uint64_t seed, null_ports *out);
void null_let_go(null_ports *null); /* of the ports: what they are like stays */
void null_close(null_ports *null);

/* What a port wrote, as such a vector. */
void null_read(const null_ports *null, void *const data[], double *got);

/* Is something no number there that is one in all ports? Such elements are left out before anything is made of the ports. */
bool null_has_holes(const null_ports *null, const double *got);
void null_leave_out(null_ports *null, const double *got);

/* The formula's outputs as one such vector, with mistakes, in the sampled tier. False: no memory. */
bool null_formula(const problem *p, const null_ports *null, ref_set quirks, void *const data[], double *vector,
                  ref_set *asked);

#endif
