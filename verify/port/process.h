/*
 * Processes that are asked through one pipe and answer through another.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct {
    pid_t pid;    /* 0 after process_end, or when none was started */
    int requests; /* the child reads, the parent writes */
    int answers;  /* the child writes, the parent reads */
} process;

/* Forks. In the parent: true, pid > 0, the parent's ends. In the child: true, pid 0, the child's ends, and every other
 * descriptor above 2 closed: a process that held its siblings' pipes would keep them from ending. False: no process. */
bool process_start(process *p);

/* Closes the pipes, kills if told to, waits. Returns the status of waitpid; 0 when there is no process. */
int process_end(process *p, bool kill_it);

/* Reads or writes all of it; false when the other end is gone. */
bool read_all(int fd, void *data, size_t bytes);
bool write_all(int fd, const void *data, size_t bytes);

/* Reads what there is, at most so many bytes, before the deadline: > 0 bytes read, 0 the other end is gone, -1 too late. */
ssize_t read_some(int fd, void *data, size_t bytes, double deadline);

/* Seconds, monotonic. */
double now(void);

#endif
