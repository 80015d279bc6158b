/*
 * Instructions that one call of a port takes, counted one by one on the real processor: the call is made in a process that
 * is traced and stepped. No counter of the processor is needed, and no second run differs.
 */
#ifndef EXACT_STEPS_H
#define EXACT_STEPS_H

#include "case/problem.h"
#include "files/complaint.h"

typedef struct {
    long instructions;
    long allocations; /* -1: not counted */
} exact_count;

/* Of the call of a case, the third after the port in this file was loaded. False: one sentence in why. */
bool exact_steps(const problem *p, const char *file, exact_count *count, complaint *why);

#endif
