/* Which build of dot.c runs here. */
#include "dot.h"

const dot_kernel *dot_for_this_cpu(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) return &dot_v4;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &dot_v3;
#endif
    return &dot_baseline;
}
