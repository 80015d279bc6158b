/*
 * Signals that a port sends to the processes that judge it: they end nobody, and are held against the port.
 *
 * A port leads a process group of its own, in the session of the guardian: whatever else is in that session is ours.
 */
#ifndef STRUCK_H
#define STRUCK_H

#include <signal.h>
#include <stdbool.h>

/* In a process that has ports: from now on signals of theirs are noted; those of others act as by default. Who handles a signal
 * himself asks struck_by_port first. */
void struck_watch(void);

/* In a handler: is it a port's? Then it is noted. */
bool struck_by_port(const siginfo_t *info);

/* The last one noted since the last call; 0: none. */
int struck_take(void);

#endif
