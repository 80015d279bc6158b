/* A report in JSON lines, read from its first line to its last. */
#ifndef READER_H
#define READER_H

#include "from_json.h"

#include <stdio.h>

typedef struct {
    const char *path;
    FILE *f;
    char *text; /* of a line */
    size_t cap;
    long line;    /* its number */
    json_t *head; /* the first line; run and about lie in it */
    run_about about;
    report_run run;
    sights sights; /* of the last line */
} reader;

/* Reads the first line. Close it either way. False: one sentence in why. */
bool reader_open(reader *r, const char *path, complaint *why);

/* The next case: a result a port. *id: the caller frees it. False: one sentence in why. */
bool reader_next(reader *r, char **id, result results[], complaint *why);

/* The last line, behind the last case. False: one sentence in why. */
bool reader_end(reader *r, tally *end, complaint *why);

/* To the first case again. */
bool reader_rewind(reader *r, complaint *why);

void reader_close(reader *r);

#endif
