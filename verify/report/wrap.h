/* Lines of text that are broken at blanks. */
#ifndef WRAP_H
#define WRAP_H

#include <stdio.h>

/* A label, then words from column `indent` on, broken so that no line is wider than `columns`. */
void print_wrapped(FILE *f, const char *label, const char *text, int indent, int columns);

#endif
