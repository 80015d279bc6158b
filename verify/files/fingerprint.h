/* 128 bits that stand for bytes (XXH3): equal inputs give equal ones, and an accident gives others. */
#ifndef FINGERPRINT_H
#define FINGERPRINT_H

#include "file_map.h"

enum { FINGERPRINT_TEXT = 33 }; /* 32 hexadecimal digits and NUL */

typedef struct fingerprint fingerprint;

fingerprint *fingerprint_open(void); /* never NULL */

/* Adds what something is called and its bytes. Both enter with their lengths, so that no two lists of things read alike. */
void fingerprint_add(fingerprint *f, const char *what, const void *data, size_t bytes);

/* The same with the content of a regular file, which may be empty. False: it can't be read, one sentence in why. */
bool fingerprint_add_file(fingerprint *f, const char *what, const char *path, complaint *why);

/* Writes the text and frees it. */
void fingerprint_close(fingerprint *f, char text[FINGERPRINT_TEXT]);

/* Is this 32 hexadecimal digits and an end? */
bool fingerprint_is(const char *text);

#endif
