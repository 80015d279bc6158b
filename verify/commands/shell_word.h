/* Words of a command line, as shells take them. */
#ifndef SHELL_WORD_H
#define SHELL_WORD_H

#include <stdbool.h>
#include <stdio.h>

/* As it is where nothing in it means anything to a shell, else, or if it shall be quoted, between single quotes. */
void shell_word_put(FILE *f, const char *word, bool quoted);

#endif
