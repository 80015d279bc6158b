/* A word that isn't known, and what it may have meant: a command, an option, an op, a key, whatever has a name. */
#ifndef UNKNOWN_WORD_H
#define UNKNOWN_WORD_H

#include "complaint.h"

#include <stddef.h>

typedef struct {
    const char *word;
    size_t length;       /* of the word, which something may follow; 0: the whole string */
    const char *nearest; /* of the known ones, or NULL: none is near; they outlive this */
    int distance;        /* to the nearest */
    complaint known;     /* all, with commas between them */
} unknown_word;

/* Offers a known one. Near is one that differs by one letter put in, left out, changed or swapped, by two if the word has five,
 * or that begins with the word if it has three; capitals are no difference, and dashes before it are no letters. */
void unknown_word_offer(unknown_word *u, const char *known);

/* Adds to a sentence that names the word: "; did you mean 'NEAREST'?", or all known ones, as in "; known: a, b, c". Returns
 * false. */
bool unknown_word_refuse(const unknown_word *u, const char *known, complaint *why);

#endif
