/* A file as read-only memory, and the sentence about a file that can't be used. */
#ifndef MAPPING_H
#define MAPPING_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *file; /* named first in the sentence */
    char *why;
    size_t cap;
} complaint;

/* Writes "FILE: text"; control characters, which a hostile name may hold, become '?'. Returns false. */
__attribute__((format(printf, 2, 3))) bool refuse(const complaint *to, const char *text, ...);

typedef struct {
    const char *data;
    size_t size;
} mapping;

/* A regular file (a symbolic link to one will do), not empty. Pages are read when they are touched. */
bool mapping_open(mapping *m, const complaint *to);
void mapping_close(mapping *m);

#endif
