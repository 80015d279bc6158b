/*
 * How an answer fails, so that another case can be said to fail in the same way.
 *
 * The same verdict, and besides: of numbers that are illegal, the mistakes that are named are among those that were, and some are
 * if some were; where none is named, the first output that has an illegal element is the same. Of numbers that only filters
 * refuse, what they lie along, or the output that is scattered; an illegal answer that is named so will do, too. Of an answer
 * that was not judged, its reason, but for numbers.
 */
#ifndef FAILURE_H
#define FAILURE_H

#include "result.h"

typedef struct {
    verdict v;
    bool statistical;
    ref_set names;   /* known mistakes that explain most of it, each as much as the others */
    char output[32]; /* the first that has an illegal element; "" none */
    char along[64];  /* what filters find; "": nothing */
    char why[512];   /* without numbers; "" where numbers were judged */
} failure;

failure failure_of(const result *r);
bool failure_is_same(const failure *first, const failure *other);

/* In words: "FAIL, A3_eps_missing". */
void failure_describe(const failure *f, char *text, size_t cap);

#endif
