/* case.json of a bundle: what a case is, for a port to read; the id alone says it to us. */
#ifndef CASE_JSON_H
#define CASE_JSON_H

#include "problem.h"

#include <jansson.h>
#include <stdio.h>

/* A format that numpy lacks. */
static inline bool is_narrow(dsv3_dtype d)
{
    return d == DSV3_BF16 || d == DSV3_F8_E4M3;
}

/* Widened: BF16 and FP8 tensors are stored as F32. */
void case_json_print(FILE *f, const problem *p, bool widened);

/* Does what it says agree with the problem of its id? False: the end of a sentence names the first thing that doesn't. What it
 * doesn't say is not missed. */
bool case_json_agrees(const json_t *says, const problem *p, complaint *why);

#endif
