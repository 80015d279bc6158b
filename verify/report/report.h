/* What people and programs read: lines of text, JSON lines, counts. */
#ifndef REPORT_H
#define REPORT_H

#include "result.h"

#include <stdio.h>

typedef struct {
    int passed, failed, skipped, suspect;
    int by_backend[MAX_BACKENDS][VERDICTS];
    char skip_why[MAX_BACKENDS][160]; /* the first reason */
    double elements[MAX_BACKENDS];    /* output elements judged */
} tally;

void tally_add(tally *t, int which, const result *r, bool strict);

/* One line; behind it, when there is something to see, a block of at most 12 lines. backend_text: for the line that runs it again;
 * NULL: there is no such line. */
void report_text(FILE *f, const char *id, const char *backend, const char *backend_text, const result *r, bool verbose);

/* One JSON object on one line; fields in docs/formats.md. */
void report_json(FILE *f, const char *id, const char *backend_text, const result *r);

/* A table of verdicts by backend (their names), then "N passed, N failed, N skipped". */
void report_summary(FILE *f, const char *const backend[], int backends, const tally *t);

/* A label, then words from column `indent` on, broken so that no line is wider than `columns`. */
void print_wrapped(FILE *f, const char *label, const char *text, int indent, int columns);

/* JSON string with quotes. */
void print_json_string(FILE *f, const char *s);

#endif
