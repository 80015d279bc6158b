/* The studies of bench; each prints its table and returns the exit code. What they share is in side.c. */
#ifndef BENCH_H
#define BENCH_H

#include "judge/judge.h"
#include "port/process.h"

int bench_truth(void);
int bench_attention(void);
int bench_blocks(void);

/* The middle one of n. */
double median(const double *value, int n);

/* Starts torch_peer.py with these arguments, NULL behind the last, and waits until it has run once. False, and says so: torch isn't
 * installed. */
bool peer_open(process *p, const char *const arguments[]);

/* Seconds of one run, as the peer measures it; NaN: it is gone. */
double peer_run(const process *p);

/* One reading of a case: seconds, NaN when there is no memory; the largest radius over the largest value; and elements that are not
 * enclosed. */
typedef struct {
    double seconds, radius;
    int64_t lost;
} timed;

timed time_reading(const problem *p, void *const data[], const ref_reading *rd);

/* Of this process, so far, in GiB. */
double peak_memory(void);

#endif
