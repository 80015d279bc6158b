/*
 * Real numbers of 448 bits, for the forward formulas of chain.c: every operation is MPFR's, rounded to nearest. A result is a number
 * of one pool; all that were made since a mark are given back at once.
 */
#ifndef NUMBERS_H
#define NUMBERS_H

#include <mpfr.h>

enum { NUMBER_BITS = 448 };

mpfr_ptr number(double v);
mpfr_ptr decimal(double v); /* the shortest decimal that is read as v: 1e-6 stands for 10^-6 */

mpfr_ptr plus(mpfr_ptr a, mpfr_ptr b);
mpfr_ptr minus(mpfr_ptr a, mpfr_ptr b);
mpfr_ptr times(mpfr_ptr a, mpfr_ptr b);
mpfr_ptr over(mpfr_ptr a, mpfr_ptr b);

mpfr_ptr e_to(mpfr_ptr a);
mpfr_ptr ln(mpfr_ptr a);
mpfr_ptr root(mpfr_ptr a);
mpfr_ptr power(mpfr_ptr a, mpfr_ptr exponent);
mpfr_ptr cosine(mpfr_ptr a);
mpfr_ptr sine(mpfr_ptr a);
mpfr_ptr floor_of(mpfr_ptr a);
mpfr_ptr ceiling_of(mpfr_ptr a);
mpfr_ptr pi(void);

mpfr_ptr larger(mpfr_ptr a, mpfr_ptr b);
mpfr_ptr smaller(mpfr_ptr a, mpfr_ptr b);

int numbers_mark(void);
void numbers_back_to(int mark);
void numbers_free(void);

#endif
