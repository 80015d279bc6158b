/* The studies of bench; each prints its table and returns the exit code. */
#ifndef BENCH_H
#define BENCH_H

int bench_dot(void);
int bench_attention(void);
int bench_blocks(void);
int bench_run(int argc, char **argv);
int bench_compare(int argc, char **argv);
int bench_exact(int argc, char **argv);
int bench_peers(int argc, char **argv);
int bench_plot(int argc, char **argv);
int bench_kv(int argc, char **argv);
int bench_accumulation(int argc, char **argv);
int bench_train(int argc, char **argv);
int bench_generate(int argc, char **argv);
int bench_evaluate(int argc, char **argv);
int bench_record(int argc, char **argv);

#endif
