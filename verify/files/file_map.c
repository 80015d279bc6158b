/* See file_map.h. */
#include "file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool map_regular(file_map *m, int fd, const about_file *to)
{
    struct stat st;
    if (fstat(fd, &st)) return refuse_file(to, "%s", strerror(errno));
    if (S_ISDIR(st.st_mode)) return refuse_file(to, "is a folder, a file is expected");
    if (!S_ISREG(st.st_mode)) return refuse_file(to, "is no regular file");
    if (st.st_size == 0) return refuse_file(to, "is empty");
    void *const map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) return refuse_file(to, "cannot be mapped: %s", strerror(errno));
    *m = (file_map){map, (size_t)st.st_size};
    return true;
}

bool file_map_open(file_map *m, const about_file *to)
{
    *m = (file_map){NULL, 0};
    int const fd = open(to->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not be waited for */
    if (fd < 0) return refuse_file(to, "%s", strerror(errno));
    bool const good = map_regular(m, fd, to);
    close(fd);
    return good;
}

void file_map_close(file_map *m)
{
    if (m->data) munmap((void *)(size_t)m->data, m->size);
    *m = (file_map){NULL, 0};
}
