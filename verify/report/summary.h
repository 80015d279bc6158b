/* Counts of verdicts. */
#ifndef SUMMARY_H
#define SUMMARY_H

#include "result.h"

#include <stdio.h>

typedef struct {
    int passed, failed, skipped, suspect;
    int by_backend[MAX_BACKENDS][VERDICTS];
    char skip_why[MAX_BACKENDS][160]; /* the first reason */
    double elements[MAX_BACKENDS];    /* output elements judged */
    int cases;                        /* that were reported */
    double seconds;                   /* of the run */
    bool interrupted;
    int shard, shards; /* which of how many; 0 of 0 or 1 of 1: the whole */
} tally;

void tally_add(tally *t, int which, const result *r, bool strict);

/* "(2 CONVENTION)", if there are any. */
void report_verdicts(FILE *f, const tally *t, verdict v);

/* The last line of a text: "N passed, N failed, N skipped"; of one shard, which it is before that. */
void report_closing(FILE *f, const tally *t);

/* Verdicts by backend (their names; why one is absent, or NULL), then the last line. */
void report_summary(FILE *f, const char *const backend[], const char *const absent[], int backends, const tally *t);

#endif
