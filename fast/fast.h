/* Ops of the AVX-512 backend; numerics of each stand beside its code. */
#ifndef FAST_H
#define FAST_H

#include "dsv3.h"

dsv3_status fast_rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io);
const char *fast_rmsnorm_numerics(const dsv3_rmsnorm_io *io);

#endif
