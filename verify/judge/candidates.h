/*
 * Clauses that a port could declare, whatever it does say: what ordinary kernels, and matrix units, have.
 */
#ifndef CANDIDATES_H
#define CANDIDATES_H

#include "ref.h"

/* Of a clause that begins with this word, the ways to go on: the strongest of a kind first. */
enum { MOST_WAYS = 40, MOST_CANDIDATES = 96 };
typedef struct {
    char word[48]; /* "acc", "P", "mlp.act" */
    int ways;
    const char *way[MOST_WAYS];
    int assumed; /* the way of a port that doesn't say it */
} candidate;

typedef struct {
    int count;
    candidate of[MOST_CANDIDATES];
    char read[80];
} candidates;

/* How sums round: to nearest, or cutting. */
typedef enum { SUMS_NEAREST, SUMS_CUT, SUM_KINDS } sum_kind;

/* Those that the op knows. read: a way of acc that is known otherwise, such as "24 rn splits=16", or "". */
void candidates_of(const char *op, sum_kind sums, const char *read, candidates *all);
sum_kind sum_kind_of(const char *read);

/* Does a way allow all that the other does, and more? Of acc only measuring tells. */
bool candidate_is_wider(const candidate *c, int way, int than);

/* Elementwise arithmetic in binary64: whoever has that adds in binary64, too. */
bool candidate_is_binary64(const candidate *c, int way);

/* What one clause alone would have to say for a VACUOUS verdict to become one; the weaker of a kind first. NULL: past the end. */
const char *candidate_usual(int i);

#endif
