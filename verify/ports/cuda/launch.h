/* What the host code of a launch table (launch.awk) is made with. */
#ifndef LAUNCH_H
#define LAUNCH_H

#include "dsv3.h"

#include <stdbool.h>
#include <stdio.h>

typedef struct {
    unsigned x, y, z;
} dims;

enum { TO_DEVICE = 1, TO_HOST = 2 };

/* Of cuda/emu/runtime.c, which stands for NVIDIA's runtime. */
int cudaMalloc(void **memory, size_t bytes);
int cudaFree(void *memory);
int cudaMemcpy(void *to, const void *from, size_t bytes, int kind);
int cudaDeviceSynchronize(void);
void __cudaRegisterFunction(void **handle, const char *host, char *device, const char *name, int threads, void *tid,
                            void *bid, void *block, void *grid, int *warp);
int __cudaLaunchKernel(const void *host, dims grid, dims block, void *const *args, size_t shared, void *stream);

static void know_kernel(const char *name)
{
    __cudaRegisterFunction(NULL, name, NULL, name, 0, NULL, NULL, NULL, NULL, NULL);
}

static bool launch(const char *name, dims grid, dims block, size_t shared, void *const *args)
{
    return !__cudaLaunchKernel(name, grid, block, args, shared, NULL);
}

static bool is_weight(const dsv3_weights *w, const char *name, int dtype)
{
    const dsv3_tensor *const t = dsv3_find(w, name);
    return t && (int)t->dtype == dtype;
}

static bool has_weight(const dsv3_weights *w, const char *name)
{
    if (!dsv3_find(w, name)) fprintf(stderr, "the launch table wants weight %s, which this case has not\n", name);
    return dsv3_find(w, name);
}

static void *alloc(dsv3_ctx *ctx, size_t bytes)
{
    void *memory = NULL;
    (void)ctx;
    return cudaMalloc(&memory, bytes ? bytes : 1) ? NULL : memory;
}

static void release(dsv3_ctx *ctx, void *memory)
{
    (void)ctx;
    cudaFree(memory);
}

static dsv3_status put(dsv3_ctx *ctx, void *dst, const void *src, size_t bytes)
{
    (void)ctx;
    return cudaMemcpy(dst, src, bytes, TO_DEVICE) ? DSV3_FAILED : DSV3_OK;
}

static dsv3_status get(dsv3_ctx *ctx, void *dst, const void *src, size_t bytes)
{
    (void)ctx;
    return cudaMemcpy(dst, src, bytes, TO_HOST) ? DSV3_FAILED : DSV3_OK;
}

static dsv3_status sync_device(dsv3_ctx *ctx)
{
    (void)ctx;
    return cudaDeviceSynchronize() ? DSV3_FAILED : DSV3_OK;
}

/* The port whose ops are named behind `numerics`. */
#define PORT(numerics_of, ...)                                                                                         \
    const dsv3_backend *dsv3_backend_get(uint32_t abi)                                                                 \
    {                                                                                                                  \
        static const dsv3_backend table = {.abi = DSV3_ABI,                                                            \
                                           .size = sizeof table,                                                       \
                                           .name = "ptx",                                                              \
                                           .alloc = alloc,                                                             \
                                           .release = release,                                                         \
                                           .put = put,                                                                 \
                                           .get = get,                                                                 \
                                           .sync = sync_device,                                                        \
                                           .numerics = numerics_of,                                                    \
                                           __VA_ARGS__};                                                               \
        return abi == DSV3_ABI ? &table : NULL;                                                                        \
    }

#endif
