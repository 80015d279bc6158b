/*
 * A port written in C: it runs in a worker, a process forked from this one, so that whatever the port does to its memory or to
 * itself is an outcome and not our end.
 */
#ifndef NATIVE_H
#define NATIVE_H

#include "answer.h"
#include "backends.h"
#include "case/problem.h"
#include "limits.h"
#include "process.h"

typedef struct native native;

/* Starts a worker, which opens the port; never NULL. hello says whether the port can be used: PORT_RAN, PORT_SKIPPED (not here),
 * PORT_NOT_ASKED (by our own fault not now), or anything else (never). */
native *native_open(const backend *b, port_limits limits, answer *hello);
/* One sentence in why if its close didn't end well. */
void native_close(native *n, complaint *why);

/* What it printed: in its last case, in the first since its start, before that in the start. */
const heard *native_heard(const native *n);

bool native_has_op(const native *n, const char *name);

/* Runs a problem twice, in guarded memory. data[i] belongs to tensor[i]: inputs are read if they are given, else the worker fills
 * its own; outputs are written when it ran. A worker that died in an earlier case is started again, or the
 * answer says why it can't be. */
void native_ask(native *n, const problem *pr, void *const data[], bool given, answer *a);

#endif
