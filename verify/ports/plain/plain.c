// A port in plain C, scalar binary32: the example to copy. It needs include/dsv3.h and nothing else.
//
//     cp -r verify/ports/plain myport
//     cc -std=c11 -O2 -ffp-contract=off -shared -fPIC -Iinclude -o myport.so myport/*.c -lm
//     build/bin/verify run @smoke --backend=./myport.so
//
// A port is three things: ops (functions that compute, one file each), numerics (how they round, in words, beside each
// op), and the table at the end of this file. A copy that has fewer ops names them in PLAIN_OPS of plain.h.
#include "plain.h"

#include <stdlib.h>

/* Declare what the code does and no more: what is left out is assumed to be coarse. Here every operation is one
 * binary32 operation, rounded to nearest, nothing fused (-ffp-contract=off), nothing flushed. */
static const char *numerics(const char *op, const void *prob, const void *io)
{
#define OP(name)                                                                                                       \
    if (!strcmp(op, #name)) return plain_##name##_numerics(prob, io);
    PLAIN_OPS(OP)
#undef OP
    return NULL;
}

static dsv3_status open_port(dsv3_ctx **ctx, int device)
{
    (void)device;
    *ctx = calloc(2, sizeof **ctx);
    if (!*ctx) return DSV3_NO_MEMORY;
    (*ctx)->parts = *ctx + 1;
    return DSV3_OK;
}

static void close_port(dsv3_ctx *ctx)
{
    free(ctx->scratch);
    free(ctx->parts->scratch);
    free(ctx);
}

#define OP(name) .name = plain_##name,
static const dsv3_backend table = {
    PLAIN_OPS(OP).abi = DSV3_ABI, .size = sizeof table, .name = "plain", .open = open_port,
    .close = close_port,          .numerics = numerics};

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    return abi == DSV3_ABI ? &table : NULL;
}
