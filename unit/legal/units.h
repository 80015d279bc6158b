/* units: matrix units of processors, as their published models compute (arXiv 2511.10909, MMA-Sim). */
#ifndef LEGAL_UNITS_H
#define LEGAL_UNITS_H

#include "number.h"

enum unit_kind { UNIT_CUT, UNIT_DOWN, UNIT_PAIRS, UNIT_TWO_CHAINS };

/* below: fraction bits kept below the largest exponent; step: products a step; bits: of the result; least: exponent of the
 * factors' smallest normal number, which subnormal ones count with. */
typedef struct {
    char const *name;
    enum unit_kind kind;
    int step, below, bits, least;
} legal_unit;

extern legal_unit const legal_unit_list[];
extern int const legal_unit_count;

/* One step: acc and n <= 32 products a_i b_i. */
double legal_unit_step(legal_unit const *u, double acc, int n, double const *a, double const *b);
/* A chain of steps from 0. */
double legal_unit_dot(legal_unit const *u, int64_t n, double const *a, double const *b);

#endif
