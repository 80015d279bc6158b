/* Which build of kernel.c runs here. */
#include "kernel.h"

const kernels *kernels_for_this_cpu(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) return &kernels_v4;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &kernels_v3;
#endif
    return &kernels_baseline;
}
