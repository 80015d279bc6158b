/* See file_map.h. */
#include "file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static file_identity identity_of(const struct stat *st)
{
    return (file_identity){st->st_dev, st->st_ino, st->st_size, st->st_mtim, st->st_ctim};
}

bool file_identify(const char *path, file_identity *id)
{
    struct stat st;
    if (stat(path, &st)) return false;
    *id = identity_of(&st);
    return true;
}

static bool is_same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool file_is_one(const file_identity *a, const file_identity *b)
{
    return a->device == b->device && a->inode == b->inode;
}

bool file_is_same(const file_identity *a, const file_identity *b)
{
    return file_is_one(a, b) && a->size == b->size && is_same_time(a->written, b->written) &&
           is_same_time(a->changed, b->changed);
}

static bool map_regular(file_map *m, int fd, const about_file *to)
{
    struct stat st;
    if (fstat(fd, &st)) return refuse_file(to, "%s", strerror(errno));
    if (S_ISDIR(st.st_mode)) return refuse_file(to, "is a folder, a file is expected");
    if (!S_ISREG(st.st_mode)) return refuse_file(to, "is no regular file");
    if (st.st_size == 0) return refuse_file(to, "is empty");
    void *const map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) return refuse_file(to, "cannot be mapped: %s", strerror(errno));
    *m = (file_map){map, (size_t)st.st_size, identity_of(&st)};
    return true;
}

bool file_map_open(file_map *m, const about_file *to)
{
    *m = (file_map){.data = NULL};
    int const fd = open(to->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not be waited for */
    if (fd < 0) return refuse_file(to, "%s", strerror(errno));
    bool const good = map_regular(m, fd, to);
    close(fd);
    return good;
}

/* That many bytes, or a sentence. */
static bool read_all(int fd, char *data, size_t size, const about_file *to)
{
    for (size_t at = 0; at < size;) {
        ssize_t const n = read(fd, data + at, size - at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return refuse_file(to, "%s", strerror(errno));
        if (n == 0) return refuse_file(to, "was cut while it was read");
        at += (size_t)n;
    }
    return true;
}

static char *read_regular(int fd, const about_file *to, size_t most, size_t *size)
{
    struct stat st;
    if (fstat(fd, &st)) return refuse_file(to, "%s", strerror(errno)), NULL;
    if (!S_ISREG(st.st_mode)) return refuse_file(to, "is no regular file"), NULL;
    if ((uintmax_t)st.st_size > most)
        return refuse_file(to, "has %lld bytes, at most %zu are read", (long long)st.st_size, most), NULL;
    *size = (size_t)st.st_size;
    char *const data = malloc(*size + 1);
    if (!data) return refuse_file(to, "no memory for its %zu bytes", *size), NULL;
    return read_all(fd, data, *size, to) ? data : (free(data), NULL);
}

char *file_read(const about_file *to, size_t most, size_t *size)
{
    int const fd = open(to->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return refuse_file(to, "%s", strerror(errno)), NULL;
    char *const data = read_regular(fd, to, most, size);
    close(fd);
    return data;
}

void file_map_close(file_map *m)
{
    if (m->data) munmap((void *)(size_t)m->data, m->size);
    *m = (file_map){.data = NULL};
}
