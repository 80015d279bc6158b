/* Kernels for unit/cuda/tiles.c: a product by the matrix unit that is right, and one mistake each. tiles.ptx is what nvcc 13.0 made:
 * nvcc -O2 -std=c++17 -arch=sm_80 -fmad=false -Iinclude -ptx unit/cuda/tiles.cu -o unit/cuda/tiles.ptx */
#include "../../cuda/tiles.cuh"

enum { ROWS = 16, COLUMNS = 16 };

enum mistake { NONE, NO_WAIT, WAITS_TOO_LATE, NO_BARRIER };

/* c = a b^T: 16 rows, 16 columns, 64 products, two groups of copies. */
template <mistake M, int WIDE = PITCH>
__device__ void multiply(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c)
{
    __shared__ alignas(16) __nv_bfloat16 x[ROWS][WIDE], w[COLUMNS][WIDE];
    int const lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int half = 0; half < 2; half++) {
        for (int i = threadIdx.x; i < ROWS * 4; i += 64) {
            int const row = i / 4, k = half * 32 + i % 4 * 8;
            copy_later(&x[row][k], a + row * DEEP + k, 16);
            copy_later(&w[row][k], b + row * DEEP + k, 16);
        }
        end_group();
    }
    if (M != NO_WAIT && M != WAITS_TOO_LATE) wait_groups<0>();
    if (M == WAITS_TOO_LATE) wait_groups<1>();
    if (M != NO_BARRIER) __syncthreads();
    float sum[4] = {};
    for (int k = 0; k < DEEP; k += 16) {
        uint32_t left[4], right[2][2];
        load_left(left, &x[0][k], WIDE);
        load_right(right, &w[0][k], WIDE);
        mma(sum, left, right[warp]);
    }
    for (int e = 0; e < 4; e++) c[(lane / 4 + e / 2 * 8) * COLUMNS + warp * 8 + lane % 4 * 2 + e % 2] = sum[e];
}

extern "C" __global__ void multiplies(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c)
{
    multiply<NONE>(a, b, c);
}

extern "C" __global__ void does_not_wait(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c)
{
    multiply<NO_WAIT>(a, b, c);
}

extern "C" __global__ void waits_for_one_group(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c)
{
    multiply<WAITS_TOO_LATE>(a, b, c);
}

extern "C" __global__ void lacks_the_barrier(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c)
{
    multiply<NO_BARRIER>(a, b, c);
}

extern "C" __global__ void lacks_the_padding(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c)
{
    multiply<NONE, DEEP>(a, b, c);
}

/* Weighted sums of rows: c = p v, 16 rows of p, 16 rows of v. */
extern "C" __global__ void multiplies_transposed(const __nv_bfloat16 *p, const __nv_bfloat16 *v, float *c)
{
    __shared__ alignas(16) __nv_bfloat16 x[ROWS][PITCH], w[ROWS][PITCH];
    int const lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int i = threadIdx.x; i < ROWS * 16; i += 64)
        x[i / 16][i % 16] = p[i / 16 * DEEP + i % 16], w[i / 16][i % 16] = v[i / 16 * DEEP + i % 16];
    __syncthreads();
    float sum[4] = {};
    uint32_t left[4], right[4];
    load_left(left, x[0], PITCH);
    load_transposed(right, shared_address(&w[lane % 16][lane / 16 * 8]));
    mma(sum, left, right + 2 * warp);
    for (int e = 0; e < 4; e++) c[(lane / 4 + e / 2 * 8) * COLUMNS + warp * 8 + lane % 4 * 2 + e % 2] = sum[e];
}

/* Thirteen of sixteen bytes come, zeros behind them; a source that ends there is not read beyond. */
extern "C" __global__ void copies_some(const uint8_t *from, const uint8_t *, uint8_t *to)
{
    __shared__ alignas(16) uint8_t there[16];
    if (threadIdx.x == 0) {
        copy_later(there, from, 13);
        end_group();
        wait_groups<0>();
        for (int i = 0; i < 16; i++) to[i] = there[i];
    }
}

/* All codes of E4M3 as BF16, pairs of numbers as BF16, and all codes by eights. */
extern "C" __global__ void converts(const float *from, const float *, uint16_t *to)
{
    for (int i = threadIdx.x; i < 256; i += 64) {
        to[i] = bf16_of_e4m3((uint32_t)i);
        *(__nv_bfloat162 *)(to + 256 + 2 * i) = __floats2bfloat162_rn(from[2 * i], from[2 * i + 1]);
    }
    for (uint64_t i = threadIdx.x; i < 32; i += 64)
        put_codes((__nv_bfloat16 *)(to + 768 + 8 * i), 0x0706050403020100 + 8 * i * 0x0101010101010101);
}
