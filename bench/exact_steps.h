/*
 * Instructions that one call of a port takes, counted one by one on the real processor: the call is made in a process
 * that is traced and stepped. No counter of the processor is needed, and no second run differs.
 */
#ifndef EXACT_STEPS_H
#define EXACT_STEPS_H

#include "allocations.h"
#include "files/complaint.h"
#include "rotation.h"

typedef struct {
    long instructions;
    bool counted; /* asked is known */
    allocations asked;
} exact_count;

/* Of the call on the first copy, the third after the port in this file was loaded. It must run on the calling thread
 * alone. False: one sentence in why. */
bool exact_steps(rotation *r, const char *file, exact_count *count, complaint *why);

#endif
