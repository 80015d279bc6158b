/*
 * One output element. Comparisons are written as "legal only if", so that NaN is never legal by accident.
 */
#ifndef ELEMENT_H
#define ELEMENT_H

#include "case/problem.h"

typedef struct {
    double truth;        /* centre of the exact result's enclosure */
    double lower, upper; /* ends of what is legal */
} element;

element element_of(const ref_value *truth, const ref_value *legal, int64_t i);

bool any_is_legal(const element *e); /* nothing is known of it */
bool is_legal(const element *e, double got);

/* Error as a fraction of the legal error on that side; above 1 the element is illegal. */
double budget_used(const element *e, double got);

/* Elements in one row of a tensor: its last dimension; 1 for a scalar. */
int64_t row_width(const tensor_info *t);

#endif
