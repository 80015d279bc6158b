/*
 * The process in which a port written in C runs: forked, so that whatever the port does to its memory or to itself is a
 * verdict and not our end. It reads case ids from one pipe and answers on another.
 */
#ifndef WORKER_H
#define WORKER_H

#include "backends.h"
#include "result.h"

/* An answer; behind it follow `bytes` bytes, the outputs of the first run in order. The first answer of a worker says
 * whether the port can be used: PASS; SKIP (can't run here); REJECTED (is no port). `declared` names its ops. */
typedef struct {
    verdict v; /* PASS: it ran and is to be judged */
    char why[512];
    char declared[REF_NUMERICS_CAP];
    double seconds; /* of one call */
    size_t bytes;
} answer;

typedef struct {
    size_t length; /* of the id */
    bool given;    /* the inputs follow */
} request;

/* Serves until `requests` closes; never returns. A request is a `request`, the id, and the inputs in order if
 * they are given; else the worker fills them itself. */
_Noreturn void worker_serve(const backend *b, int requests, int answers);

#endif
