/* See mapping.h. */
#include "mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool refuse(const complaint *to, const char *text, ...)
{
    va_list args;
    int const n = snprintf(to->why, to->cap, "%s: ", to->file);
    va_start(args, text);
    if (n > 0 && (size_t)n < to->cap) vsnprintf(to->why + n, to->cap - (size_t)n, text, args);
    va_end(args);
    for (char *c = to->why; to->cap && *c; c++)
        if ((unsigned char)*c < 32 || *c == 127) *c = '?';
    return false;
}

static bool map_regular(mapping *m, int fd, const complaint *to)
{
    struct stat st;
    if (fstat(fd, &st)) return refuse(to, "%s", strerror(errno));
    if (S_ISDIR(st.st_mode)) return refuse(to, "is a folder, a file is expected");
    if (!S_ISREG(st.st_mode)) return refuse(to, "is no regular file");
    if (st.st_size == 0) return refuse(to, "is empty");
    void *const map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) return refuse(to, "cannot be mapped: %s", strerror(errno));
    *m = (mapping){map, (size_t)st.st_size};
    return true;
}

bool mapping_open(mapping *m, const complaint *to)
{
    *m = (mapping){NULL, 0};
    int const fd = open(to->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not be waited for */
    if (fd < 0) return refuse(to, "%s", strerror(errno));
    bool const good = map_regular(m, fd, to);
    close(fd);
    return good;
}

void mapping_close(mapping *m)
{
    if (m->data) munmap((void *)(size_t)m->data, m->size);
    *m = (mapping){NULL, 0};
}
