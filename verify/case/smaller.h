/*
 * The smallest case of which something holds, as that a port fails: an id is changed in one way after another, as long as it
 * still holds. Which ids are tried depends on the id and on the answers alone.
 *
 * Smaller: fewer elements in all tensors; of as many, smaller sizes and lists; of the same, fewer keys; of as many, a shorter id.
 */
#ifndef SMALLER_H
#define SMALLER_H

#include "problem.h"

typedef enum {
    STILL_HOLDS,
    HOLDS_NO_MORE,
    NOBODY_ASKED /* the search ends */
} smaller_answer;

/* Asked of each legal id that is smaller than the best so far, once. */
typedef smaller_answer smaller_question(const problem *p, void *context);

/* It holds of *p, which becomes the smallest that is found. False: the search was ended. */
bool smaller_search(problem *p, smaller_question *ask, void *context);

/* Elements of all tensors of a kind that is in the set (bit TENSOR_OUT: of outputs). */
int64_t elements_of(const problem *p, unsigned kinds);

#endif
