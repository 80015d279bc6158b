/* One line on a terminal that says how far a run is; standard error, and nothing where that is no terminal. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include "run/schedule.h"

typedef struct {
    bool shown;
    double from, last; /* when it began, and when a case was reported last */
    double all, done;  /* what the cases cost, about, beside one another; of those that were reported */
} progress;

/* people: somebody reads the report. Cases that an earlier run judged cost nothing. */
void progress_start(progress *p, const plan *pl, bool people);

void progress_add(progress *p, const plan *pl, int index);

/* "123 of 768 cases, 0 failed, about 1 min left; 12 s in mla@v3", never wider than the terminal. slow: the case that is
 * in work longest; it is named after ten seconds. */
void progress_show(const progress *p, const plan *pl, int cases, int failed, int slow, double seconds);

void progress_clear(const progress *p);

/* The line's text; left: seconds, or below 0 if nobody knows. */
void progress_describe(char *text, size_t cap, int cases, int of, int failed, double left);

#endif
