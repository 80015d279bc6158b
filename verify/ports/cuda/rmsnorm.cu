// A port in plain CUDA: one op, in one format. It needs include/dsv3.h and nothing else, and no device to be judged:
//
//     build/bin/verify run '@ci' --backend=cuda:verify/ports/cuda/rmsnorm.cu
//
// On a device:
//
//     nvcc -O2 -shared -Xcompiler -fPIC -Iinclude -o rmsnorm.so verify/ports/cuda/rmsnorm.cu
//     build/bin/verify run '@ci' --backend=./rmsnorm.so
#include "dsv3.h"

enum { THREADS = 128 };

/* One block a row: each thread sums some squares, then the sums are added in pairs. */
__global__ void rmsnorm_kernel(const float *x, const float *weight, float *y, int64_t width, int64_t x_stride,
                               int64_t y_stride, float eps)
{
    __shared__ float part[THREADS];
    const float *const row = x + blockIdx.x * x_stride;
    float sum = 0;
    for (int64_t i = threadIdx.x; i < width; i += THREADS) sum += row[i] * row[i];
    part[threadIdx.x] = sum;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    }
    __syncthreads();
    float const root = sqrtf(part[0] / width + eps);
    for (int64_t i = threadIdx.x; i < width; i += THREADS) y[blockIdx.x * y_stride + i] = weight[i] * (row[i] / root);
}

static dsv3_status rmsnorm(dsv3_ctx *, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    if (p->residual || io->x.dtype != DSV3_F32 || !weight || weight->dtype != DSV3_F32) return DSV3_UNSUPPORTED;
    rmsnorm_kernel<<<(unsigned)p->n_tokens, THREADS>>>((const float *)io->x.data, (const float *)weight->data,
                                                       (float *)io->y.data, p->hidden_size, io->x.stride[0],
                                                       io->y.stride[0], (float)p->rms_norm_eps);
    return cudaGetLastError() == cudaSuccess ? DSV3_OK : DSV3_FAILED;
}

static void *alloc(dsv3_ctx *, size_t bytes)
{
    void *memory = nullptr;
    return cudaMalloc(&memory, bytes ? bytes : 1) == cudaSuccess ? memory : nullptr;
}

static void release(dsv3_ctx *, void *memory)
{
    cudaFree(memory);
}

static dsv3_status put(dsv3_ctx *, void *dst, const void *src, size_t bytes)
{
    return cudaMemcpy(dst, src, bytes, cudaMemcpyHostToDevice) == cudaSuccess ? DSV3_OK : DSV3_FAILED;
}

static dsv3_status get(dsv3_ctx *, void *dst, const void *src, size_t bytes)
{
    return cudaMemcpy(dst, src, bytes, cudaMemcpyDeviceToHost) == cudaSuccess ? DSV3_OK : DSV3_FAILED;
}

static dsv3_status sync(dsv3_ctx *)
{
    return cudaDeviceSynchronize() == cudaSuccess ? DSV3_OK : DSV3_FAILED;
}

/* What the sources say and no more: binary32 throughout; nvcc may fuse a product into a sum. */
static const char *numerics(const char *, const void *, const void *)
{
    return "acc 24 rn fused; rsqrt ieee; div ieee; flush none";
}

extern "C" const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    static dsv3_backend table;
    table.abi = DSV3_ABI, table.size = sizeof table, table.name = "rmsnorm";
    table.alloc = alloc, table.release = release, table.put = put, table.get = get, table.sync = sync;
    table.numerics = numerics, table.rmsnorm = rmsnorm;
    return abi == DSV3_ABI ? &table : nullptr;
}
