/*
 * gpu_times: products of the CUDA backend beside cuBLAS on this device, one a line: rows, seconds of each, theirs over ours, and the
 * share of a copy's bandwidth at which ours takes the matrix. All in one run, by turns, the median of nine. Exit 77: no device.
 * The weights are BF16, 2048 x 7168 like an expert's; cuBLAS adds in binary32.
 */
#include "dsv3.h"

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

extern "C" const dsv3_backend dsv3_backend_cuda;

namespace
{

enum { IN = 7168, OUT = 2048, ROUNDS = 9, COPY = 1 << 30 };

const dsv3_backend *const backend = &dsv3_backend_cuda;

void need(bool good, const char *what)
{
    if (good) return;
    fprintf(stderr, "gpu_times: %s failed\n", what);
    exit(1);
}

/* Numbers about one, the same each time. */
void *numbers(dsv3_ctx *ctx, size_t n)
{
    uint16_t *const host = (uint16_t *)malloc(n * sizeof *host);
    void *const there = backend->alloc(ctx, n * sizeof *host);
    uint32_t random = 1;
    need(host && there, "allocation");
    for (size_t i = 0; i < n; i++)
        random = random * 1664525 + 1013904223, host[i] = (uint16_t)(0x3f80 | random >> 25 | (random >> 24 & 1) << 15);
    need(backend->put(ctx, there, host, n * sizeof *host) == DSV3_OK && backend->sync(ctx) == DSV3_OK, "copy");
    return free(host), there;
}

struct work {
    dsv3_ctx *ctx;
    cublasHandle_t blas;
    int64_t rows;
    void *x, *w, *y, *from, *to;
};

void ours(const work &k)
{
    dsv3_linear_prob const prob = {k.rows, IN, OUT};
    dsv3_weight const weight = {"weight", {k.w, DSV3_BF16, 2, {OUT, IN}, {IN, 1}}};
    dsv3_linear_io io = {};
    io.x = {k.x, DSV3_BF16, 2, {k.rows, IN}, {IN, 1}};
    io.weights = {1, &weight};
    io.y = {k.y, DSV3_BF16, 2, {k.rows, OUT}, {OUT, 1}};
    need(backend->linear(k.ctx, &prob, &io) == DSV3_OK, "linear");
}

/* y = x w^T by rows is y^T = w x^T by columns. */
void theirs(const work &k)
{
    float const one = 1, zero = 0;
    need(cublasGemmEx(k.blas, CUBLAS_OP_T, CUBLAS_OP_N, OUT, (int)k.rows, IN, &one, k.w, CUDA_R_16BF, IN, k.x,
                      CUDA_R_16BF, IN, &zero, k.y, CUDA_R_16BF, OUT, CUBLAS_COMPUTE_32F,
                      CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS,
         "cublasGemmEx");
}

void copies(const work &k)
{
    need(cudaMemcpyAsync(k.to, k.from, COPY, cudaMemcpyDeviceToDevice) == cudaSuccess, "cudaMemcpyAsync");
}

/* Of one call, of so many in a row that the clock doesn't matter. */
double seconds_of(void run(const work &), const work &k, int calls)
{
    cudaEvent_t begin, end;
    float ms = 0;
    need(cudaEventCreate(&begin) == cudaSuccess && cudaEventCreate(&end) == cudaSuccess, "cudaEventCreate");
    run(k);
    need(cudaDeviceSynchronize() == cudaSuccess, "a kernel");
    cudaEventRecord(begin, cudaStreamLegacy); /* which waits for all other streams, and they for it */
    for (int i = 0; i < calls; i++) run(k);
    cudaEventRecord(end, cudaStreamLegacy);
    need(cudaEventSynchronize(end) == cudaSuccess && cudaEventElapsedTime(&ms, begin, end) == cudaSuccess, "a kernel");
    cudaEventDestroy(begin), cudaEventDestroy(end);
    return ms / 1e3 / calls;
}

double median(double *s)
{
    std::sort(s, s + ROUNDS);
    return s[ROUNDS / 2];
}

void compare(const work &k)
{
    double a[ROUNDS], b[ROUNDS], c[ROUNDS];
    for (int i = 0; i < ROUNDS; i++)
        a[i] = seconds_of(ours, k, 50), b[i] = seconds_of(theirs, k, 50), c[i] = seconds_of(copies, k, 2);
    double const mine = median(a), other = median(b), bandwidth = 2.0 * COPY / median(c);
    printf("rows %5lld  ours %.3e s  cuBLAS %.3e s  ratio %.2f  of a copy's bandwidth %.2f\n", (long long)k.rows, mine,
           other, other / mine, (double)IN * OUT * 2 / mine / bandwidth);
}

} // namespace

int main()
{
    char why[200] = "";
    work k = {};
    if (backend->probe(why, sizeof why) != DSV3_OK) return fprintf(stderr, "gpu_times: %s\n", why), 77;
    need(backend->open(&k.ctx, 0) == DSV3_OK, "open");
    need(cublasCreate(&k.blas) == CUBLAS_STATUS_SUCCESS, "cublasCreate");
    need(cudaMalloc(&k.from, COPY) == cudaSuccess && cudaMalloc(&k.to, COPY) == cudaSuccess, "allocation");
    k.x = numbers(k.ctx, 512 * IN), k.w = numbers(k.ctx, (size_t)OUT * IN), k.y = numbers(k.ctx, 512 * OUT);
    printf("%s\n", why);
    for (int64_t rows : {1, 16, 64, 512}) k.rows = rows, compare(k);
    return 0;
}
