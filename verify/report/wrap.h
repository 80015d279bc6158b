/* Lines of text that are broken at blanks. */
#ifndef WRAP_H
#define WRAP_H

#include <stdio.h>

/* So many, or as many as the terminal has that the stream goes to, where that is narrower; 20 at least. */
int columns_within(FILE *f, int columns);

/* A label, then words from column `indent` on, broken so that no line is wider than `columns`, nor than the terminal. */
void print_wrapped(FILE *f, const char *label, const char *text, int indent, int columns);

#endif
