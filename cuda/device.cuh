/* What the kernels share: ops, formats, reductions. Sums and products are rounded one by one (nvcc -fmad=false): what fuses is written
 * so, and nothing depends on a device's approximations. */
#ifndef DEVICE_CUH
#define DEVICE_CUH

#include "dsv3.h"

#include <cuda_bf16.h>

/* Before a loop whose arrays are registers. */
#define UNROLL _Pragma("unroll")

struct dsv3_ctx {
    cudaStream_t stream;
    void *scratch;
    size_t scratch_bytes;
    struct {
        char *chunk[16]; /* the first ones are in use, of the next one `at` bytes */
        size_t bytes[16];
        int used;
        size_t at;
    } memory;
};

/* Memory of the context for one op, which never shrinks. NULL: there is none. */
inline void *scratch(dsv3_ctx *ctx, size_t bytes)
{
    if (bytes <= ctx->scratch_bytes) return ctx->scratch;
    cudaFree(ctx->scratch);
    ctx->scratch_bytes = cudaMalloc(&ctx->scratch, bytes) == cudaSuccess ? bytes : 0;
    if (!ctx->scratch_bytes) ctx->scratch = nullptr;
    return ctx->scratch;
}

/* Memory for an op that is made of others, until its mark is given back. */
struct memory_mark {
    int used;
    size_t at;
};

inline memory_mark mark(const dsv3_ctx *ctx)
{
    return {ctx->memory.used, ctx->memory.at};
}

inline void give_back(dsv3_ctx *ctx, memory_mark m)
{
    ctx->memory.used = m.used, ctx->memory.at = m.at;
}

/* NULL: there is none. A chunk that is too small, and of which nothing is in use, is made anew. */
inline void *take(dsv3_ctx *ctx, size_t bytes)
{
    enum { CHUNKS = 16 };
    size_t const room = (bytes + 255) / 256 * 256 + 256;
    int *const used = &ctx->memory.used;
    if (ctx->memory.at && ctx->memory.at + room > ctx->memory.bytes[*used]) ++*used, ctx->memory.at = 0;
    if (*used == CHUNKS) return nullptr;
    char **const chunk = &ctx->memory.chunk[*used];
    if (ctx->memory.bytes[*used] < room) {
        cudaFree(*chunk);
        *chunk = nullptr, ctx->memory.bytes[*used] = 0;
        if (cudaMalloc((void **)chunk, room) != cudaSuccess) return nullptr;
        ctx->memory.bytes[*used] = room;
    }
    ctx->memory.at += room;
    return *chunk + ctx->memory.at - room;
}

/* Ops, each in the file of its name; how it rounds stands beside it. They are weak: an op that has no file is NULL, and judged as
 * SKIP. */
#define OP(op)                                                                                                         \
    __attribute__((weak)) dsv3_status cuda_##op(dsv3_ctx *ctx, const dsv3_##op##_prob *p, const dsv3_##op##_io *io);   \
    __attribute__((weak)) const char *cuda_##op##_numerics(const void *prob, const void *io);
DSV3_OPS(OP)
#undef OP

/* What a launch came to. */
inline dsv3_status launched()
{
    return cudaGetLastError() == cudaSuccess ? DSV3_OK : DSV3_FAILED;
}

__device__ inline float load(const float *x, int64_t i)
{
    return x[i];
}

__device__ inline float load(const __nv_bfloat16 *x, int64_t i)
{
    return __bfloat162float(x[i]);
}

__device__ inline void store(float *y, int64_t i, float v)
{
    y[i] = v;
}

__device__ inline void store(__nv_bfloat16 *y, int64_t i, float v)
{
    y[i] = __float2bfloat16_rn(v);
}

/* The sum over a block of THREADS threads, in every thread. All threads must call. */
template <int THREADS> __device__ inline float block_sum(float v)
{
    __shared__ float part[THREADS / 32];
    for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(0xffffffffu, v, offset);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
    __syncthreads();
    float sum = 0;
    for (int w = 0; w < THREADS / 32; w++) sum += part[w];
    return sum;
}

#endif
