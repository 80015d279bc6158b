/* The tensors of a case, often enough that weights and caches come from memory, and timed calls on them. */
#ifndef ROTATION_H
#define ROTATION_H

#include "case/problem.h"
#include "port/load.h"

enum { MOST_COPIES = 512 };

/* Tensors of a call; copies share what is small. */
typedef struct {
    const problem *p;
    int copies;
    void **data[MOST_COPIES];
    void *io[MOST_COPIES];
    int64_t at; /* calls so far: call n has copy n modulo copies */
} rotation;

/* Bytes of weights and caches that a round passes through: more than the last-level cache holds. */
size_t rotated_bytes(void);

/* False: no memory. Close either way. */
bool rotation_open(rotation *r, const problem *p);
bool rotation_open_once(rotation *r, const problem *p); /* one copy */
void rotation_close(rotation *r);

/* Prepares every copy (but for what waits for the first call); the median of the seconds that one took, or negative: one can't be. */
double rotation_prepare(const rotation *r, const loaded_port *port);
void rotation_unprepare(const rotation *r, const loaded_port *port);

/* Do tokens choose some of its weights? What is made of those may wait for the first call. */
bool has_experts(const problem *p);

/* Calls it once on every copy; the median of the seconds that one took. */
double rotation_first(rotation *r, const loaded_port *port);

/* Seconds of n calls. */
double rotation_call(rotation *r, const loaded_port *port, int64_t n);

/* How many calls take about so many seconds: at least one. Calls the port twice, where there are experts on every copy. */
int64_t rotation_calls(rotation *r, const loaded_port *port, double seconds);

enum { SAMPLES = 7 };
extern double const sample_seconds;

/* Seconds of a call, from samples that take sample_seconds each, in ascending order. */
void rotation_samples(rotation *r, const loaded_port *port, double seconds[SAMPLES]);

#endif
