/* The moments of a dot product. */
#ifndef MOMENTS_H
#define MOMENTS_H

#include "../ball.h"

/* a . b; with the orders of summation: of stored numbers. */
moments moments_of(const operand *a, const operand *b, bool with_orders);

/* The moments of the terms of a sum and of its dot products; kept: what is known of the latter, or NULL. */
moments moments_of_sum(const sum_record *sum, ref_sums *kept);

#endif
