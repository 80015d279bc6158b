/*
 * The process in which a port written in C runs: forked, so that whatever the port does to its memory or to itself is a
 * verdict and not our end. It reads case ids from one pipe and answers on another.
 */
#ifndef WORKER_H
#define WORKER_H

#include "answer.h"
#include "backends.h"

typedef struct {
    size_t length; /* of the id */
    bool given;    /* the inputs follow */
} request;

/* Serves until `requests` closes; never returns. Its first answer says whether the port can be used. A request is a `request`,
 * the id, and the inputs in order if they are given; else the worker fills them itself. Behind the answer of a port that ran
 * follow the outputs of its first run, in order. */
_Noreturn void worker_serve(const backend *b, int requests, int answers);

#endif
