/* The table of a run, for one screen. */
#ifndef SCREEN_H
#define SCREEN_H

#include "by_op.h"

enum { SCREEN_COLUMNS = 80 };

/*
 * A row an op. One port has columns of its own; several stand side by side, as many as the screen is wide, each with what
 * passed, of what was judged, and the coarsest resolution. The last column says how many of the op's known mistakes the
 * cases see in every port. Below, a note for each port that was judged on less: what it skipped, what it made not.
 */
void screen_print(FILE *f, const by_op *t);

/* The text, or its beginning and "..." where it is longer than `columns`. */
void screen_cut(char *to, size_t cap, const char *text, int columns);

#endif
