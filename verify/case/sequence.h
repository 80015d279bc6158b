/*
 * Sequences of calls: an id in which values are separated by '/' stands for as many calls, one after another. The text
 * of such an id alone is read here. Grammar: docs/formats.md.
 */
#ifndef SEQUENCE_H
#define SEQUENCE_H

#include "problem.h"

/* Calls that an id stands for; 1: it is none. */
int sequence_steps(const char *id);

/* Do all keys with steps have as many, and may they have them? False: one sentence in why. */
bool sequence_check(const char *id, complaint *why);

/* The id of one step, cut to cap characters. */
void sequence_take(const char *id, int step, char *one, size_t cap);

#endif
