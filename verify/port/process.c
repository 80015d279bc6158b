/* See process.h. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- time ---- */

double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void pause_for(double seconds)
{
    struct timespec const t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

/* ---- start ---- */

static void close_all_but(int a, int b)
{
    unsigned const low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);
    if (low > 3) close_range(3, low - 1, 0);
    if (high > low + 1) close_range(low + 1, high - 1, 0);
    close_range(high + 1, ~0u, 0);
}

typedef struct {
    int to[2], from[2], output[2];
} pipes;

static void close_pipe(const int ends[2])
{
    if (ends[0] >= 0) close(ends[0]);
    if (ends[1] >= 0) close(ends[1]);
}

static void close_pipes(const pipes *all)
{
    close_pipe(all->to);
    close_pipe(all->from);
    close_pipe(all->output);
}

static bool open_pipes(pipes *all, bool stranger)
{
    *all = (pipes){{-1, -1}, {-1, -1}, {-1, -1}};
    if (!pipe2(all->to, O_CLOEXEC) && !pipe2(all->from, O_CLOEXEC) && (!stranger || !pipe2(all->output, O_CLOEXEC)))
        return true;
    close_pipes(all);
    return false;
}

/* The same file under a number that code which closes or writes to low descriptors doesn't meet. */
static int raise_descriptor(int fd)
{
    struct rlimit limit = {.rlim_cur = 0};
    getrlimit(RLIMIT_NOFILE, &limit);
    int const top = limit.rlim_cur < 4096 ? (int)limit.rlim_cur : 4096;
    int const raised = top > 64 ? fcntl(fd, F_DUPFD_CLOEXEC, top - 16) : -1;
    return raised < 0 ? fd : raised;
}

/* Signals act as in a program that was just started. */
static void reset_signals(void)
{
    sigset_t none;
    for (int number = 1; number <= SIGRTMAX; number++) signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A port that takes all memory ends, and not whoever judges it. */
static void end_first_without_memory(void)
{
    int const score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (score >= 0 && write(score, "1000", 4) == 4) close(score);
}

/* In the child. */
static void become_child(process *p, const pipes *all, bool stranger)
{
    *p = (process){0, all->to[0], all->from[1], -1, NULL};
    reset_signals();
    if (stranger) {
        int const nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
        setpgid(0, 0);
        end_first_without_memory();
        p->requests = raise_descriptor(p->requests);
        p->answers = raise_descriptor(p->answers);
        dup2(nothing, STDIN_FILENO);
        dup2(all->output[1], STDOUT_FILENO);
        dup2(all->output[1], STDERR_FILENO);
    }
    close_all_but(p->requests, p->answers);
}

static void become_parent(process *p, const pipes *all, pid_t pid, heard *printed)
{
    close(all->to[0]);
    close(all->from[1]);
    *p = (process){pid, all->to[1], all->from[0], all->output[0], printed};
    if (!printed) return;
    close(all->output[1]);
    setpgid(pid, pid); /* the child does so too: whoever comes first */
    fcntl(p->requests, F_SETFL, O_NONBLOCK);
    fcntl(p->output, F_SETFL, O_NONBLOCK);
}

bool process_start(process *p, heard *printed)
{
    pipes all;
    p->pid = 0;
    if (!open_pipes(&all, printed != NULL)) return false;
    fflush(NULL);
    pid_t const pid = fork();
    if (pid < 0) return close_pipes(&all), false;
    if (pid == 0)
        become_child(p, &all, printed != NULL);
    else
        become_parent(p, &all, pid, printed);
    return true;
}

/* ---- end ---- */

bool process_has_ended(const process *p)
{
    siginfo_t info = {.si_pid = 0};
    if (p->pid <= 0) return false;
    return waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid == p->pid;
}

static bool await_end(const process *p, double patience)
{
    double const last = now() + patience;
    double step = 1e-4;
    while (!process_has_ended(p)) {
        if (now() >= last) return false;
        pause_for(step);
        step = step < 4e-3 ? 2 * step : step;
    }
    return true;
}

int process_end(process *p, double patience)
{
    enum { UNTIL_KILLED = 10 }; /* seconds; one that the system holds on to is left behind */
    int status = SIGKILL;
    if (p->pid <= 0) return 0;
    close(p->requests);
    if (!await_end(p, patience)) kill(p->pid, SIGKILL);
    process_hear(p);
    close(p->answers);
    if (p->output >= 0) close(p->output);
    if (p->heard) kill(-p->pid, SIGKILL); /* before its number is free for others */
    if (await_end(p, UNTIL_KILLED)) waitpid(p->pid, &status, 0);
    p->pid = 0;
    return status;
}

/* ---- ask ---- */

/* Once, what fits into a buffer. False: there was nothing. */
static bool hear_some(process *p)
{
    char buffer[16384];
    ssize_t const got = read(p->output, buffer, sizeof buffer);
    if (got < 0) return false;
    if (got == 0) {
        close(p->output);
        p->output = -1;
        return false;
    }
    heard *const h = p->heard;
    size_t const room = sizeof h->text - h->kept;
    size_t const kept = (size_t)got < room ? (size_t)got : room;
    memcpy(h->text + h->kept, buffer, kept);
    h->kept += kept;
    h->bytes += got;
    return true;
}

void process_hear(process *p)
{
    enum { MOST = 64 }; /* a pipe is shorter: something may print without end */
    for (int i = 0; i < MOST && p->output >= 0 && hear_some(p); i++) continue;
}

/* 1: it can be read or written, 0: there is nobody any more, -1: too late. */
static int await_ready(process *p, int fd, short events, double until)
{
    static double const look = 0.1; /* so often: is it still there? Its children may hold the pipe open */
    for (;;) {
        double const left = until - now();
        struct pollfd fds[2] = {{fd, events, 0}, {p->output, POLLIN, 0}};
        if (left <= 0) return poll(fds, 1, 0) > 0 ? 1 : -1;
        int const n = poll(fds, 2, left < look ? (int)(left * 1000) + 1 : (int)(look * 1000));
        if (n < 0 && errno != EINTR) return 0;
        if (n > 0 && fds[1].revents) hear_some(p);
        if (n > 0 && fds[0].revents) return 1;
        if (n == 0 && process_has_ended(p)) return poll(fds, 1, 0) > 0;
    }
}

ssize_t process_read(process *p, void *data, size_t bytes, double until)
{
    for (;;) {
        int const ready = await_ready(p, p->answers, POLLIN, until);
        if (ready <= 0) return ready;
        ssize_t const got = read(p->answers, data, bytes);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        return got > 0 ? got : 0;
    }
}

/* SIGPIPE is ignored by all who ask. */
ssize_t process_write(process *p, const void *data, size_t bytes, double until)
{
    for (;;) {
        int const ready = await_ready(p, p->requests, POLLOUT, until);
        if (ready <= 0) return ready;
        ssize_t const put = write(p->requests, data, bytes);
        if (put < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        return put > 0 ? put : 0;
    }
}

/* ---- in the child ---- */

/* A stranger may have made the pipe one that doesn't wait. */
static bool try_again(int fd, short events)
{
    struct pollfd ready = {fd, events, 0};
    if (errno == EAGAIN) poll(&ready, 1, -1);
    return errno == EAGAIN || errno == EINTR;
}

bool read_all(int fd, void *data, size_t bytes)
{
    for (char *at = data; bytes;) {
        ssize_t const n = read(fd, at, bytes);
        if (n < 0 && try_again(fd, POLLIN)) continue;
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
        if (n < 0 && try_again(fd, POLLOUT)) continue;
        if (n <= 0) return false;
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}
