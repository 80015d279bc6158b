/* How this program and its sister are called: verify and bench, or dsv3-verify and dsv3-bench where they are installed. */
#ifndef PROGRAM_NAME_H
#define PROGRAM_NAME_H

#include <stddef.h>
#include <stdio.h>

/* "dsv3-" in an installed program, else "". */
const char *program_prefix(void);

/* The text with INSTALLED_PREFIX before each word "verify" or "bench" that a blank follows, as in "see verify list". What stands
 * in columns behind such a word stays there where it can. NULL: there is no room. */
const char *name_with_prefix(const char *text, char *room, size_t cap);

/* A text, or a format, as this program shall say it: the text itself, or in an installed program the other, if there is room. */
const char *as_called(const char *text, char *room, size_t cap);

/* Prints a text so. */
void print_as_called(FILE *f, const char *text);

#endif
