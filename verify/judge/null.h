/*
 * The null: what ports write that keep to a declaration, as so many of them that are drawn write it (ref_sampled). All outputs of
 * numbers are one vector; decisions are the port's own. docs/statistics.md.
 */
#ifndef NULL_H
#define NULL_H

#include "enclose.h"
#include "result.h"

enum { NULL_PORTS = 32 };

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

/* Each array has n elements; drawn and written (ports, n). An element that isn't a number in all, or has no legal error, has weight 0. */
typedef struct {
    int64_t n;
    int ports, outputs;
    null_output output[MAX_OUTPUTS];
    double *got;             /* what the port wrote */
    double *drawn, *written; /* by the ports: before the last rounding, and behind it */
    double *mean, *sd;       /* of those */
    double *ulp;             /* the distance of the output format's values there */
    double *mu, *variance;   /* of what is written */
    double *weight;          /* 1 / (sd^2 + ulp^2 / 12) */
    double *room;            /* (2, n): for whoever computes */
} null_ports;

/* Is it an output of the vector? */
bool has_numbers(const tensor_info *t);

/* Do the ports differ by last places in element i? */
bool null_scatters(const null_ports *null, int64_t i);

/* Draws the ports; the outputs in data are the port's. False: no memory, and nothing to free. */
bool null_open(const problem *p, const ref_numerics *n, void *const data[], uint64_t seed, null_ports *out);
void null_close(null_ports *null);

/* The formula's outputs as one such vector, with mistakes, in the sampled tier. False: no memory. */
bool null_formula(const problem *p, const null_ports *null, ref_set quirks, void *const data[], double *vector,
                  ref_set *asked);

#endif
