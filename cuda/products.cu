/* See products.cuh. */
#include "products.cuh"

#include "tiles.cuh"

#include <cstdio>

row_list rows_of(const dsv3_tensor *x)
{
    return {x->data, x->dtype, x->stride[0], nullptr};
}

bool is_float(const dsv3_tensor *t)
{
    return t && (t->dtype == DSV3_F32 || t->dtype == DSV3_BF16);
}

bool usable(const matrix *m)
{
    return m->weight && (m->weight->dtype == DSV3_F8_E4M3 ? m->scale != nullptr : is_float(m->weight));
}

bool by_units(dsv3_dtype x, dsv3_dtype weight)
{
    return x == DSV3_BF16 && weight != DSV3_F32;
}

const char *of_unit(const char *declaration)
{
    static char text[400];
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    snprintf(text, sizeof text, declaration,
             major == 8   ? minor == 9 ? "ada.bf16" : "ampere.bf16"
             : major == 9 ? "hopper.bf16"
                          : "blackwell.bf16");
    return text;
}

namespace
{

enum { BLOCK = 128, OUTPUTS = 64 };

/* What a kernel multiplies: rows of x and of W; y has f32 or bf16. */
template <typename X, typename W> struct product {
    source<X> x;
    source<W> w;
    const int64_t *index;
    const float *scale; /* NULL: none */
    int64_t scale_stride;
    void *y;
    int64_t y_stride;
    bool y_bf16;
};

template <typename P> __device__ inline void put(const P &p, int64_t t, int64_t o, float v)
{
    if (t >= p.x.rows || o >= p.w.rows) return;
    if (p.y_bf16)
        store((__nv_bfloat16 *)p.y, t * p.y_stride + o, v);
    else
        store((float *)p.y, t * p.y_stride + o, v);
}

/* ---- by the matrix unit ---- */

enum { UNIT_THREADS = 128 };

/* A block's TOKENS rows of x and OUTPUTS rows of W: each of four warps has a part of the sums. */
template <int TOKENS> struct part {
    enum {
        ACROSS = TOKENS == 16 ? 4 : 2, /* warps side by side */
        ROWS = TOKENS * ACROSS / 4 / 16,
        COLUMNS = OUTPUTS / ACROSS / 8
    };
    float sum[ROWS][COLUMNS][4];
};

template <int TOKENS>
__device__ inline void add_step(part<TOKENS> &p, const __nv_bfloat16 (*x)[PITCH], const __nv_bfloat16 (*w)[PITCH])
{
    typedef part<TOKENS> shape;
    int const warp = threadIdx.x / 32;
    int const row = warp / shape::ACROSS * shape::ROWS * 16, column = warp % shape::ACROSS * shape::COLUMNS * 8;
    UNROLL for (int k = 0; k < DEEP; k += 16)
    {
        uint32_t a[shape::ROWS][4], b[shape::COLUMNS][2];
        UNROLL for (int i = 0; i < shape::ROWS; i++) load_left(a[i], &x[row + 16 * i][k], PITCH);
        UNROLL for (int j = 0; j < shape::COLUMNS; j += 2) load_right(&b[j], &w[column + 8 * j][k], PITCH);
        UNROLL for (int i = 0; i < shape::ROWS; i++) UNROLL for (int j = 0; j < shape::COLUMNS; j++)
            mma(p.sum[i][j], a[i], b[j]);
    }
}

/* total += scale sum, and sums begin anew. */
template <int TOKENS> __device__ inline void promote(part<TOKENS> &total, part<TOKENS> &sums, float scale)
{
    UNROLL for (int i = 0; i < part<TOKENS>::ROWS; i++) UNROLL for (int j = 0; j < part<TOKENS>::COLUMNS; j++)
        UNROLL for (int e = 0; e < 4; e++)
    {
        total.sum[i][j][e] = __fmaf_rn(sums.sum[i][j][e], scale, total.sum[i][j][e]);
        sums.sum[i][j][e] = 0;
    }
}

/* Fragments lie as the PTX ISA says: row lane / 4 and the one 8 below, columns 2 (lane % 4) and the next. */
template <int TOKENS, typename P>
__device__ inline void put_part(const P &p, const part<TOKENS> &total, int64_t first_token, int64_t first_output)
{
    typedef part<TOKENS> shape;
    int const warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int64_t const t = first_token + warp / shape::ACROSS * shape::ROWS * 16 + lane / 4;
    int64_t const o = first_output + warp % shape::ACROSS * shape::COLUMNS * 8 + lane % 4 * 2;
    UNROLL for (int i = 0; i < shape::ROWS; i++) UNROLL for (int j = 0; j < shape::COLUMNS; j++)
        UNROLL for (int e = 0; e < 4; e++) put(p, t + 16 * i + e / 2 * 8, o + 8 * j + e % 2, total.sum[i][j][e]);
}

template <int TOKENS, typename W> __global__ void unit_kernel(product<__nv_bfloat16, W> p)
{
    __shared__ alignas(16) __nv_bfloat16 x[2][TOKENS][PITCH], w[2][OUTPUTS][PITCH];
    int64_t const token = (int64_t)blockIdx.y * TOKENS, output = (int64_t)blockIdx.x * OUTPUTS;
    int64_t const steps = (p.x.columns + DEEP - 1) / DEEP;
    part<TOKENS> total = {}, sums = {};
    bring_tile<UNIT_THREADS>(x[0], TOKENS, p.x, token, 0);
    bring_tile<UNIT_THREADS>(w[0], OUTPUTS, p.w, output, 0);
    end_group();
    for (int64_t s = 0; s < steps; s++) {
        if (s + 1 < steps) {
            bring_tile<UNIT_THREADS>(x[(s + 1) % 2], TOKENS, p.x, token, (s + 1) * DEEP);
            bring_tile<UNIT_THREADS>(w[(s + 1) % 2], OUTPUTS, p.w, output, (s + 1) * DEEP);
        }
        end_group();
        wait_groups<1>();
        __syncthreads();
        add_step(sums, x[s % 2], w[s % 2]);
        __syncthreads();
        if (s % (BLOCK / DEEP) == BLOCK / DEEP - 1 || s + 1 == steps)
            promote(total, sums, p.scale ? p.scale[output / BLOCK * p.scale_stride + s * DEEP / BLOCK] : 1);
    }
    put_part(p, total, token, output);
}

template <int TOKENS, typename W> void launch_unit(dsv3_ctx *ctx, const product<__nv_bfloat16, W> &p)
{
    dim3 const grid((unsigned)((p.w.rows + OUTPUTS - 1) / OUTPUTS), (unsigned)((p.x.rows + TOKENS - 1) / TOKENS));
    unit_kernel<TOKENS><<<grid, UNIT_THREADS, 0, ctx->stream>>>(p);
}

/* ---- in binary32 ---- */

enum { SIDE = 64, SLICE = 16, EACH = 4, FLOAT_THREADS = 256 };

__device__ inline float entry(const source<uint8_t> &s, int64_t row, int64_t column, const float *scale)
{
    return __fmul_rn(of_e4m3(s.data[row * s.stride + column]), scale[column / BLOCK]);
}

template <typename T> __device__ inline float entry(const source<T> &s, int64_t row, int64_t column, const float *)
{
    return load(s.data, row * s.stride + column);
}

/* SIDE rows from `first` on, SLICE columns, column by column. */
template <typename T>
__device__ inline void bring_floats(float (*to)[SIDE + 4], const source<T> &s, int64_t first, int64_t column,
                                    const float *scale, int64_t scale_stride)
{
    for (int i = threadIdx.x; i < SIDE * SLICE; i += FLOAT_THREADS) {
        int64_t const row = first + i / SLICE, k = column + i % SLICE;
        bool const there = row < s.rows && k < s.columns;
        to[i % SLICE][i / SLICE] = there ? entry(s, row, k, scale ? scale + row / BLOCK * scale_stride : nullptr) : 0;
    }
}

template <typename X, typename W> __global__ void float_kernel(product<X, W> p)
{
    __shared__ alignas(16) float x[SLICE][SIDE + 4], w[SLICE][SIDE + 4];
    int64_t const token = (int64_t)blockIdx.y * SIDE, output = (int64_t)blockIdx.x * SIDE;
    int const t = threadIdx.x / (SIDE / EACH) * EACH, o = threadIdx.x % (SIDE / EACH) * EACH;
    float sum[EACH][EACH] = {};
    for (int64_t k = 0; k < p.x.columns; k += SLICE) {
        bring_floats(x, p.x, token, k, nullptr, 0);
        bring_floats(w, p.w, output, k, p.scale, p.scale_stride);
        __syncthreads();
        _Pragma("unroll 4") for (int s = 0; s < SLICE; s++) UNROLL for (int i = 0; i < EACH; i++)
            UNROLL for (int j = 0; j < EACH; j++) sum[i][j] = __fmaf_rn(x[s][t + i], w[s][o + j], sum[i][j]);
        __syncthreads();
    }
    UNROLL for (int i = 0; i < EACH; i++) UNROLL for (int j = 0; j < EACH; j++)
        put(p, token + t + i, output + o + j, sum[i][j]);
}

template <typename X, typename W> void launch(dsv3_ctx *ctx, const product<X, W> &p)
{
    dim3 const grid((unsigned)((p.w.rows + SIDE - 1) / SIDE), (unsigned)((p.x.rows + SIDE - 1) / SIDE));
    float_kernel<<<grid, FLOAT_THREADS, 0, ctx->stream>>>(p);
}

template <typename W> void launch(dsv3_ctx *ctx, const product<__nv_bfloat16, W> &p)
{
    p.x.rows <= 16 ? launch_unit<16>(ctx, p) : launch_unit<64>(ctx, p);
}

void launch(dsv3_ctx *ctx, const product<__nv_bfloat16, float> &p)
{
    launch<__nv_bfloat16, float>(ctx, p);
}

/* ---- formats ---- */

template <typename X, typename W>
dsv3_status multiply_as(dsv3_ctx *ctx, const matrix *m, const row_list &x, int64_t rows, const row_list &y)
{
    int64_t const columns = m->weight->shape[1];
    product<X, W> p = {};
    p.x = source_of<X>(x.data, x.stride, rows, columns);
    p.w = source_of<W>(m->weight->data, m->weight->stride[0], m->weight->shape[0], columns);
    p.scale = m->scale ? (const float *)m->scale->data : nullptr;
    p.scale_stride = m->scale ? m->scale->stride[0] : 0;
    p.y = y.data, p.y_stride = y.stride, p.y_bf16 = y.dtype == DSV3_BF16;
    launch(ctx, p);
    return launched();
}

template <typename X>
dsv3_status multiply_by(dsv3_ctx *ctx, const matrix *m, const row_list &x, int64_t rows, const row_list &y)
{
    switch (m->weight->dtype) {
    case DSV3_F32: return multiply_as<X, float>(ctx, m, x, rows, y);
    case DSV3_BF16: return multiply_as<X, __nv_bfloat16>(ctx, m, x, rows, y);
    default: return multiply_as<X, uint8_t>(ctx, m, x, rows, y);
    }
}

} // namespace

dsv3_status multiply(dsv3_ctx *ctx, const matrix *m, row_list x, int64_t rows, row_list y)
{
    return x.dtype == DSV3_BF16 ? multiply_by<__nv_bfloat16>(ctx, m, x, rows, y)
                                : multiply_by<float>(ctx, m, x, rows, y);
}
