/* The table of the AVX-512 backend. Compiled for any processor: whether the ops may be called is found out at run time. */
#include "ctx.h"
#include "fast.h"

#include <stdio.h>

extern const dsv3_backend dsv3_backend_avx512;

static dsv3_status probe(char *why, size_t cap)
{
#if defined(__x86_64__)
    int const there = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (there) return DSV3_OK;
    snprintf(why, cap, "this processor lacks AVX-512 (F, BW, VL, DQ)");
#else
    snprintf(why, cap, "AVX-512 belongs to x86-64 processors");
#endif
    return DSV3_UNSUPPORTED;
}

static const char *numerics(const char *op, const void *prob, const void *io)
{
#define OP(name)                                                                                                       \
    if (!strcmp(op, #name)) return fast_##name##_numerics(prob, io);
    DSV3_OPS(OP)
#undef OP
    return NULL;
}

const dsv3_backend dsv3_backend_avx512 = {.abi = DSV3_ABI,
                                          .size = sizeof(dsv3_backend),
                                          .name = "avx512",
                                          .probe = probe,
                                          .open = ctx_open,
                                          .close = ctx_close,
                                          .numerics = numerics,
#define OP(op) .op = fast_##op,
                                          DSV3_OPS(OP)
#undef OP
};
