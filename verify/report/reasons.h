/* Why cases were skipped: each reason once, with its count. */
#ifndef REASONS_H
#define REASONS_H

#include "result.h"

typedef struct {
    char why[sizeof((result *)0)->why];
    int count;
} reason;

typedef struct {
    reason *item;
    int items, skipped; /* skipped: the sum of the counts */
} reasons;

bool reasons_add(reasons *s, const char *why, int count); /* false: no memory */
bool reasons_join(reasons *to, const reasons *from);      /* false: no memory */
void reasons_free(reasons *s);

/* "12 skipped, 9 of them: why", or "12 skipped: why" when they all have one reason; nothing if none is. */
void reasons_describe(const reasons *s, char *text, size_t cap);

/*
 * "12 skipped: 9 why; 2 why; 1 why", at most so many reasons, the most common first, then "N for other reasons";
 * a single reason is said as above.
 */
void reasons_list(const reasons *s, int most, char *text, size_t cap);

/* Of cases that were judged without some outputs, which the reasons name: "9 without lse", or "9 without an output, 6 of
 * them act"; nothing if there is none. */
void reasons_without(const reasons *s, char *text, size_t cap);

#endif
