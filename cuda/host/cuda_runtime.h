/*
 * What host code of cuda/ wants of NVIDIA's headers, for a machine that has none: clang compiles it with this, and no code for a device.
 * What kernels call is declared so that it may be parsed; nothing of it is ever emitted. Source: NVIDIA, CUDA Runtime API 13.0 and
 * CUDA C++ Programming Guide 13.0.
 */
#ifndef CUDA_RUNTIME_H
#define CUDA_RUNTIME_H

#include <cmath>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <type_traits>

#define __CUDACC__
#define __global__             __attribute__((global))
#define __device__             __attribute__((device))
#define __host__               __attribute__((host))
#define __shared__             __attribute__((shared))
#define __constant__           __attribute__((constant))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define __align__(n)           __attribute__((aligned(n)))
#define __grid_constant__

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned across = 1, unsigned down = 1, unsigned deep = 1) : x(across), y(down), z(deep)
    {
    }
};

struct uint3 {
    unsigned x, y, z;
};

struct __align__(8) float2
{
    float x, y;
};

struct __align__(16) float4
{
    float x, y, z, w;
};

struct __align__(16) uint4
{
    unsigned x, y, z, w;
};

/* ---- the runtime: cuda/emu/runtime.c ---- */

typedef enum { cudaSuccess = 0, cudaErrorMemoryAllocation = 2 } cudaError_t;
typedef enum { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 } cudaMemcpyKind;
typedef enum {
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
} cudaDeviceAttr;
typedef enum { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 } cudaFuncAttribute;
typedef void *cudaStream_t;

typedef struct {
    char name[256], rest[4096]; /* rest: of other members, which nobody here asks for */
} cudaDeviceProp;

typedef struct {
    size_t sharedSizeBytes, constSizeBytes, localSizeBytes;
    int maxThreadsPerBlock, numRegs, ptxVersion, binaryVersion, rest[25]; /* rest: likewise */
} cudaFuncAttributes;

extern "C" {
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaFree(void *memory);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError(void);
cudaError_t cudaLaunchKernel(const void *host, dim3 grid, dim3 block, void **args, size_t shared, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaStreamCreate(cudaStream_t *stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared = 0, cudaStream_t stream = nullptr);
cudaError_t cudaMallocBytes(void **memory, size_t bytes) __asm__("cudaMalloc");
cudaError_t cudaFuncSetAttributeOf(const void *kernel, cudaFuncAttribute attribute,
                                   int value) __asm__("cudaFuncSetAttribute");
cudaError_t cudaFuncGetAttributesOf(cudaFuncAttributes *attributes,
                                    const void *kernel) __asm__("cudaFuncGetAttributes");
}

template <typename T> cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, T *kernel)
{
    return cudaFuncGetAttributesOf(attributes, (const void *)kernel);
}

template <typename T> cudaError_t cudaMalloc(T **memory, size_t bytes)
{
    return cudaMallocBytes((void **)memory, bytes);
}

template <typename T> cudaError_t cudaFuncSetAttribute(T *kernel, cudaFuncAttribute attribute, int value)
{
    return cudaFuncSetAttributeOf((const void *)kernel, attribute, value);
}

/* ---- what kernels call ---- */

extern const __device__ uint3 threadIdx, blockIdx;
extern const __device__ dim3 blockDim, gridDim;

__device__ void __syncthreads();
__device__ float __fmaf_rn(float, float, float);
__device__ float __fadd_rn(float, float);
__device__ float __fsub_rn(float, float);
__device__ float __fmul_rn(float, float);
__device__ float __fdiv_rn(float, float);
__device__ float __fsqrt_rn(float);
__device__ float __uint_as_float(unsigned);
__device__ unsigned __float_as_uint(float);
__device__ float __int_as_float(int);
__device__ int __float_as_int(float);
__device__ double __longlong_as_double(long long);
__device__ long long __double_as_longlong(double);
__device__ unsigned __byte_perm(unsigned, unsigned, unsigned);
__device__ int __clz(int);
__device__ size_t __cvta_generic_to_shared(const void *);
__device__ unsigned __isGlobal(const void *);
__device__ uint4 make_uint4(unsigned, unsigned, unsigned, unsigned);
__device__ float2 make_float2(float, float);
__device__ float atomicAdd(float *, float);
__device__ int atomicAdd(int *, int);
__device__ double fma(double, double, double);
__device__ float fmaf(float, float, float);
__device__ float fmaxf(float, float);
__device__ float fabsf(float);
__device__ float sqrtf(float);
__device__ double sqrt(double);
template <typename T> __device__ T __shfl_sync(unsigned mask, T v, int lane);
template <typename T> __device__ T __shfl_up_sync(unsigned mask, T v, unsigned by);
template <typename T> __device__ T __shfl_xor_sync(unsigned mask, T v, int by);

#endif
