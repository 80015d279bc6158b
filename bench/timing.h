/* Seconds of one reading of a case, medians, and memory. */
#ifndef TIMING_H
#define TIMING_H

#include "judge/enclose.h"

typedef struct {
    double seconds; /* NaN: no memory */
    double radius;  /* the largest, over the largest value */
    int64_t lost;   /* elements that are not enclosed */
} timed;

timed time_reading(const problem *p, void *const data[], const ref_reading *rd);

/* In ascending order. */
void sort_values(double *value, int n);

/* The middle one of n, at most 64. */
double median(const double *value, int n);

/* The most that this process has had so far, in GiB. */
double peak_memory(void);

#endif
