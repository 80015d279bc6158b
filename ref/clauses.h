/* What a port may declare: the clauses besides the points, what each is called, and which ops it concerns. */
#ifndef CLAUSES_H
#define CLAUSES_H

#include "ref.h"

#include <stddef.h>

/* The members of a ref_set of clauses: the points, then these. */
enum {
    CLAUSE_ACC = REF_POINTS,
    CLAUSE_RSQRT,
    CLAUSE_DIV,
    CLAUSE_EXP,
    CLAUSE_LOG,
    CLAUSE_SIGMOID,
    CLAUSE_SINCOS,
    CLAUSE_ANGLE,
    CLAUSE_RESCALES,
    CLAUSE_FORM,
    CLAUSE_QUOTIENT,
    CLAUSE_SCALED,
    CLAUSE_PARTS,
    CLAUSE_FLUSH,
    CLAUSE_ARITH,
    CLAUSES
};
_Static_assert((int)CLAUSES <= (int)REF_SET_MOST, "a ref_set holds them");

/* The word that a clause begins with; of a point its name alone. */
const char *clause_name(int clause);

/* Does the clause, or point, say anything about this op or a part of it? */
bool clause_concerns(const char *op, int clause);

/* The clause or point that the op calls by this word; CLAUSES: none. */
int clause_called(const char *op, const char *word);

/* A clause that names a function. */
typedef struct {
    size_t offset; /* of its ref_function in ref_numerics */
    bool ieee;     /* it may be ieee */
    bool more;     /* it may have a second number */
} function_row;
const function_row *clause_function(int clause); /* NULL: it names none */

/* The keys of arith, in the order of ref_piece; and whether the op has such a piece. */
extern const char *const piece_names[REF_PIECES];
bool has_piece(const char *op, ref_piece piece);

/* The words of the clauses that choose one of a few, in the order of their enums. */
extern const char *const flush_names[3], *const form_names[3], *const quotient_names[4], *const scaled_names[3];

/* The unit of that name; NULL: none. */
const ref_unit_row *unit_called(const char *name);

/* The words of ref_direction, in its order. */
extern const char *const direction_names[3];

/* What a composition is made of: it names the points of its parts with a prefix. Ends with a row whose op is NULL. */
typedef struct {
    const char *op, *prefix, *part;
} part_row;
extern const part_row op_parts[];

/* Is the point an output of the op itself, not of a part? */
bool is_output_of(const char *op, int point);

#endif
