/* A port that forks and returns in both processes: the second one must not answer too. */
#ifndef TWIN_H
#define TWIN_H

#include <stdbool.h>

/* In the worker, before anything of the port runs. */
void twin_watch(void);

/* After a call of the port's code: a process that isn't the worker is noted and ends here. */
void twin_end(void);

/* Is this the worker? Safe in a signal handler. */
bool twin_is_worker(void);

/* Did a second process return? Waits a little for it if the port forked. */
bool twin_seen(void);

#endif
