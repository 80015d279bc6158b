/*
 * The scale and the codes of a tile, as quant has them and the caches that cache_store writes: ref/quant.c.
 */
#ifndef QUANT_H
#define QUANT_H

#include "reading.h"

enum { QUANT_TILE = 128 };

typedef struct {
    const ref_reading *rd;
    const dsv3_tensor *x;           /* what is quantised, rows of it */
    double amax_floor, scale_floor; /* 0: none */
    bool ue8m0;                     /* scales are raised to powers of two */
    int scale_point, code_point;    /* where they are rounded */
} quantiser;

/* Entries first to last - 1 of row t share a scale; own: the one that the port wrote, in a teacher-forced reading. */
typedef struct {
    int64_t t, first, last;
    double own;
} quant_tile;

/* What it may be; what the codes are made with; how far the reciprocal in use may be from 1 / s, relative, where a port divides
 * by amax instead. */
typedef struct {
    ball s, used;
    double apart;
} quant_scale;

quant_scale quant_scale_of(const quantiser *z, const quant_tile *tile);

/* E4M3(x / s), saturating; unrounded in an exact reading. */
ball quant_code(const quantiser *z, ball x, const quant_scale *scale);

#endif
