/* A file as read-only memory. */
#ifndef FILE_MAP_H
#define FILE_MAP_H

#include "complaint.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

/* Which file it is and when it was written: what shows that it changed. */
typedef struct {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec written, changed; /* mtime, ctime */
} file_identity;

typedef struct {
    const char *data;
    size_t size;
    file_identity identity; /* when it was opened */
} file_map;

/* Of the file behind a path. False: there is none, errno says why. */
bool file_identify(const char *path, file_identity *id);

/* The same file, not written since. */
bool file_is_same(const file_identity *a, const file_identity *b);

/* The same file, whatever is in it. */
bool file_is_one(const file_identity *a, const file_identity *b);

/* A regular file (a symbolic link to one will do), not empty. Pages are read when they are touched. */
bool file_map_open(file_map *m, const about_file *to);
void file_map_close(file_map *m);

/* The content of a regular file in memory of its own, to be freed: whoever cuts the file meanwhile causes a sentence, not a
 * signal. At most `most` bytes. NULL: one sentence. */
char *file_read(const about_file *to, size_t most, size_t *size);

#endif
