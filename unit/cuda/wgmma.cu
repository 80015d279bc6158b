/* Kernels for unit/cuda/wgmma.c: products of a warpgroup that are right, and one mistake each. wgmma.ptx is what nvcc 13.0 made:
 * nvcc -O2 -std=c++17 -arch=sm_90a -fmad=false -Iinclude -ptx unit/cuda/wgmma.cu -o unit/cuda/wgmma.ptx */
#include "../../cuda/wgmma.cuh"

enum { THREADS = 128, MOST_STEPS = 4 };

/* A and B as they lie in shared memory, 16 bytes each, and a descriptor of each step from their beginning on; or A's registers. */
struct job {
    const uint4 *a, *b;
    int a_chunks, b_chunks, steps;
    uint64_t a_at[MOST_STEPS], b_at[MOST_STEPS];
    const uint32_t *left; /* (steps, threads, 4) */
    const float *c;       /* (threads, accumulators), as d; NULL: sums begin at none */
    float *d;
};

enum mistake {
    NONE,
    NO_PROXY_FENCE,
    NO_BARRIER,
    NO_FENCE,
    NO_WAIT,
    NO_COMMIT,
    FILLS_TOO_EARLY,
    LAST_WARP_FILLS,
    ONE_WARP_ABSENT,
    OTHER_DESCRIPTOR,
    RETURNS,
    NOT_FILLED,
    NO_SECOND_FENCE,
    OTHER_SHAPE,
    READS_THE_SECOND
};

/* ---- instructions: registers of d, and their names ---- */

#define F4(i)   "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define F8(i)   F4(i), F4(i + 4)
#define F16(i)  F8(i), F8(i + 8)
#define F64(i)  F16(i), F16(i + 16), F16(i + 32), F16(i + 48)
#define F128(i) F64(i), F64(i + 64)
#define TEN(t)  "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9"
#define D4      "{%0, %1, %2, %3}"
#define D8      "{%0, %1, %2, %3, %4, %5, %6, %7}"
#define D32     "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " TEN(1) ", " TEN(2) ", %30, %31}"
#define D60     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " TEN(1) ", " TEN(2) ", " TEN(3) ", " TEN(4) ", " TEN(5)
#define D64     "{" D60 ", %60, %61, %62, %63}"
#define D128                                                                                                           \
    "{" D60 ", " TEN(6) ", " TEN(7) ", " TEN(8) ", " TEN(9) ", " TEN(10) ", " TEN(11) ", %120, %121, %122, %123, "     \
                                                                                      "%124, %125, %126, %127}"

/* FROM_SHARED(n, registers, list, the numbers of the operands behind them, format, last operands) */
#define FROM_SHARED(NAME, N, FLOATS, LIST, A, B, P, FORMAT, LAST)                                                      \
    struct NAME {                                                                                                      \
        enum { COLUMNS = N };                                                                                          \
        static __device__ void multiply(float d[N / 2], uint64_t a, uint64_t b, int adds)                              \
        {                                                                                                              \
            asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N FORMAT     \
                         " " LIST ", " A ", " B ", p, " LAST ";\n}"                                                    \
                         : FLOATS(0)                                                                                   \
                         : "l"(a), "l"(b), "r"(adds));                                                                 \
        }                                                                                                              \
    };
#define FROM_REGISTERS(NAME, N, FLOATS, LIST, A, B, P, FORMAT, LAST)                                                   \
    struct NAME {                                                                                                      \
        enum { COLUMNS = N };                                                                                          \
        static __device__ void multiply(float d[N / 2], const uint32_t a[4], uint64_t b, int adds)                     \
        {                                                                                                              \
            asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N FORMAT     \
                         " " LIST ", " A ", " B ", p, " LAST ";\n}"                                                    \
                         : FLOATS(0)                                                                                   \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(adds));                             \
        }                                                                                                              \
    };

FROM_SHARED(bf16_n8, 8, F4, D4, "%4", "%5", "%6", "k16.f32.bf16.bf16", "1, 1, 0, 0")
FROM_SHARED(bf16_n16, 16, F8, D8, "%8", "%9", "%10", "k16.f32.bf16.bf16", "1, 1, 0, 0")
FROM_SHARED(bf16_n256, 256, F128, D128, "%128", "%129", "%130", "k16.f32.bf16.bf16", "1, 1, 0, 0")
FROM_SHARED(bf16_minus_a, 16, F8, D8, "%8", "%9", "%10", "k16.f32.bf16.bf16", "-1, 1, 0, 0")
FROM_SHARED(bf16_minus_b, 16, F8, D8, "%8", "%9", "%10", "k16.f32.bf16.bf16", "1, -1, 0, 0")
FROM_SHARED(bf16_b_mn, 128, F64, D64, "%64", "%65", "%66", "k16.f32.bf16.bf16", "1, 1, 0, 1")
FROM_SHARED(bf16_both_mn, 128, F64, D64, "%64", "%65", "%66", "k16.f32.bf16.bf16", "1, 1, 1, 1")
FROM_SHARED(f16_n16, 16, F8, D8, "%8", "%9", "%10", "k16.f32.f16.f16", "1, 1, 0, 0")
FROM_SHARED(e4m3_n16, 16, F8, D8, "%8", "%9", "%10", "k32.f32.e4m3.e4m3", "1, 1")
FROM_SHARED(e4m3_n128, 128, F64, D64, "%64", "%65", "%66", "k32.f32.e4m3.e4m3", "1, 1")
FROM_SHARED(e5m2_n16, 16, F8, D8, "%8", "%9", "%10", "k32.f32.e5m2.e5m2", "1, 1")
FROM_SHARED(e4m3_minus_a, 16, F8, D8, "%8", "%9", "%10", "k32.f32.e4m3.e4m3", "-1, 1")
FROM_REGISTERS(bf16_left, 16, F8, D8, "{%8, %9, %10, %11}", "%12", "%13", "k16.f32.bf16.bf16", "1, 1, 0")
FROM_REGISTERS(bf16_left_mn, 128, F64, D64, "{%64, %65, %66, %67}", "%68", "%69", "k16.f32.bf16.bf16", "1, 1, 1")
FROM_REGISTERS(e4m3_left, 16, F8, D8, "{%8, %9, %10, %11}", "%12", "%13", "k32.f32.e4m3.e4m3", "1, 1")

/* ---- products ---- */

__device__ inline void fill(uint4 *shared, const job &j)
{
    for (int i = threadIdx.x; i < j.a_chunks; i += THREADS) shared[i] = j.a[i];
    for (int i = threadIdx.x; i < j.b_chunks; i += THREADS) shared[j.a_chunks + i] = j.b[i];
}

template <int N> __device__ inline void begin(float d[N], const job &j)
{
    UNROLL for (int i = 0; i < N; i++)
    {
        d[i] = j.c ? j.c[threadIdx.x * N + i] : 0;
        hold_register(d[i]);
    }
}

template <int N> __device__ inline void end(const float d[N], const job &j)
{
    UNROLL for (int i = 0; i < N; i++) j.d[threadIdx.x * N + i] = d[i];
}

/* All steps are one group. */
template <typename W, mistake M = NONE> __device__ inline void multiply(const job &j)
{
    enum { N = W::COLUMNS / 2 };
    extern __shared__ __align__(1024) uint4 shared[];
    uint64_t const a = shared_address(shared) >> 4, b = shared_address(shared + j.a_chunks) >> 4;
    float d[N];
    if (M != NOT_FILLED) fill(shared, j);
    if (M != NO_PROXY_FENCE) show_to_wgmma();
    if (M != NO_BARRIER) __syncthreads();
    if (M == ONE_WARP_ABSENT && threadIdx.x / 32 == 2) return;
    begin<N>(d, j);
    if (M != NO_FENCE) begin_wgmma();
    UNROLL for (int s = 0; s < MOST_STEPS; s++)
    {
        uint64_t const other = M == OTHER_DESCRIPTOR && threadIdx.x == 77 ? 2 : 0;
        if (s < j.steps) W::multiply(d, a + j.a_at[s], b + j.b_at[s] + other, s || j.c);
    }
    if (M != NO_COMMIT) end_wgmma_group();
    if (M == RETURNS) return;
    if (M == FILLS_TOO_EARLY) shared[threadIdx.x] = make_uint4(0, 0, 0, 0);
    if (M != NO_WAIT) wait_wgmma<0>();
    if (M == LAST_WARP_FILLS && threadIdx.x >= 96) shared[threadIdx.x] = make_uint4(0, 0, 0, 0);
    end<N>(d, j);
    if (M == NO_WAIT) wait_wgmma<0>();
}

/* Two groups, of which the first is waited for alone; the fence stands behind the barrier, which is as good. */
template <typename W, mistake M = NONE> __device__ inline void multiply_twice(const job &j)
{
    enum { N = W::COLUMNS / 2 };
    extern __shared__ __align__(1024) uint4 shared[];
    uint64_t const a = shared_address(shared) >> 4, b = shared_address(shared + j.a_chunks) >> 4;
    float d[N], e[N];
    fill(shared, j);
    __syncthreads();
    show_to_wgmma();
    begin<N>(d, j), begin<N>(e, j);
    begin_wgmma();
    W::multiply(d, a + j.a_at[0], b + j.b_at[0], 1);
    end_wgmma_group();
    if (M == OTHER_SHAPE) bf16_n8::multiply(d, a + j.a_at[0], b + j.b_at[0], 1);
    W::multiply(e, a + j.a_at[1], b + j.b_at[1], 0);
    end_wgmma_group();
    wait_wgmma<1>();
    end<N>(M == READS_THE_SECOND ? e : d, j);
    wait_wgmma<0>();
    UNROLL for (int i = 0; i < N; i++) hold_register(e[i]), d[i] += e[i];
    UNROLL for (int i = 0; i < N; i++) hold_register(d[i]);
    if (M != NO_SECOND_FENCE) begin_wgmma();
    W::multiply(d, a + j.a_at[2], b + j.b_at[2], 1);
    W::multiply(d, a + j.a_at[3], b + j.b_at[3], 1);
    end_wgmma_group();
    wait_wgmma<0>();
    end<N>(d, j);
}

/* A in registers; its steps follow each other in flight. */
template <typename W, bool TOUCHES = false> __device__ inline void multiply_left(const job &j)
{
    enum { N = W::COLUMNS / 2 };
    extern __shared__ __align__(1024) uint4 shared[];
    uint64_t const b = shared_address(shared + j.a_chunks) >> 4;
    float d[N];
    uint32_t left[MOST_STEPS][4];
    fill(shared, j);
    show_to_wgmma();
    __syncthreads();
    begin<N>(d, j);
    UNROLL for (int s = 0; s < MOST_STEPS; s++) UNROLL for (int i = 0; i < 4; i++) left[s][i] =
        s < j.steps ? j.left[(s * THREADS + threadIdx.x) * 4 + i] : 0;
    begin_wgmma();
    UNROLL for (int s = 0; s < MOST_STEPS; s++)
    {
        if (s < j.steps) W::multiply(d, left[s], b + j.b_at[s], s || j.c);
        end_wgmma_group();
        if (TOUCHES) j.d[threadIdx.x] = __uint_as_float(left[s][2]);
    }
    wait_wgmma<0>();
    end<N>(d, j);
}

/* ---- a long sum ---- */

/* d = a b^T: 64 rows and 128 columns of k codes, 128 of them at a time; d lies row by row. PROMOTES: their sum is then added to one of
 * binary32. */
template <bool PROMOTES> __device__ inline void multiply_long(const uint8_t *a, const uint8_t *b, int k, float *d)
{
    enum { ROWS = 64, COLUMNS = 128, N = COLUMNS / 2, DEPTH = 128 };
    __shared__ alignas(1024) uint4 left[ROWS * 8], right[COLUMNS * 8];
    uint64_t const a_at = descriptor_of(left), b_at = descriptor_of(right);
    float sum[N] = {}, total[N] = {};
    for (int from = 0; from < k; from += DEPTH) {
        for (int i = threadIdx.x; i < ROWS * 8; i += THREADS)
            copy_later(&left[swizzled_chunk(i / 8, i % 8)], a + (int64_t)(i / 8) * k + from + i % 8 * 16, 16);
        for (int i = threadIdx.x; i < COLUMNS * 8; i += THREADS)
            copy_later(&right[swizzled_chunk(i / 8, i % 8)], b + (int64_t)(i / 8) * k + from + i % 8 * 16, 16);
        end_group();
        wait_groups<0>();
        show_to_wgmma();
        __syncthreads();
        UNROLL for (int i = 0; i < N; i++) hold_register(sum[i]);
        begin_wgmma();
        UNROLL for (int s = 0; s < 4; s++)
            e4m3_n128::multiply(sum, a_at + 2 * s, b_at + 2 * s, s || (!PROMOTES && from));
        end_wgmma_group();
        wait_wgmma<0>();
        UNROLL for (int i = 0; i < N; i++) hold_register(sum[i]);
        if (PROMOTES) UNROLL for (int i = 0; i < N; i++) total[i] = __fadd_rn(total[i], sum[i]);
        __syncthreads();
    }
    int const row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
    UNROLL for (int i = 0; i < N; i++) d[(row + i / 2 % 2 * 8) * COLUMNS + column + i / 4 * 8 + i % 2] =
        PROMOTES ? total[i] : sum[i];
}

extern "C" __global__ void multiplies_long(const uint8_t *a, const uint8_t *b, int k, float *d)
{
    multiply_long<false>(a, b, k, d);
}

extern "C" __global__ void multiplies_long_promoted(const uint8_t *a, const uint8_t *b, int k, float *d)
{
    multiply_long<true>(a, b, k, d);
}

/* ---- kernels of jobs ---- */

#define KERNEL(name, ...)                                                                                              \
    extern "C" __global__ void name(job j)                                                                             \
    {                                                                                                                  \
        multiply<__VA_ARGS__>(j);                                                                                      \
    }
#define KERNEL_TWICE(name, ...)                                                                                        \
    extern "C" __global__ void name(job j)                                                                             \
    {                                                                                                                  \
        multiply_twice<__VA_ARGS__>(j);                                                                                \
    }
#define KERNEL_LEFT(name, ...)                                                                                         \
    extern "C" __global__ void name(job j)                                                                             \
    {                                                                                                                  \
        multiply_left<__VA_ARGS__>(j);                                                                                 \
    }

KERNEL(multiplies_bf16_n8, bf16_n8)
KERNEL(multiplies_bf16, bf16_n16)
KERNEL(multiplies_bf16_n256, bf16_n256)
KERNEL(multiplies_bf16_minus_a, bf16_minus_a)
KERNEL(multiplies_bf16_minus_b, bf16_minus_b)
KERNEL(multiplies_bf16_b_mn, bf16_b_mn)
KERNEL(multiplies_bf16_both_mn, bf16_both_mn)
KERNEL(multiplies_f16, f16_n16)
KERNEL(multiplies_e4m3, e4m3_n16)
KERNEL(multiplies_e4m3_minus_a, e4m3_minus_a)
KERNEL(multiplies_e5m2, e5m2_n16)
KERNEL_LEFT(multiplies_bf16_left, bf16_left)
KERNEL_LEFT(multiplies_bf16_left_mn, bf16_left_mn)
KERNEL_LEFT(multiplies_e4m3_left, e4m3_left)
KERNEL_TWICE(multiplies_twice, bf16_n16)

KERNEL(has_no_proxy_fence, bf16_n16, NO_PROXY_FENCE)
KERNEL(has_no_barrier, bf16_n16, NO_BARRIER)
KERNEL(has_no_fence, bf16_n16, NO_FENCE)
KERNEL(does_not_wait, bf16_n16, NO_WAIT)
KERNEL(does_not_commit, bf16_n16, NO_COMMIT)
KERNEL(fills_too_early, bf16_n16, FILLS_TOO_EARLY)
KERNEL(last_warp_fills, bf16_n16, LAST_WARP_FILLS)
KERNEL(one_warp_is_absent, bf16_n16, ONE_WARP_ABSENT)
KERNEL(has_another_descriptor, bf16_n16, OTHER_DESCRIPTOR)
KERNEL(returns_in_flight, bf16_n16, RETURNS)
KERNEL(reads_what_is_not_filled, bf16_n16, NOT_FILLED)
KERNEL_TWICE(has_no_second_fence, bf16_n16, NO_SECOND_FENCE)
KERNEL_TWICE(has_another_shape, bf16_n16, OTHER_SHAPE)
KERNEL_TWICE(reads_the_second, bf16_n16, READS_THE_SECOND)
KERNEL_LEFT(touches_the_left_factor, bf16_left, true)
