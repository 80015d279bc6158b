/*
 * What a port that is drawn does where its declaration leaves it free. A port is a function: equal numbers are rounded alike.
 * So a draw has no state: it is a hash of the numbers it is about and of the port.
 */
#ifndef DRAW_H
#define DRAW_H

#include "../reading.h"

uint64_t key_of(double v);                 /* of a number */
uint64_t key_with(uint64_t a, uint64_t b); /* of both, in this order */

/* In (-1, 1), all alike; of mean 0 and variance 1, a sum of four such. */
double draw(const ref_sample *port, uint64_t key);
double draw_normal(const ref_sample *port, uint64_t key);

/* What belongs to the port and not to a number, in (0, 1): what it always does in one matter. */
enum {
    MATTER_ORDER = 1,
    MATTER_TRUNCATION,
    MATTER_PREFIX,
    MATTER_TILE,
    MATTER_MAXIMUM,
    MATTER_ROUNDING,
    MATTER_UP,
    MATTER_CHAINS,
    MATTER_PARTS,
    MATTER_SUM,
    MATTER_MERGE,
    MATTER_CONSTANTS,
    MATTER_POINTS = 1000,
    MATTER_CLAUSES = 2000,
    MATTER_LEANS = 3000,
    MATTER_LEANING = 4000,
    MATTER_CHOICES = 5000
};
double habit(const ref_sample *port, int matter);

/* One of n ways, in one matter. */
int way_of(const ref_sample *port, int matter, int n);

/* The error of a function, in (-1, 1): two ports of three lean one way, more or less, whatever the number. A function is told by its
 * clause; 0: what has none. */
double leaning(const ref_sample *port, int clause, uint64_t key);

/* How far a function may be off, relative. */
double function_error(const ref_reading *rd, int clause, const ref_function *fn, double argument);

/* Does it round numbers near those of the formula, for it goes another way; or these very numbers? */
bool rounds_nearby(const ref_sample *port);

#endif
