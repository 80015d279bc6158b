/* The same tile by wgmma: of sm_90a, and asked for by -DDSV3_WGMMA. */
#ifndef PRODUCT_WARPGROUP_CUH
#define PRODUCT_WARPGROUP_CUH

#include "product.cuh"
#include "wgmma.cuh"

namespace
{

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

} // namespace

#endif
