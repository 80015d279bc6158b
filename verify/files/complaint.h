/* The one sentence about an input that can't be used: it names the input, the rule and the fix. */
#ifndef COMPLAINT_H
#define COMPLAINT_H

#include <stdbool.h>

typedef struct {
    char text[1200]; /* "" until somebody refuses */
} complaint;

/* Writes the sentence; control characters, which a hostile name may hold, become '?'. Returns false. */
__attribute__((format(printf, 2, 3))) bool refuse(complaint *why, const char *sentence, ...);

/* Adds to the sentence. Returns false. */
__attribute__((format(printf, 2, 3))) bool refuse_more(complaint *why, const char *words, ...);

/* The same about a file, whose name stands first: "FILE: sentence". */
typedef struct {
    const char *file;
    complaint *why;
} about_file;

__attribute__((format(printf, 2, 3))) bool refuse_file(const about_file *about, const char *sentence, ...);

#endif
