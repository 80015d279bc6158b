/*
 * What this machine can do in this minute, on so many pinned threads: the limits beside which times are set. Multiply-adds of
 * binary32; of BF16 by the fastest unit that the processor and the system let a program use; bytes read from memory.
 */
#ifndef ANCHOR_H
#define ANCHOR_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    double f32, bf16; /* operations a second, two for a multiply-add; of the fastest unit that takes such factors */
    double memory;    /* bytes a second */
    const char *unit; /* whose bf16 is: amx, dpbf16 or fma; none */
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

/* About 30 ms; more where caches are large. Each is the best of a few tries. */
anchor measure_anchor(void);

/* Of what fma, dpbf16 and amx do, in this order; 0: there is no such unit. */
anchor anchor_of_units(const double of[3], double memory);

/* One limit alone, by the time that the threads had a processor: how fast it is now, not how much of it they were
 * given. Of BF16 pairs or binary32, 0.5 ms; of memory, about 20 ms. */
double measure_arithmetic(void);
double measure_memory(void);

/* The larger of two: what was possible before or after. */
anchor anchor_between(anchor a, anchor b);

#endif
