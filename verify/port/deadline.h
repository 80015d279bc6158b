/* How long a port may take, and what is said of one that takes longer: PORT_LATE, in verify/run/case.c TIMEOUT. */
#ifndef DEADLINE_H
#define DEADLINE_H

#include "answer.h"
#include "files/complaint.h"
#include "process.h"

typedef struct {
    double seconds; /* that were allowed */
    double at;      /* when they are over, as by now() */
} deadline;

deadline deadline_in(double seconds);

/* Reads what there is, at most so many bytes: > 0 bytes read, 0 the other end is gone, -1 too late. */
ssize_t deadline_read_some(const deadline *d, process *from, void *data, size_t bytes);

/* Reads or writes all of it: 1, 0 the other end is gone, -1 too late. */
int deadline_read_all(const deadline *d, process *from, void *data, size_t bytes);
int deadline_write_all(const deadline *d, process *to, const void *data, size_t bytes);

/* What became of a port that was too late. Nothing else calls a port late. */
port_outcome deadline_missed(const deadline *d, complaint *why);

/* So many starts in a row may be too late: then there is no other, and this is said. */
enum { MOST_LATE_STARTS = 2 };
extern const char late_starts[];

/* Seconds that a port has to end in by itself, when it may take so many for a case. */
double deadline_to_end(double timeout);

#endif
