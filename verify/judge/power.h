/* The power of a case: what would be said of a port that makes one known mistake and is honest in all else. docs/statistics.md. */
#ifndef POWER_H
#define POWER_H

#include "enclose.h"

/* From the surest that can be said to nothing. */
typedef enum {
    POWER_PROVED,      /* no such port has legal results: FAIL(proved) */
    POWER_SIGMAS,      /* filters find it: FAIL(statistical) */
    POWER_SUSPECT,     /* they find it, and less sure: SUSPECT */
    POWER_INFORMATION, /* BLIND: honest ports differ by more than this mistake changes */
    POWER_BALLS,       /* BLIND: some such port has legal results, and filters have no say here */
    POWER_EQUAL,       /* the mistake changes nothing here */
    POWER_KINDS
} power_kind;

const char *power_name(power_kind which);

typedef struct {
    int quirk;
    power_kind kind;
    int64_t apart, count; /* elements that are illegal in every such port, and all; 0 of 0: not looked at */
    double sigmas;        /* by filters; NAN: they have no say */
} power;

/* Of each known mistake of the op, and of each of another op that its formula asks for, under the arithmetic n. Inputs in data are
 * filled, outputs are overwritten. all[REF_QUIRKS]. Returns how many; -1: no memory. */
int power_of(const problem *p, const ref_numerics *n, void *const data[], power all[]);

/* Does a say more than b? */
bool power_is_more(const power *a, const power *b);

#endif
