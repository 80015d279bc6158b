/* n vectors of balls in an evaluation's memory, and the same prepared for ball_dot. */
#ifndef VECTORS_H
#define VECTORS_H

#include "ball.h"
#include "scratch.h"

typedef struct {
    int64_t n, width;
    ball *ball;    /* (n, width); NULL: there are only rows */
    operand *row;  /* (n); NULL: not prepared yet */
    double *parts; /* what the rows point into: of balls (n, 3 width), of stored numbers (n, width) */
} vectors;

/* Room for n vectors; no element is set. */
vectors vectors_take(scratch *s, int64_t n, int64_t width);

/* Room for the rows, unless it has some; and the rows of the balls as they are now. */
void vectors_room(scratch *s, vectors *v);
void vectors_prepare(scratch *s, vectors *v);

/* Vectors [first, first + n), in place. */
vectors vectors_slice(vectors v, int64_t first, int64_t n);

/* n vectors of balls that lie `stride` apart, prepared where they are. */
vectors vectors_strided(scratch *s, const ball *first, int64_t n, int64_t stride, int64_t width);

/* The first n rows of a tensor: stored numbers, prepared. */
vectors vectors_read(scratch *s, const dsv3_tensor *x, int64_t n, int64_t width);

/* The columns of n rows of a tensor: vectors of n stored numbers each, prepared. */
vectors vectors_columns(scratch *s, const dsv3_tensor *x, int64_t n, int64_t width);

#endif
