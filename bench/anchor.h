/*
 * What this machine can do in this minute, on so many pinned threads: the limits beside which times are set. Fused
 * multiply-adds of binary32 and, where there is an instruction for it, of BF16 pairs; bytes read from memory.
 */
#ifndef ANCHOR_H
#define ANCHOR_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    double f32, bf16; /* operations a second, two for a multiply-add; bf16 is f32's where there is no instruction */
    double memory;    /* bytes a second */
} anchor;

/* How many processors this process may use. */
int processors(void);

/* The processor's name, as /proc/cpuinfo has it; "" if it has none. */
void processor_name(char *text, size_t cap);

/* From now on ports that read DSV3_FAST_THREADS have so many, unless it is set. */
void use_threads(int threads);

/* Memory and threads for it; false: there are none, and one sentence was printed. */
int anchors_open(int threads);
void anchors_close(void);

/* In a process forked from one where they are open: the same memory, threads of its own. False: there are none. */
bool anchors_again(void);

/* About 30 ms. */
anchor measure_anchor(void);

/* One limit alone, by the time that the threads had a processor: how fast it is now, not how much of it they were
 * given. Of BF16 pairs or binary32, 0.5 ms; of memory, about 20 ms. */
double measure_arithmetic(void);
double measure_memory(void);

/* Between two of them. */
anchor anchor_between(anchor a, anchor b);

#endif
