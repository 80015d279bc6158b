/* Where outputs follow from one another, and each is judged given those before it, a known mistake shows in few of them. */
#ifndef REACH_H
#define REACH_H

#include "case/problem.h"

/* The outputs that a quirk changes, "q kv"; NULL: any. With all of those present it changes no other. */
const char *reach_of(int quirk);

/* Can the quirk change one of these outputs of the problem? */
bool reaches(int quirk, const problem *p, const char *const outputs[], int count);

#endif
