/*
 * linear of a library that is loaded here, as a port that bench peers judges and times: OpenBLAS with PEER_OPENBLAS
 * defined, else oneDNN; binary32. It declares nothing, so the judge assumes the widest arithmetic.
 */
#include "dsv3.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROW_MAJOR = 101, AS_IS = 111, TRANSPOSED = 112 }; /* as CBLAS numbers them */

#ifdef PEER_OPENBLAS
#define NAME "openblas"
typedef void cblas_sgemm_fn(int order, int x_as, int w_as, int m, int n, int k, float alpha, const float *x, int ldx,
                            const float *w, int ldw, float beta, float *y, int ldy);
typedef void cblas_sgemv_fn(int order, int w_as, int rows, int columns, float alpha, const float *w, int ldw,
                            const float *x, int incx, float beta, float *y, int incy);
static cblas_sgemm_fn *gemm;
static cblas_sgemv_fn *gemv;

/* Version 0.3.21 takes its AVX2 kernels on processors that it doesn't know. */
static const char *find(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512vl")) setenv("OPENBLAS_CORETYPE", "SkylakeX", 0);
#endif
    void *const library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    gemm = library ? (cblas_sgemm_fn *)dlsym(library, "cblas_sgemm") : NULL;
    gemv = library ? (cblas_sgemv_fn *)dlsym(library, "cblas_sgemv") : NULL;
    return gemm && gemv ? NULL : "apt-get install libopenblas0-pthread";
}

static void multiply(const dsv3_linear_prob *p, const float *x, const float *w, float *y)
{
    int const m = (int)p->n_tokens, n = (int)p->out_features, k = (int)p->in_features;
    if (m == 1)
        gemv(ROW_MAJOR, AS_IS, n, k, 1, w, k, x, 1, 0, y, 1);
    else
        gemm(ROW_MAJOR, AS_IS, TRANSPOSED, m, n, k, 1, x, k, w, k, 0, y, n);
}
#else
#define NAME "onednn"
typedef int dnnl_sgemm_fn(char x_as, char w_as, int64_t m, int64_t n, int64_t k, float alpha, const float *x,
                          int64_t ldx, const float *w, int64_t ldw, float beta, float *y, int64_t ldy);
static dnnl_sgemm_fn *gemm;

static const char *find(void)
{
    void *library = dlopen("libdnnl.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!library) library = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
    gemm = library ? (dnnl_sgemm_fn *)dlsym(library, "dnnl_sgemm") : NULL;
    return gemm ? NULL : "apt-get install libdnnl2";
}

static void multiply(const dsv3_linear_prob *p, const float *x, const float *w, float *y)
{
    int64_t const m = p->n_tokens, n = p->out_features, k = p->in_features;
    gemm('N', 'T', m, n, k, 1, x, k, w, k, 0, y, n);
}
#endif

static dsv3_status probe(char *why, size_t cap)
{
    const char *const absent = find(), *const said = absent ? dlerror() : NULL;
    if (absent) snprintf(why, cap, "%s: %s", absent, said ? said : "it lacks a function");
    return absent ? DSV3_UNSUPPORTED : DSV3_OK;
}

static int is_plain(const dsv3_tensor *t)
{
    return t->dtype == DSV3_F32 && t->ndim == 2 && t->stride[0] == t->shape[1];
}

static dsv3_status linear(dsv3_ctx *ctx, const dsv3_linear_prob *p, const dsv3_linear_io *io)
{
    const dsv3_tensor *const w = dsv3_find(&io->weights, "weight");
    (void)ctx;
    if (!w || !is_plain(w) || !is_plain(&io->x) || !is_plain(&io->y)) return DSV3_UNSUPPORTED;
    multiply(p, io->x.data, w->data, io->y.data);
    return DSV3_OK;
}

const dsv3_backend *dsv3_backend_get(uint32_t abi);
const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    static const dsv3_backend table = {
        .abi = DSV3_ABI, .size = sizeof table, .name = NAME, .probe = probe, .align = 64, .linear = linear};
    return abi == DSV3_ABI ? &table : NULL;
}
