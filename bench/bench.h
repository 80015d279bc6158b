/* The studies of bench; each prints its table and returns the exit code. */
#ifndef BENCH_H
#define BENCH_H

int bench_truth(void);
int bench_attention(void);

#endif
