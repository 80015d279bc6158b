/* See products.cuh. */
#include "products.cuh"

#include "product_floats.cuh"
#include "product_warpgroup.cuh"
#include "product_warps.cuh"

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
