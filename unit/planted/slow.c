/*
 * A port that is another one, SLOWED, made slower by SLOWER per cent: after each call it spins for that share of its time.
 * Right like the other; only bench compare can tell them apart.
 */
#include "dsv3.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const dsv3_backend *other;
static double share;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* For a share of the time since then. */
static void spin(double from)
{
    double const to = seconds(), more = share * (to - from);
    while (seconds() - to < more) continue;
}

#define OP(op)                                                                                                         \
    static dsv3_status slow_##op(dsv3_ctx *ctx, const dsv3_##op##_prob *p, const dsv3_##op##_io *io)                   \
    {                                                                                                                  \
        double const from = seconds();                                                                                 \
        dsv3_status const status = other->op(ctx, p, io);                                                              \
        spin(from);                                                                                                    \
        return status;                                                                                                 \
    }
DSV3_OPS(OP)
#undef OP

const dsv3_backend *dsv3_backend_get(uint32_t abi);
const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    static dsv3_backend table;
    const char *const slowed = getenv("SLOWED"), *const slower = getenv("SLOWER");
    void *const object = dlopen(slowed ? slowed : "", RTLD_NOW | RTLD_LOCAL);
    const dsv3_backend *(*get)(uint32_t) = NULL;
    void *const symbol = object && slowed ? dlsym(object, "dsv3_backend_get") : NULL;
    if (!symbol) return NULL;
    memcpy(&get, &symbol, sizeof get);
    if (!(other = get(abi))) return NULL;
    table = *other;
    share = slower ? atof(slower) / 100 : 0;
#define OP(op)                                                                                                         \
    if (other->op) table.op = slow_##op;
    DSV3_OPS(OP)
#undef OP
    return &table;
}
