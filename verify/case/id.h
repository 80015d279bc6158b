/*
 * Case ids: text to numbers and back. The id is the whole case: op@preset:key=value,...;fill=NAME;seed=N.
 * Grammar: docs/formats.md.
 */
#ifndef ID_H
#define ID_H

#include "problem.h"

enum { MAX_VIEWS = 32 };

/* view.TENSOR=FROM:TO/WIDE */
typedef struct {
    char tensor[64];
    int64_t from, to, wide;
} id_view;

/* What an id says of tensors. */
typedef struct {
    dsv3_dtype format[MAX_ROWS]; /* by row of the op; DSV3_NONE: not given */
    int views;
    id_view view[MAX_VIEWS]; /* from < to <= wide */
} id_tensors;

/* Reads what an id of one call says: op, preset, fields, lists, fill and seed into *p, and what it says of tensors into
 * *said; both are all 0 before. On an error returns false and one sentence in why. */
bool id_read(const char *id, problem *p, id_tensors *said, complaint *why);

/* No op is called so: one sentence in why. Returns false. */
bool op_refuse(const char *name, complaint *why);

/* Does a list of the problem set the field? */
bool id_field_is_listed(const problem *p, const field_row *f);

/* Is there a step that differs from the first? False: one sentence in why. */
bool id_steps_differ(const problem *p, complaint *why);

/* Writes the canonical id of a problem whose tensors are known into p->id. False: it is too long, and why says so. */
bool id_print(problem *p, complaint *why);

#endif
