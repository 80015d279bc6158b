/* What a kernel of products.cu multiplies, where its scales are, and where a sum goes. */
#ifndef PRODUCT_CUH
#define PRODUCT_CUH

#include "products.cuh"
#include "tiles.cuh"

namespace
{

enum { BLOCK = 128, OUTPUTS = 64, UNIT_THREADS = 128 };

template <typename T> constexpr bool is_code = sizeof(T) == 1;

/* Rows of codes have scales, each of a block of columns: binary32, or exponents. */
template <typename X> struct row_scales {
};

template <> struct row_scales<uint8_t> {
    const void *x_scale;
    int64_t x_scale_stride;
    bool x_exponents, w_exponents; /* w: those of the matrix, too */
};

/* What a kernel multiplies: rows of x and of W; y has f32 or bf16. In groups: from group to group so far on, or those of experts. */
template <typename X, typename W> struct product : row_scales<X> {
    source<X> x;
    source<W> w;
    const float *scale;          /* NULL: none */
    int64_t scale_stride, first; /* first: row of the matrix that is W's first */
    char *y;
    int64_t y_stride;
    bool y_bf16;
    int64_t groups, x_step, w_step, y_step; /* entries, rows, entries */
    const weight_at *weights;               /* NULL: no experts */
    const int64_t *begin;                   /* (groups + 1): rows of each expert */
};

/* That of group blockIdx.z. */
template <typename P> __device__ inline P of_group(P p)
{
    int64_t const g = blockIdx.z, size = p.y_bf16 ? 2 : 4;
    if (p.weights) {
        weight_at const w = p.weights[g];
        int64_t const begin = p.begin[g];
        __builtin_assume(__isGlobal(w.data));
        __builtin_assume(__isGlobal(w.scale));
        p.w.data = (decltype(p.w.data))w.data, p.w.stride = w.stride, p.scale = w.scale,
        p.scale_stride = w.scale_stride;
        p.x.rows = p.begin[g + 1] - begin;
        if (p.x.index)
            p.x.index += begin;
        else
            p.x.data += begin * p.x.stride;
        p.y += begin * p.y_stride * size;
    } else {
        p.x.data += g * p.x_step, p.y += g * p.y_step * size;
        p.w.data += g * p.w_step * p.w.stride, p.first += g * p.w_step;
    }
    p.w.index = nullptr; /* only rows of x are listed */
    return p;
}

/* Rows of codes are one group, and none is listed. */
__device__ inline product<uint8_t, uint8_t> of_group(product<uint8_t, uint8_t> p)
{
    p.x.index = p.w.index = nullptr;
    return p;
}

/* The scale of row o and of a block of columns: codes have them. */
template <typename X> __device__ inline float scale_at(const product<X, uint8_t> &p, int64_t o, int64_t block)
{
    return p.scale[(p.first + o) / BLOCK * p.scale_stride + block];
}

template <typename X, typename W> __device__ inline float scale_at(const product<X, W> &, int64_t, int64_t)
{
    return 1;
}

/* A byte b of exponents is 2^(b - 127). */
__device__ inline float scale_of(const void *scale, bool exponents, int64_t i)
{
    if (!exponents) return ((const float *)scale)[i];
    unsigned const b = ((const uint8_t *)scale)[i];
    return __uint_as_float(b ? b << 23 : 1u << 22);
}

__device__ inline float scale_at(const product<uint8_t, uint8_t> &p, int64_t o, int64_t block)
{
    return scale_of(p.scale, p.w_exponents, (p.first + o) / BLOCK * p.scale_stride + block);
}

/* The scale of row t of x and of a block of columns, likewise. */
template <typename W> __device__ inline float row_scale_at(const product<uint8_t, W> &p, int64_t t, int64_t block)
{
    int64_t const row = t < p.x.rows ? t : p.x.rows - 1;
    return scale_of(p.x_scale, p.x_exponents, row * p.x_scale_stride + block);
}

template <typename X, typename W> __device__ inline float row_scale_at(const product<X, W> &, int64_t, int64_t)
{
    return 1;
}

/* A sum times its row's scale, rounded; only codes have one. */
template <typename X, typename W> __device__ inline float scaled(const product<X, W> &, float sum, float row_scale)
{
    return is_code<X> ? __fmul_rn(sum, row_scale) : sum;
}

template <typename P> __device__ inline void put(const P &p, int64_t t, int64_t o, float v)
{
    if (t >= p.x.rows || o >= p.w.rows) return;
    if (p.y_bf16)
        store((__nv_bfloat16 *)p.y, t * p.y_stride + o, v);
    else
        store((float *)p.y, t * p.y_stride + o, v);
}

} // namespace

#endif
