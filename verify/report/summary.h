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
} tally;

void tally_add(tally *t, int which, const result *r, bool strict);

/* A table of verdicts by backend (their names), then "N passed, N failed, N skipped". */
void report_summary(FILE *f, const char *const backend[], int backends, const tally *t);

#endif
