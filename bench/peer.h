/* torch_peer.py as a process beside the reference: the same op in float64 on one thread. */
#ifndef PEER_H
#define PEER_H

#include "port/process.h"

/* Starts it with these arguments, NULL behind the last, and waits until it has run once. False, and says so:
 * torch isn't installed. End it with process_end. */
bool peer_open(process *p, const char *const arguments[]);

/* Seconds of one run, as the peer measures it; NaN: it is gone. */
double peer_run(const process *p);

#endif
