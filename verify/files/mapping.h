/* A file as read-only memory. */
#ifndef MAPPING_H
#define MAPPING_H

#include "complaint.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *data;
    size_t size;
} mapping;

/* A regular file (a symbolic link to one will do), not empty. Pages are read when they are touched. */
bool mapping_open(mapping *m, const about_file *to);
void mapping_close(mapping *m);

#endif
