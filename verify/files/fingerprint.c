/* See fingerprint.h. */
#include "fingerprint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

struct fingerprint {
    XXH3_state_t *state;
};

fingerprint *fingerprint_open(void)
{
    fingerprint *const f = malloc(sizeof *f);
    if (!f) abort();
    f->state = XXH3_createState();
    if (!f->state) abort();
    XXH3_128bits_reset(f->state);
    return f;
}

static void add_length(fingerprint *f, uint64_t length)
{
    XXH3_128bits_update(f->state, &length, sizeof length);
}

void fingerprint_add(fingerprint *f, const char *what, const void *data, size_t bytes)
{
    add_length(f, strlen(what));
    XXH3_128bits_update(f->state, what, strlen(what));
    add_length(f, bytes);
    if (bytes) XXH3_128bits_update(f->state, data, bytes);
}

/* Until the end; the number of bytes, or -1. */
static int64_t add_rest(fingerprint *f, int fd)
{
    enum { CHUNK = 1 << 16 };
    char chunk[CHUNK];
    int64_t sum = 0;
    for (;;) {
        ssize_t const n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) return sum;
        XXH3_128bits_update(f->state, chunk, (size_t)n);
        sum += n;
    }
}

bool fingerprint_add_file(fingerprint *f, const char *what, const char *path, complaint *why)
{
    struct stat st;
    int const fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return refuse(why, "%s: %s", path, strerror(errno));
    bool const regular = !fstat(fd, &st) && S_ISREG(st.st_mode);
    add_length(f, strlen(what));
    XXH3_128bits_update(f->state, what, strlen(what));
    int64_t const length = regular ? add_rest(f, fd) : -1;
    add_length(f, (uint64_t)length);
    close(fd);
    return length >= 0 || refuse(why, "%s: %s", path, regular ? strerror(errno) : "is no regular file");
}

void fingerprint_close(fingerprint *f, char text[FINGERPRINT_TEXT])
{
    XXH128_hash_t const h = XXH3_128bits_digest(f->state);
    snprintf(text, FINGERPRINT_TEXT, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
    XXH3_freeState(f->state);
    free(f);
}

bool fingerprint_is(const char *text)
{
    return strspn(text, "0123456789abcdef") == FINGERPRINT_TEXT - 1 && !text[FINGERPRINT_TEXT - 1];
}
