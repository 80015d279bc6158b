/*
 * Processes that are asked through one pipe and answer through another.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What a process printed on its standard output and standard error: its beginning, and how much it was. */
typedef struct {
    char text[16384];
    size_t kept;
    long long bytes;
} heard;

typedef struct {
    pid_t pid;    /* 0 after process_end, or when none was started */
    int requests; /* the child reads, the parent writes */
    int answers;  /* the child writes, the parent reads */
    int output;   /* what the child prints, the parent reads; -1: there is none */
    heard *heard; /* where that goes; NULL: it prints where the parent does */
} process;

/* Forks. In the parent: true, pid > 0, the parent's ends. In the child: true, pid 0, the child's ends, and every other
 * descriptor above 2 closed: a process that held its siblings' pipes would keep them from ending.
 *
 * With `printed` the child is a stranger: it leads a process group of its own, what it prints goes there, it has nothing to read on
 * its standard input, and the ends of its pipes are out of the way of code that closes or writes to low descriptors.
 * False: no process. */
bool process_start(process *p, heard *printed);

/* Closes the pipes, waits so many seconds, then kills; of a stranger its whole group. Returns the status of waitpid; 0 when there
 * is no process. */
int process_end(process *p, double patience);

/* Has it ended, though nobody has waited for it? */
bool process_has_ended(const process *p);

/* Takes up what it has printed so far. */
void process_hear(process *p);

/* Reads what there is, or writes what goes, at most so many bytes, until that time as by now(), and hears what the process prints
 * meanwhile: > 0 bytes, 0 the other end is gone, -1 too late. */
ssize_t process_read(process *p, void *data, size_t bytes, double until);
ssize_t process_write(process *p, const void *data, size_t bytes, double until);

/* In the child, or of a process that is no stranger. Reads or writes all of it; false when the other end is gone. */
bool read_all(int fd, void *data, size_t bytes);
bool write_all(int fd, const void *data, size_t bytes);

/* Seconds, monotonic. */
double now(void);

/* Lets so many seconds pass. */
void pause_for(double seconds);

#endif
