/*
 * Quirks (known faults) tried on a problem: which one explains a wrong answer.
 */
#ifndef DIAGNOSE_H
#define DIAGNOSE_H

#include "enclose.h"
#include "result.h"
#include "watcher.h"

enum { MOST_CONFIRMED = 3 };

/* Readings of the reference that a diagnosis took: of the whole as declared, and first looks, at few rows or exact ones. */
typedef struct {
    int whole, first;
} diagnosis_cost;

/* Tries every quirk of the op and of its parts on an answer that is no legal result; legal: what is, under n. Quirks get a first look: where rows stand
 * for themselves on a few that fail, else by their exact results if there are many. Only the likeliest is read on the whole as n says:
 * one, or up to three that explain as much as one another. A quirk that doesn't explain most of its first look counts as one that
 * explains nothing. Those that leave the fewest elements unexplained come first. An element of which a quirk allows any value is
 * unexplained: where the reference itself reads NaN every answer would fit. Where none explains everything, two at once may: the
 * nearest pair counts if it does. Sets diagnoses and diagnosis[] of the result. watched, who is told
 * before each reading, and cost may be NULL. False: no memory. */
bool diagnose(const problem *p, const ref_numerics *n, const enclosures *legal, void *const got[], result *r,
              const watcher *watched, diagnosis_cost *cost);

#endif
