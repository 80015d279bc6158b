/* See deadline.h. */
#include "deadline.h"

deadline deadline_in(double seconds)
{
    return (deadline){seconds, now() + seconds};
}

ssize_t deadline_read_some(const deadline *d, process *from, void *data, size_t bytes)
{
    return process_read(from, data, bytes, d->at);
}

int deadline_read_all(const deadline *d, process *from, void *data, size_t bytes)
{
    for (char *at = data; bytes;) {
        ssize_t const got = process_read(from, at, bytes, d->at);
        if (got <= 0) return (int)got;
        at += got;
        bytes -= (size_t)got;
    }
    return 1;
}

int deadline_write_all(const deadline *d, process *to, const void *data, size_t bytes)
{
    for (const char *at = data; bytes;) {
        ssize_t const put = process_write(to, at, bytes, d->at);
        if (put <= 0) return (int)put;
        at += put;
        bytes -= (size_t)put;
    }
    return 1;
}

port_outcome deadline_missed(const deadline *d, complaint *why)
{
    refuse(why, "no answer within %g s", d->seconds);
    return PORT_LATE;
}

const char late_starts[] = "no answer in time to its start, twice in a row: it is not started again";

double deadline_to_end(double timeout)
{
    enum { MOST = 10 };
    return timeout < MOST ? timeout : MOST;
}
