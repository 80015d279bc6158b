/* One line on a terminal that is written over again and again: who waits reads there what is done. Nothing elsewhere. */
#ifndef TERMINAL_LINE_H
#define TERMINAL_LINE_H

#include <stdbool.h>
#include <stdio.h>

/* Is standard error a terminal? */
bool terminal_line_here(void);

/* How wide what is printed there may be: as wide as the terminal that it goes to, or as COLUMNS of the environment says, whichever
 * is less; 0: neither is known, as of a stream in memory. */
int terminal_columns(FILE *f);

/* Over the line before, cut where the terminal ends. */
__attribute__((format(printf, 1, 2))) void terminal_line_show(const char *format, ...);

/* What is printed next stands alone. */
void terminal_line_clear(void);

#endif
