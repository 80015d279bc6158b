/* n vectors of balls in an evaluation's memory, and the same prepared for ball_dot. */
#ifndef VECTORS_H
#define VECTORS_H

#include "ball.h"
#include "scratch.h"

typedef struct {
    int64_t n, width;
    ball *ball;    /* (n, width); NULL: stored numbers, of which there are only rows */
    row *row;      /* (n); NULL: not prepared yet */
    double *parts; /* what the rows point into */
} vectors;

/* Room for n vectors; no element is set. */
vectors vectors_take(scratch *s, int64_t n, int64_t width);

/* The rows of the balls as they are now. Their memory is taken once. */
void vectors_prepare(scratch *s, vectors *v);

/* The first n rows of a tensor: stored numbers, prepared. */
vectors vectors_read(scratch *s, const dsv3_tensor *x, int64_t n, int64_t width);

#endif
