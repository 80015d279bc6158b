/* coded: products of FP8 codes that have scales on both sides, for linear and experts. */
#ifndef LEGAL_CODED_H
#define LEGAL_CODED_H

#include "legal.h"

enum { LEGAL_BLOCK = 128 };

/* What is dequantised, where something isn't, a block's sum is multiplied by the scales that are left; and how a dequantised number is
 * rounded. */
typedef struct {
    int way;
    legal_point x, weight;
} legal_coded;

/* Draws a way, and sums that it can have; then the points weight and x. */
void legal_coded_sums(legal *c, legal_coded *k);
void legal_coded_points(legal *c, legal_coded *k);

/* A side that is dequantised draws how it is rounded; one that stays codes says that it isn't. */
legal_point legal_dequantised_at(legal *c, char const *name, bool here);

/* Scale b of row i: a number, or the byte of a power of two. */
double legal_scale(legal const *c, dsv3_tensor const *scale, int64_t i, int64_t b);

/* The n columns of row i of codes, dequantised if the way says so; rows: so many share a scale. */
void legal_coded_weight(legal const *c, legal_coded const *k, dsv3_tensor const *t, dsv3_tensor const *scale, int64_t i,
                        double *row);
/* n codes of x, in place; of_x: their scales. */
void legal_coded_x(legal const *c, legal_coded const *k, int64_t n, double const *of_x, double *x);

/* The product of both, of row o of the matrix. */
double legal_coded_dot(legal const *c, legal_coded const *k, int64_t n, double const *x, double const *of_x,
                       double const *row, dsv3_tensor const *of_weight, int64_t o);

#endif
