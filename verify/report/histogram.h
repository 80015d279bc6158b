/* How much of the legal distance outputs used: counts in tenths, drawn small. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include "result.h"

#include <stdio.h>

enum { TENTHS = 10 };

typedef struct {
    int count[TENTHS + 1]; /* the last one: more than is allowed */
} histogram;

/* The budgets of all outputs. */
void histogram_add(histogram *h, const result *r);

/* As an image in a page; nothing where nothing was added. Its colours are the page's: classes "used" and "over". */
void histogram_print(FILE *f, const histogram *h);

#endif
