/*
 * Profiles: what public references do by convention, each at one date. A departure that a profile lists is no bug to whoever
 * follows that reference: verify run --profile=NAME tells one from the other. Each entry names its source, and was read there.
 */
#ifndef PROFILE_H
#define PROFILE_H

#include "ref.h"

/* What a reference does: a known mistake by our formulas; or, where `key` isn't NULL, the one value that it has for a key of an op
 * which the contract leaves to the case. */
typedef struct {
    int quirk;
    const char *op, *key;
    double value;
    const char *source; /* path, and what stands there; NULL ends a list */
} convention;

typedef struct {
    const char *name;
    const char *as_of;      /* a date or a release; where neither is known the commit that was read */
    const char *repository; /* on GitHub */
    const convention *conventions;
} profile;

const profile *profile_at(int i);    /* NULL: there is none */
int profile_named(const char *name); /* its number, or -1 */

/* For an option: all names, and NULL. */
extern const char *const profile_names[];

/* The known mistakes that it lists. */
ref_set profile_quirks(const profile *p);

#endif
