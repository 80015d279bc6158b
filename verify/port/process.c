/* See process.h. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void close_all_but(int a, int b)
{
    unsigned const low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);
    if (low > 3) close_range(3, low - 1, 0);
    if (high > low + 1) close_range(low + 1, high - 1, 0);
    close_range(high + 1, ~0u, 0);
}

static void close_pipe(const int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

bool process_start(process *p)
{
    int to[2], from[2];
    p->pid = 0;
    if (pipe2(to, O_CLOEXEC)) return false;
    if (pipe2(from, O_CLOEXEC)) return close_pipe(to), false;
    fflush(NULL);
    pid_t const pid = fork();
    if (pid < 0) return close_pipe(to), close_pipe(from), false;
    if (pid == 0) {
        close_all_but(to[0], from[1]);
        *p = (process){0, to[0], from[1]};
        return true;
    }
    close(to[0]);
    close(from[1]);
    *p = (process){pid, to[1], from[0]};
    return true;
}

int process_end(process *p, bool kill_it)
{
    int status = 0;
    if (p->pid <= 0) return 0;
    close(p->requests);
    close(p->answers);
    if (kill_it) kill(p->pid, SIGKILL);
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR) continue;
    p->pid = 0;
    return status;
}

bool read_all(int fd, void *data, size_t bytes)
{
    for (char *at = data; bytes;) {
        ssize_t const n = read(fd, at, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}

bool write_all(int fd, const void *data, size_t bytes)
{
    for (const char *at = data; bytes;) {
        ssize_t const n = write(fd, at, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}

ssize_t read_some(int fd, void *data, size_t bytes, double deadline)
{
    for (;;) {
        double const left = deadline - now();
        struct pollfd ready = {fd, POLLIN, 0};
        int const n = left > 0 ? poll(&ready, 1, (int)(left * 1000) + 1) : 0;
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) return -1;
        ssize_t const got = read(fd, data, bytes);
        if (got < 0 && errno == EINTR) continue;
        return got > 0 ? got : 0;
    }
}

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
