/* See products.cuh. */
#include "products.cuh"

#include "tiles.cuh"
#include "wgmma.cuh"

#include <cstdio>
#include <cstdlib>

row_list rows_of(const dsv3_tensor *x)
{
    return {x->data, x->dtype, x->stride[0], nullptr};
}

row_list floats_of(float *data, int64_t width)
{
    return {data, DSV3_F32, width, nullptr};
}

bool is_float(const dsv3_tensor *t)
{
    return t && (t->dtype == DSV3_F32 || t->dtype == DSV3_BF16);
}

bool usable(const matrix *m)
{
    return m->weight && (m->weight->dtype == DSV3_F8_E4M3 ? m->scale != nullptr : is_float(m->weight));
}

matrix find_matrix(const dsv3_weights *weights, const char *name)
{
    char full[128];
    matrix m;
    snprintf(full, sizeof full, "%s.weight", name);
    m.weight = dsv3_find(weights, full);
    snprintf(full, sizeof full, "%s.weight_scale_inv", name);
    m.scale = dsv3_find(weights, full);
    return m;
}

bool by_units(dsv3_dtype x, dsv3_dtype weight)
{
    return x == DSV3_BF16 && weight != DSV3_F32;
}

enum gpu { AMPERE, ADA, HOPPER, BLACKWELL };

static gpu this_gpu()
{
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    return major == 8 ? minor == 9 ? ADA : AMPERE : major == 9 ? HOPPER : BLACKWELL;
}

const char *of_unit(const char *declaration)
{
    static const char *const names[] = {"ampere.bf16", "ada.bf16", "hopper.bf16", "blackwell.bf16"};
    static char text[2000];
    snprintf(text, sizeof text, declaration, names[this_gpu()]);
    return text;
}

const weight_at *place_matrices(dsv3_ctx *ctx, const matrix *m, int64_t n, bool *whole)
{
    size_t const bytes = (size_t)n * sizeof(weight_at);
    weight_at *const there = (weight_at *)take(ctx, bytes), *const here = (weight_at *)calloc(1, bytes);
    *whole = true;
    for (int64_t e = 0; here && e < n; e++) {
        const dsv3_tensor *const w = m[e].weight, *const s = m[e].scale;
        int64_t const size = w->dtype == DSV3_F32 ? 4 : w->dtype == DSV3_BF16 ? 2 : 1;
        here[e] = {w->data, s ? (const float *)s->data : nullptr, w->stride[0], s ? s->stride[0] : 0};
        *whole = *whole && ((uintptr_t)w->data | (uintptr_t)(w->stride[0] * size)) % 16 == 0;
    }
    bool const sent =
        there && here && cudaMemcpyAsync(there, here, bytes, cudaMemcpyHostToDevice, ctx->stream) == cudaSuccess;
    free(here);
    return sent ? there : nullptr;
}

namespace
{

enum { BLOCK = 128, OUTPUTS = 64 };

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

template <int TOKENS, bool CODES>
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
        UNROLL for (int i = 0; i < shape::ROWS; i++)
            UNROLL for (int j = 0; j < shape::COLUMNS; j++) if constexpr (CODES) mma_codes(p.sum[i][j], a[i], b[j]);
        else mma(p.sum[i][j], a[i], b[j]);
    }
}

/* total += scale sum, and sums begin anew; a block of columns. */
template <int TOKENS, typename P>
__device__ inline void promote(const P &p, part<TOKENS> &total, part<TOKENS> &sums, int64_t first_token,
                               int64_t first_output, int64_t block)
{
    typedef part<TOKENS> shape;
    int64_t const t = first_token + threadIdx.x / 32 / shape::ACROSS * shape::ROWS * 16 + threadIdx.x % 32 / 4;
    int64_t const o = first_output + threadIdx.x / 32 % shape::ACROSS * shape::COLUMNS * 8 + threadIdx.x % 4 * 2;
    float of_row[shape::ROWS][2];
    UNROLL for (int i = 0; i < shape::ROWS; i++) UNROLL for (int e = 0; e < 2; e++) of_row[i][e] =
        row_scale_at(p, t + 16 * i + 8 * e, block);
    UNROLL for (int j = 0; j < shape::COLUMNS; j++)
    {
        int64_t const column = o + 8 * j, last = p.w.rows - 1;
        float const scale[2] = {scale_at(p, column < last ? column : last, block),
                                scale_at(p, column + 1 < last ? column + 1 : last, block)};
        UNROLL for (int i = 0; i < shape::ROWS; i++) UNROLL for (int e = 0; e < 4; e++)
        {
            float const sum = scaled(p, sums.sum[i][j][e], of_row[i][e / 2]);
            total.sum[i][j][e] = __fmaf_rn(sum, scale[e % 2], total.sum[i][j][e]);
            sums.sum[i][j][e] = 0;
        }
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

template <int TOKENS, bool CODES, typename P>
__device__ inline void multiply_by_warps(const P &p, int64_t token, int64_t output)
{
    enum { STEP = CODES ? 2 * DEEP : DEEP };
    alignas(16) __shared__ __nv_bfloat16 x[2][TOKENS][PITCH], w[2][OUTPUTS][PITCH];
    part<TOKENS> total = {}, sums = {};
    __builtin_assume(p.x.columns > 0);
    bring_tile<UNIT_THREADS, TOKENS, CODES>(x[0], p.x, token, 0);
    bring_tile<UNIT_THREADS, OUTPUTS, CODES>(w[0], p.w, output, 0);
    end_group();
    for (int64_t k = 0, stage = 0; k < p.x.columns; k += STEP, stage = 1 - stage) {
        if (k + STEP < p.x.columns) {
            bring_tile<UNIT_THREADS, TOKENS, CODES>(x[1 - stage], p.x, token, k + STEP);
            bring_tile<UNIT_THREADS, OUTPUTS, CODES>(w[1 - stage], p.w, output, k + STEP);
        }
        end_group();
        wait_groups<1>();
        __syncthreads();
        add_step<TOKENS, CODES>(sums, x[stage], w[stage]);
        __syncthreads();
        if ((k + STEP) % BLOCK == 0 || k + STEP >= p.x.columns) promote(p, total, sums, token, output, k / BLOCK);
    }
    put_part(p, total, token, output);
}

/* ---- by wgmma: of sm_90a, and asked for by -DDSV3_WGMMA ---- */

#if defined(DSV3_WGMMA) && defined(__CUDA_ARCH_FEAT_SM90_ALL)
enum { HAS_WGMMA = 1 };
#else
enum { HAS_WGMMA = 0 };
#endif

/* A tile of 64 rows as descriptor_of describes it. */
typedef __nv_bfloat16 wgmma_tile[64 * DEEP];

template <bool CODES, typename T>
__device__ inline void bring_swizzled(wgmma_tile tile, const source<T> &s, int64_t first, int64_t column)
{
    for (int i = threadIdx.x; i < 64 * (DEEP / 8); i += UNIT_THREADS)
        bring_chunk<CODES>(&tile[swizzled_chunk(i / (DEEP / 8), i % (DEEP / 8)) * 8], s, first + i / (DEEP / 8), column,
                           i % (DEEP / 8));
}

/* DEEP products more, of codes twice as many: what two tiles have, which all threads brought. */
template <bool CODES>
[[maybe_unused]] __device__ inline void add_wgmma_step(float sum[WGMMA_SUMS], const wgmma_tile x, const wgmma_tile w,
                                                       bool begins)
{
    uint64_t const a = descriptor_of(x), b = descriptor_of(w);
    UNROLL for (int i = 0; i < WGMMA_SUMS; i++) hold_register(sum[i]);
    begin_wgmma();
    UNROLL for (int k = 0; k < DEEP / 16; k++) /* 32 bytes on */
        if constexpr (CODES) wgmma_codes(sum, a + 2 * k, b + 2 * k, !begins || k);
    else wgmma(sum, a + 2 * k, b + 2 * k, !begins || k);
    end_wgmma_group();
    wait_wgmma<0>();
    UNROLL for (int i = 0; i < WGMMA_SUMS; i++) hold_register(sum[i]);
}

/* total += scale sum; a block of columns. */
template <typename P>
__device__ inline void promote_wgmma(const P &p, float total[WGMMA_SUMS], const float sum[WGMMA_SUMS], int64_t t,
                                     int64_t output, int64_t block)
{
    float const of_row[2] = {row_scale_at(p, t, block), row_scale_at(p, t + 8, block)};
    UNROLL for (int i = 0; i < WGMMA_SUMS; i++)
    {
        int64_t const o = output + i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2, last = p.w.rows - 1;
        total[i] = __fmaf_rn(scaled(p, sum[i], of_row[i / 2 % 2]), scale_at(p, o < last ? o : last, block), total[i]);
    }
}

/* The same sums as multiply_by_warps, in the same order; codes stay codes. */
template <bool CODES, typename P>
__device__ inline void multiply_by_warpgroup(const P &p, int64_t token, int64_t output)
{
    enum { STEP = CODES ? 2 * DEEP : DEEP };
    alignas(1024) __shared__ wgmma_tile x[2], w[2];
    int64_t const steps = (p.x.columns + STEP - 1) / STEP, each = BLOCK / STEP;
    int64_t const t = token + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
    float total[WGMMA_SUMS] = {}, sum[WGMMA_SUMS] = {};
    bring_swizzled<CODES>(x[0], p.x, token, 0);
    bring_swizzled<CODES>(w[0], p.w, output, 0);
    end_group();
    for (int64_t s = 0; s < steps; s++) {
        if (s + 1 < steps) {
            bring_swizzled<CODES>(x[(s + 1) % 2], p.x, token, (s + 1) * STEP);
            bring_swizzled<CODES>(w[(s + 1) % 2], p.w, output, (s + 1) * STEP);
        }
        end_group();
        wait_groups<1>();
        show_to_wgmma();
        __syncthreads();
        add_wgmma_step<CODES>(sum, x[s % 2], w[s % 2], s % each == 0);
        __syncthreads();
        if (s % each == each - 1 || s + 1 == steps) promote_wgmma(p, total, sum, t, output, s / each);
    }
    int64_t const o = output + threadIdx.x % 4 * 2;
    UNROLL for (int i = 0; i < WGMMA_SUMS; i++) put(p, t + i / 2 % 2 * 8, o + i / 4 * 8 + i % 2, total[i]);
}

template <int TOKENS, typename X, typename W> __global__ void unit_kernel(product<X, W> all)
{
    product<X, W> const p = of_group(all);
    int64_t const token = (int64_t)blockIdx.y * TOKENS, output = (int64_t)blockIdx.x * OUTPUTS;
    if (token >= p.x.rows) return;
    if constexpr (HAS_WGMMA && TOKENS == 64)
        multiply_by_warpgroup<is_code<X>>(p, token, output);
    else
        multiply_by_warps<TOKENS, HAS_CODES && is_code<X>>(p, token, output);
}

template <int TOKENS, typename X, typename W> void launch_unit(dsv3_ctx *ctx, const product<X, W> &p)
{
    dim3 const grid((unsigned)((p.w.rows + OUTPUTS - 1) / OUTPUTS), (unsigned)((p.x.rows + TOKENS - 1) / TOKENS),
                    (unsigned)p.groups);
    unit_kernel<TOKENS, X, W><<<grid, UNIT_THREADS, 0, ctx->stream>>>(p);
}

/* ---- in binary32 ---- */

enum { SIDE = 64, SLICE = 16, EACH = 4, FLOAT_THREADS = 256 };

__device__ inline float entry(const source<uint8_t> &s, int64_t row, int64_t column, const float *scale)
{
    return __fmul_rn(of_e4m3(row_at(s, row)[column]), scale[column / BLOCK]);
}

template <typename T> __device__ inline float entry(const source<T> &s, int64_t row, int64_t column, const float *)
{
    return load(row_at(s, row), column);
}

/* SIDE rows from `first` on, SLICE columns, column by column. */
template <typename T>
__device__ inline void bring_floats(float (*to)[SIDE + 4], const source<T> &s, int64_t first, int64_t column,
                                    const float *scale, int64_t scale_stride, int64_t of_matrix)
{
    UNROLL for (int at = 0; at < SIDE * SLICE; at += FLOAT_THREADS)
    {
        int const i = at + threadIdx.x;
        int64_t const row = first + i / SLICE, k = column + i % SLICE;
        bool const there = row < s.rows && k < s.columns;
        to[i % SLICE][i / SLICE] =
            there ? entry(s, row, k, scale ? scale + (of_matrix + row) / BLOCK * scale_stride : nullptr) : 0;
    }
}

template <typename X, typename W> __global__ void float_kernel(product<X, W> all)
{
    product<X, W> const p = of_group(all);
    alignas(16) __shared__ float x[SLICE][SIDE + 4], w[SLICE][SIDE + 4];
    int64_t const token = (int64_t)blockIdx.y * SIDE, output = (int64_t)blockIdx.x * SIDE;
    int const t = threadIdx.x / (SIDE / EACH) * EACH, o = threadIdx.x % (SIDE / EACH) * EACH;
    float sum[EACH][EACH] = {};
    if (token >= p.x.rows) return;
    for (int64_t k = 0; k < p.x.columns; k += SLICE) {
        bring_floats(x, p.x, token, k, nullptr, 0, 0);
        bring_floats(w, p.w, output, k, p.scale, p.scale_stride, p.first);
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
    dim3 const grid((unsigned)((p.w.rows + SIDE - 1) / SIDE), (unsigned)((p.x.rows + SIDE - 1) / SIDE),
                    (unsigned)p.groups);
    float_kernel<<<grid, FLOAT_THREADS, 0, ctx->stream>>>(p);
}

enum { FEW = 16 }; /* rows */

template <typename X, typename W> void launch_by_rows(dsv3_ctx *ctx, const product<X, W> &p)
{
    p.x.rows <= FEW ? launch_unit<FEW>(ctx, p) : launch_unit<64>(ctx, p);
}

template <typename W> void launch(dsv3_ctx *ctx, const product<__nv_bfloat16, W> &p)
{
    launch_by_rows(ctx, p);
}

void launch(dsv3_ctx *ctx, const product<uint8_t, uint8_t> &p)
{
    launch_by_rows(ctx, p);
}

void launch(dsv3_ctx *ctx, const product<__nv_bfloat16, float> &p)
{
    launch<__nv_bfloat16, float>(ctx, p);
}

/* ---- formats ---- */

/* What is multiplied, in words of the callers. */
struct request {
    const matrix *m; /* (experts), or one */
    row_list x, y;
    int64_t rows;
    const head_rows *heads;
    const expert_rows *experts;
    const dsv3_tensor *x_scale; /* NULL unless FP8 */
};

template <typename X, typename W> product<X, W> product_of(const request &r)
{
    const dsv3_tensor *const weight = r.m->weight, *const scale = r.m->scale;
    int64_t const columns = weight->shape[1], rows = r.heads ? r.heads->rows : weight->shape[0];
    product<X, W> p = {};
    p.x = source_of<X>(r.x.data, r.x.stride, r.rows, columns), p.x.index = r.x.index;
    p.w = source_of<W>(weight->data, weight->stride[0], rows, columns);
    p.scale = scale ? (const float *)scale->data : nullptr, p.scale_stride = scale ? scale->stride[0] : 0;
    p.y = (char *)r.y.data, p.y_stride = r.y.stride, p.y_bf16 = r.y.dtype == DSV3_BF16;
    p.groups = 1;
    if constexpr (is_code<X>) {
        p.x_scale = r.x_scale->data, p.x_scale_stride = r.x_scale->stride[0];
        p.x_exponents = r.x_scale->dtype == DSV3_U8, p.w_exponents = scale->dtype == DSV3_U8;
    }
    if (!r.heads) return p;
    p.groups = r.heads->heads, p.x_step = r.heads->x_step, p.w_step = r.heads->step, p.y_step = r.heads->y_step;
    p.first = r.heads->first, p.w.data += p.first * p.w.stride;
    p.x.whole = p.x.whole && p.x_step * (int64_t)sizeof(X) % 16 == 0;
    return p;
}

template <typename X, typename W> bool add_experts(dsv3_ctx *ctx, const request &r, product<X, W> *p)
{
    p->weights = place_matrices(ctx, r.m, r.experts->experts, &p->w.whole);
    p->begin = r.experts->first, p->groups = r.experts->experts;
    return p->weights;
}

template <typename X, typename W> dsv3_status multiply_as(dsv3_ctx *ctx, const request &r)
{
    memory_mark const m = mark(ctx);
    product<X, W> p = product_of<X, W>(r);
    bool const good = !r.experts || add_experts(ctx, r, &p);
    if (good) launch(ctx, p);
    give_back(ctx, m);
    return good ? launched() : DSV3_NO_MEMORY;
}

template <typename X> dsv3_status multiply_by(dsv3_ctx *ctx, const request &r)
{
    switch (r.m->weight->dtype) {
    case DSV3_F32: return multiply_as<X, float>(ctx, r);
    case DSV3_BF16: return multiply_as<X, __nv_bfloat16>(ctx, r);
    default: return multiply_as<X, uint8_t>(ctx, r);
    }
}

dsv3_status multiply_all(dsv3_ctx *ctx, const request &r)
{
    return r.x.dtype == DSV3_BF16 ? multiply_by<__nv_bfloat16>(ctx, r) : multiply_by<float>(ctx, r);
}

} // namespace

dsv3_status multiply(dsv3_ctx *ctx, const matrix *m, row_list x, int64_t rows, row_list y)
{
    return multiply_all(ctx, {m, x, y, rows, nullptr, nullptr, nullptr});
}

dsv3_status multiply_heads(dsv3_ctx *ctx, const matrix *m, const head_rows *h, row_list x, int64_t rows, row_list y)
{
    return multiply_all(ctx, {m, x, y, rows, h, nullptr, nullptr});
}

dsv3_status multiply_experts(dsv3_ctx *ctx, const matrix *m, const expert_rows *r, row_list x, row_list y)
{
    return multiply_all(ctx, {m, x, y, r->rows, nullptr, r, nullptr});
}

dsv3_status multiply_codes(dsv3_ctx *ctx, const matrix *m, row_list x, const dsv3_tensor *x_scale, int64_t rows,
                           row_list y)
{
    return multiply_as<uint8_t, uint8_t>(ctx, {m, x, y, rows, nullptr, nullptr, x_scale});
}

/* As unit_kernel: codes stay codes in PTX of sm_89 and from sm_100 on, and by wgmma. */
const char *of_code_unit(const char *declaration, int64_t rows)
{
    static const char *const names[] = {"ampere.f8", "ada.f8", "hopper_mma.f8", "blackwell.f8"};
    static char text[2000], own[2000];
    cudaFuncAttributes a = {};
    cudaFuncGetAttributes(&a, unit_kernel<FEW, uint8_t, uint8_t>);
    const char *unit = a.ptxVersion >= 89 && a.ptxVersion / 10 != 9 ? names[this_gpu()] : nullptr;
#ifdef DSV3_WGMMA
    if (a.ptxVersion / 10 == 9 && rows > FEW) unit = "hopper.f8";
#endif
    bool const promotes = unit && this_gpu() == HOPPER && a.ptxVersion / 10 != 9; /* each mma.sync */
    snprintf(own, sizeof own, declaration, promotes ? "%s splits=1" : "%s splits=1 promote=128 bits2=24");
    if (!unit) return of_unit(own);
    snprintf(text, sizeof text, own, unit);
    return text;
}
