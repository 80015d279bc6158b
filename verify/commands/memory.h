/* Does a case fit the memory that there is? Asked before anything is filled. */
#ifndef MEMORY_H
#define MEMORY_H

#include "case/problem.h"

/* Bytes that the system says it can still give. */
double memory_available(void);

/* whole: for ports that are given all tensors (problem_memory). False: one sentence in why. */
bool memory_holds(double available, const problem *p, bool whole, complaint *why);

#endif
