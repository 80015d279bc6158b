/* See deadline.h. */
#include "deadline.h"

#include "process.h"

deadline deadline_in(double seconds)
{
    return (deadline){seconds, now() + seconds};
}

ssize_t deadline_read_some(const deadline *d, int fd, void *data, size_t bytes)
{
    return read_some(fd, data, bytes, d->at);
}

int deadline_read_all(const deadline *d, int fd, void *data, size_t bytes)
{
    for (char *at = data; bytes;) {
        ssize_t const got = deadline_read_some(d, fd, at, bytes);
        if (got <= 0) return (int)got;
        at += got;
        bytes -= (size_t)got;
    }
    return 1;
}

port_outcome deadline_missed(const deadline *d, complaint *why)
{
    refuse(why, "no answer within %g s", d->seconds);
    return PORT_LATE;
}
