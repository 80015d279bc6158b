/* A file as read-only memory. */
#ifndef FILE_MAP_H
#define FILE_MAP_H

#include "complaint.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *data;
    size_t size;
} file_map;

/* A regular file (a symbolic link to one will do), not empty. Pages are read when they are touched. */
bool file_map_open(file_map *m, const about_file *to);
void file_map_close(file_map *m);

#endif
