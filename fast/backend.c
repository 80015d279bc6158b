/* The table of the AVX-512 backend. Compiled for any processor: whether the ops may be called is found out at run time.
 * With PORTABLE, the same ops in plain C: judged anywhere, measured nowhere. */
#include "ctx.h"
#include "fast.h"
#include "pack.h"

#include <stdio.h>

#ifdef PORTABLE
#define TABLE dsv3_backend_portable
#define NAME  "portable"
#else
#define TABLE dsv3_backend_avx512
#define NAME  "avx512"
#endif

extern const dsv3_backend TABLE;

static dsv3_status probe(char *why, size_t cap)
{
    if (!settings_are_known(why, cap)) return DSV3_INVALID;
#ifdef PORTABLE
    path_describe(why, cap);
    return DSV3_OK;
#elif defined(__x86_64__)
    int const there = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (there) return path_describe(why, cap), DSV3_OK;
    snprintf(why, cap, "this processor lacks AVX-512 (F, BW, VL, DQ)");
    return DSV3_UNSUPPORTED;
#else
    snprintf(why, cap, "AVX-512 belongs to x86-64 processors");
    return DSV3_UNSUPPORTED;
#endif
}

static const char *numerics(const char *op, const void *prob, const void *io)
{
#define OP(name)                                                                                                       \
    if (!strcmp(op, #name)) return fast_##name##_numerics ? fast_##name##_numerics(prob, io) : NULL;
    DSV3_OPS(OP)
#undef OP
    return NULL;
}

const dsv3_backend TABLE = {.abi = DSV3_ABI,
                            .size = sizeof(dsv3_backend),
                            .name = NAME,
                            .probe = probe,
                            .open = ctx_open,
                            .close = ctx_close,
                            .numerics = numerics,
                            .align = 64, /* a load of sixteen numbers then lies in one cache line, where rows do */
#define OP(op) .op = fast_##op,
                            DSV3_OPS(OP)
#undef OP
                                .prepare = fast_prepare,
                            .unprepare = fast_unprepare};
