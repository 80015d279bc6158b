/* See output_file.h. */
#include "output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- folders ---- */

static bool make_one(const char *path, complaint *why)
{
    struct stat st;
    if (!mkdir(path, 0777)) return true;
    int const cause = errno;
    bool const there = !stat(path, &st);
    if (there && S_ISDIR(st.st_mode)) return true;
    if (!there) return refuse(why, "cannot make the folder %s: %s", path, strerror(cause));
    return refuse_file(&(about_file){path, why}, "is no folder: name another");
}

bool output_folder(const char *path, complaint *why)
{
    char part[4200];
    size_t const length = strlen(path);
    if (length >= sizeof part) return refuse(why, "cannot make the folder %.100s...: its name is too long", path);
    for (size_t at = 1; at <= length; at++) {
        bool const ends = !path[at] || (path[at] == '/' && path[at - 1] != '/');
        memcpy(part, path, at);
        part[at] = 0;
        if (ends && !make_one(part, why)) return false;
    }
    return true;
}

/* ---- files ---- */

/* Opened without waiting, it is written as any other. */
static bool wait_again(int fd)
{
    int const flags = fcntl(fd, F_GETFL);
    return flags >= 0 && !fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

FILE *output_open(const char *path, complaint *why)
{
    struct stat st;
    int const fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
    bool const other = fd < 0 ? errno == ENXIO : !fstat(fd, &st) && !S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode);
    FILE *const f = fd >= 0 && !other && wait_again(fd) ? fdopen(fd, "w") : NULL;
    if (f) return f;
    if (other)
        refuse_file(&(about_file){path, why}, "is no regular file, and nothing else is written: remove it, or name "
                                              "another");
    else
        refuse(why, "cannot write %s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    return NULL;
}

bool output_clear(FILE *f)
{
    struct stat st;
    if (fstat(fileno(f), &st)) return false;
    return !S_ISREG(st.st_mode) || !ftruncate(fileno(f), 0);
}

int output_cause(FILE *f)
{
    int const before = errno;
    if (fflush(f)) return errno;
    if (!ferror(f)) return 0;
    return before ? before : EIO;
}

int output_end(FILE *f)
{
    int const cause = output_cause(f);
    return fclose(f) && !cause ? errno : cause;
}
