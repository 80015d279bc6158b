/*
 * Sums in the sampled tier: the moments that say how far rounding takes one, and the same sum as a few orders of summation have it
 * in binary32. A dot product is formed when sum_of asks for it, and one of stored numbers once for all ports that are drawn.
 */
#ifndef SUMS_H
#define SUMS_H

#include <stdbool.h>
#include <stdint.h>

/* Orders: term i joins lane i mod 1, 4, 8, 16, and the lanes are added; or blocks of 32 or 128 terms are summed, then their sums; or
 * term i joins lane i mod 1 or 8 unrounded, by a fused multiply-add. */
enum {
    ROUNDED_LANES = 4,
    ORDER_BLOCKS = 2,
    FUSED_LANES = 2,
    FUSED_ORDERS = ROUNDED_LANES + ORDER_BLOCKS,
    ORDERS = FUSED_ORDERS + FUSED_LANES,
    NO_ORDER = -1,
    ALL_ORDERS = ORDERS
};

typedef struct {
    float lane_of_1, lane_of_4[4], lane_of_8[8], lane_of_16[16];
    float block[ORDER_BLOCKS], of_blocks[ORDER_BLOCKS];
    float fused_of_1, fused_of_8[8];
} order_sums;

void add_to_orders(order_sums *sums, int64_t i, double term); /* term i, exactly */
void errors_of_orders(const order_sums *sums, double total, double error[ORDERS]);

/* The sum of n products in one order, as add_to_orders has it. */
double dot_in_order(int order, const double *a, const double *b, int64_t n);

typedef struct {
    double total, squares; /* sums of the terms and of their squares */
    double moment;         /* the sum of i times term i */
    double signs;          /* how many terms are above 0, less how many are below */
    double grid;           /* a power of two that all terms are multiples of, over the sum of |term|; 0: unknown */
    int64_t n;
    double error[ORDERS]; /* of each order: what it makes of the total, less that */
    bool carried_out;     /* are those known, or the one that was asked for? */
} moments;

/* What a sum is made of: terms that came one by one, and a dot product that waits, whose operands outlive it. */
typedef struct {
    double squares, moment, signs; /* of the terms */
    order_sums orders;             /* of the terms; no use if they were joined */
    bool joined;
    const struct operand *a, *b; /* NULL: no dot product */
} sum_parts;

/* Sums that are kept, in the order in which an evaluation forms them. */
typedef struct ref_sums ref_sums;
const moments *sum_kept(ref_sums *sums, uint64_t key); /* the next; NULL: it isn't known yet, or is another */
void sum_keep(ref_sums *sums, uint64_t key, const moments *of);
bool sum_is_new(const ref_sums *sums); /* will the one that wasn't kept be kept now? */

#endif
