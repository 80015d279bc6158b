/* What the cases of a run see of the known mistakes, by op and port: what shards tell each other. */
#ifndef SIGHT_H
#define SIGHT_H

#include "result.h"

typedef struct {
    ref_set seen;          /* quirks that a case which passed sees */
    bool looked, unlooked; /* some cases that passed were asked which; some weren't */
} sight;

typedef struct {
    char op[32];
    sight of[MAX_BACKENDS];
} sight_row;

/* Begins as {0}. */
typedef struct {
    int ops;
    sight_row *op;
} sights;

/* The op's row; NULL: there is none. */
const sight_row *sights_find(const sights *s, const char *op);

/* Adds one port's on one op. False: no memory. */
bool sights_add(sights *s, const char *op, int port, const sight *more);

/* Adds all of them. False: no memory. */
bool sights_join(sights *s, const sights *more);

void sights_free(sights *s);

#endif
