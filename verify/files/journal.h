/*
 * What a run leaves behind while it goes on: a text file with lines that say whose it is, then a line a record. A record
 * is written whole before the next begins, so that of a run that was killed at most the last line is torn.
 */
#ifndef JOURNAL_H
#define JOURNAL_H

#include "fingerprint.h"

#include <stdint.h>

/* A line at the head. */
typedef struct {
    char text[128];    /* what must stand there, without its newline */
    char differs[400]; /* what is true when something else does: "the cases are others" */
} journal_line;

typedef struct {
    char path[1024];
    int fd;
    char check[FINGERPRINT_TEXT]; /* of the head: a record belongs below one head alone */
    char *text;                   /* the file as it was found, without a torn last line */
    size_t length, at;            /* of that text; of the line that is read next */
    int64_t line;                 /* number of that line */
    bool torn;                    /* a torn last line was dropped */
} journal;

/* Opens the file, or makes it; nobody else may have it open. A file that begins otherwise is refused and stays as it is, as is
 * what is no regular file. False: one sentence in why, nothing to close. */
bool journal_open(journal *j, const char *path, const journal_line *head, int lines, complaint *why);

typedef enum { JOURNAL_RECORD, JOURNAL_END, JOURNAL_DAMAGED } journal_state;

/* The next record that was found. data: `bytes` of it, all of them its own. DAMAGED: one sentence in why. */
journal_state journal_next(journal *j, int64_t *index, void *data, size_t bytes, complaint *why);

/* Adds a record behind what is there. False: one sentence in why. */
bool journal_add(journal *j, int64_t index, const void *data, size_t bytes, complaint *why);

void journal_close(journal *j);

#endif
