/*
 * What an engine declares of its arithmetic: clauses as in docs/numerics.md, in sections. `[*]` is for every op, and a clause that an op
 * doesn't know is no matter of that op; `[linear]` is for one op, `[mla model.layers.3.self_attn]` for one module. What stands before
 * the first section is for every op.
 */
#ifndef SECTIONS_H
#define SECTIONS_H

#include "files/complaint.h"
#include "files/config.h"
#include "ref.h"

enum { MOST_SECTIONS = 64 };

/* "op", "op module", or "*". */
typedef struct {
    char of[200];
    char clauses[REF_NUMERICS_CAP];
} section;

typedef struct {
    int count;
    section item[MOST_SECTIONS];
} sections;

/* text: lines or clauses with ';' between them. Every clause is one that an op of a model knows. False: one sentence in why. */
bool sections_read(const char *text, sections *s, complaint *why);

/* Every module that a section names is one of this model, and of its op. False: one sentence in why. */
bool sections_check(const sections *s, const dsv3_config *c, complaint *why);

/* The declaration of an op on a module. False: it is too long, or can't be read, and one sentence says so. */
bool sections_of(const sections *s, const char *op, const char *module, char declared[REF_NUMERICS_CAP],
                 complaint *why);

#endif
