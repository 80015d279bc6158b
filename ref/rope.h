/* The rotation of vectors of balls: what rope is, and what the attention block turns its queries and keys with. */
#ifndef ROPE_H
#define ROPE_H

#include "reading.h"
#include "scratch.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_rope_prob *prob; /* n_tokens and num_heads are not read */
    int point_cos_sin, point_y;
    dsv3_dtype format; /* of both, unless declared otherwise */
    ref_set quirks;    /* those that concern it */
    bool inverse;      /* by the negative angle */
    ball amplitude;
    ref_turns *turns;    /* of each pair */
    double *spread;      /* error of a port's angle for each position; see cos_sin_of */
    ball *cosine, *sine; /* of each pair, at the position set */
} rotation;

/* The known mistakes of a rotation that the reading makes. */
ref_set rotation_quirks(const ref_reading *rd, const dsv3_rope_prob *p);

/* No position is set yet. */
rotation rotation_of(const ref_reading *rd, const dsv3_rope_prob *p, ref_set quirks, int point_cos_sin, int point_y,
                     dsv3_dtype format);

/* Cosines and sines for a position. */
void rotation_set(const rotation *r, double position);

/* x and y: qk_rope_head_dim elements, in the layouts of the problem. */
void rotate(const rotation *r, const ball *x, ball *y);

#endif
