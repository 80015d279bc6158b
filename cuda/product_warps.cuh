/* A tile of a product by four warps, each with mma.sync of its part. */
#ifndef PRODUCT_WARPS_CUH
#define PRODUCT_WARPS_CUH

#include "product.cuh"

namespace
{

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

} // namespace

#endif
