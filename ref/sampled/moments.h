/* The moments of a dot product. */
#ifndef MOMENTS_H
#define MOMENTS_H

#include "../ball.h"

/* a . b; with an order of summation, with all or none: of stored numbers. */
moments moments_of(const operand *a, const operand *b, int order);

/* The moments of the terms of a sum and of its dot products, with the order that is asked for at least; kept: what is known of the
 * latter, or NULL. */
moments moments_of_sum(const sum_record *sum, ref_sums *kept, int order);

#endif
