/*
 * number: values of any format as binary64, and exact sums of them that are rounded once.
 *
 * Every number that a legal port holds is a double. A format is a number of significant bits and the value of its
 * last place where it is subnormal. Nothing here is shared with the reference.
 */
#ifndef LEGAL_NUMBER_H
#define LEGAL_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int bits;     /* of the significand */
    int last;     /* exponent of the last place of a subnormal number */
    double top;   /* the largest finite number */
    bool to_zero; /* cut instead of rounded to nearest, ties to even */
} number_format;

extern number_format const number_f32, number_bf16, number_e4m3;

/* A format of binary32's range that keeps `bits` <= 24 bits, or binary64 for 53. */
number_format number_accumulator(int bits, bool to_zero);

/* x + tail rounded once to the format, where |tail| is at most half a last place of x, or 0. */
double number_round2(number_format format, double x, double tail);
double number_round(number_format format, double x);

/* The last place of x in the format. */
double number_place(number_format format, double x);

/* An exact sum of doubles whose bits lie between 2^-440 and 2^440. */
enum { NUMBER_LIMBS = 32 };
typedef struct {
    int64_t limb[NUMBER_LIMBS]; /* 32 bits each and room for carries; limb 0 counts 2^-512 */
} number_sum;

void number_clear(number_sum *sum);
void number_add(number_sum *sum, double x);

/* The sum rounded once to the format. The sum isn't changed. */
double number_total(number_sum const *sum, number_format format);

/* E4M3FN codes: the value of a code, and the code nearest to x, saturating. */
double number_from_e4m3(uint8_t code);
uint8_t number_to_e4m3(double x);

#endif
