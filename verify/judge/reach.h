/* Where outputs follow from one another, and each is judged given those before it, a known mistake shows in few of them. */
#ifndef REACH_H
#define REACH_H

#include "case/problem.h"

/* The outputs that a quirk changes, "q kv"; NULL: any. With all of those present it changes no other. */
const char *reach_of(int quirk);

/* Can the quirk change one of these outputs of the problem? */
bool reaches(int quirk, const problem *p, const char *const outputs[], int count);

/* The outputs of the problem that the quirk changes, by tensor. False: that isn't known, or it may be all. */
bool reached(int quirk, const problem *p, bool outputs[]);

#endif
