/* What a long command is doing and how long it still takes, on a terminal; in a log nothing. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>

typedef struct {
    int done, all;
    double from; /* as now() says it */
} progress;

progress progress_begin(int all);

/* One line on stderr, over the one before: "[3/21] timing ID, about 40 s left". */
void progress_say(const progress *p, const char *doing, const char *what);

/* Takes the line away: what is printed next stands alone. */
void progress_hide(void);

/* The same, and a sentence on stderr: the work is not good any more. */
void progress_complain(bool *good, const char *sentence);

#endif
