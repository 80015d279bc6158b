// What a port of other people's kernels needs of host code: unit/cuda_kernels.py judges those that include it.
#pragma once
#include "dsv3.h"

static dsv3_status copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return cudaMemcpy(to, from, bytes, kind) == cudaSuccess ? DSV3_OK : DSV3_FAILED;
}

static const dsv3_backend *host_table(uint32_t abi, dsv3_backend *table)
{
    table->abi = DSV3_ABI, table->size = sizeof *table;
    table->alloc = [](dsv3_ctx *, size_t bytes) {
        void *memory = nullptr;
        return cudaMalloc(&memory, bytes ? bytes : 1) == cudaSuccess ? memory : nullptr;
    };
    table->release = [](dsv3_ctx *, void *memory) { cudaFree(memory); };
    table->put = [](dsv3_ctx *, void *to, const void *from, size_t n) {
        return copy(to, from, n, cudaMemcpyHostToDevice);
    };
    table->get = [](dsv3_ctx *, void *to, const void *from, size_t n) {
        return copy(to, from, n, cudaMemcpyDeviceToHost);
    };
    table->sync = [](dsv3_ctx *) { return cudaDeviceSynchronize() == cudaSuccess ? DSV3_OK : DSV3_FAILED; };
    return abi == DSV3_ABI ? table : nullptr;
}
