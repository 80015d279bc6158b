/* The table of the CUDA backend. */
#include "device.cuh"

#include <cstdio>
#include <cstdlib>

namespace
{

dsv3_status status_of(cudaError_t e)
{
    if (e == cudaSuccess) return DSV3_OK;
    return e == cudaErrorMemoryAllocation ? DSV3_NO_MEMORY : DSV3_FAILED;
}

dsv3_status probe(char *why, size_t cap)
{
    int count = 0;
    cudaError_t const e = cudaGetDeviceCount(&count);
    cudaDeviceProp device = {};
    if (e == cudaSuccess && count > 0 && cudaGetDeviceProperties(&device, 0) == cudaSuccess)
        return snprintf(why, cap, "%s", device.name), DSV3_OK;
    snprintf(why, cap, "no CUDA device: %s", e == cudaSuccess ? "none is listed" : cudaGetErrorString(e));
    return DSV3_UNSUPPORTED;
}

dsv3_status open_device(dsv3_ctx **ctx, int device)
{
    *ctx = (dsv3_ctx *)calloc(1, sizeof **ctx);
    if (!*ctx) return DSV3_NO_MEMORY;
    dsv3_status status = status_of(cudaSetDevice(device));
    if (status == DSV3_OK) status = status_of(cudaStreamCreate(&(*ctx)->stream));
    if (status == DSV3_OK) return DSV3_OK;
    free(*ctx);
    *ctx = nullptr;
    return status;
}

void close_device(dsv3_ctx *ctx)
{
    cudaFree(ctx->scratch);
    for (char *chunk : ctx->memory.chunk) cudaFree(chunk);
    cudaStreamDestroy(ctx->stream);
    free(ctx);
}

void *alloc(dsv3_ctx *, size_t bytes)
{
    void *memory = nullptr;
    return cudaMalloc(&memory, bytes ? bytes : 1) == cudaSuccess ? memory : nullptr;
}

void release(dsv3_ctx *, void *memory)
{
    cudaFree(memory);
}

dsv3_status put(dsv3_ctx *ctx, void *dst, const void *src, size_t bytes)
{
    return status_of(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, ctx->stream));
}

dsv3_status get(dsv3_ctx *ctx, void *dst, const void *src, size_t bytes)
{
    dsv3_status const status = status_of(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, ctx->stream));
    return status == DSV3_OK ? status_of(cudaStreamSynchronize(ctx->stream)) : status;
}

dsv3_status sync(dsv3_ctx *ctx)
{
    return status_of(cudaStreamSynchronize(ctx->stream));
}

const char *numerics(const char *op, const void *prob, const void *io)
{
#define OP(name)                                                                                                       \
    if (!strcmp(op, #name)) return cuda_##name##_numerics ? cuda_##name##_numerics(prob, io) : nullptr;
    DSV3_OPS(OP)
#undef OP
    return nullptr;
}

} // namespace

extern "C" const dsv3_backend dsv3_backend_cuda;
#define OP(op) cuda_##op,
/* clang-format off */
const dsv3_backend dsv3_backend_cuda = {
    DSV3_ABI, sizeof(dsv3_backend), "cuda", probe, open_device, close_device, alloc, release, put, get, sync, numerics, 0,
    DSV3_FIRST_OPS(OP)
    nullptr, nullptr, /* prepare, unprepare */
    DSV3_LATER_OPS(OP)
};
/* clang-format on */
#undef OP
