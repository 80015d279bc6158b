/* Ops of the AVX-512 backend, each in the file of its name; how it rounds stands beside it. They are weak: an op that
 * has no file is NULL, and judged as SKIP. */
#ifndef FAST_H
#define FAST_H

#include "dsv3.h"

#define OP(op)                                                                                                         \
    __attribute__((weak)) dsv3_status fast_##op(dsv3_ctx *ctx, const dsv3_##op##_prob *p, const dsv3_##op##_io *io);   \
    __attribute__((weak)) const char *fast_##op##_numerics(const void *prob, const void *io);
DSV3_OPS(OP)
#undef OP

#endif
