/* Tiles of BF16 in shared memory and products of them by mma.sync, as sm_80 has it. Source: NVIDIA, PTX ISA 9.0, mma.m16n8k16. */
#ifndef TILES_CUH
#define TILES_CUH

#include "device.cuh"
#include "e4m3.cuh"

/* Rows of tiles lie so many elements apart that eight of them meet no bank twice. */
enum { DEEP = 64, PITCH = DEEP + 8 };

__device__ inline uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* sum += a b: 16 rows of 16 products, 8 columns. */
__device__ inline void mma(float sum[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* sum += a b: 16 rows of 32 products of E4M3, 8 columns; two codes lie where mma has an entry. sm_90 would unpack them for two products
 * of F16. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890 && __CUDA_ARCH__ / 100 != 9
enum { HAS_CODES = 1 };
#else
enum { HAS_CODES = 0 };
#endif

__device__ inline void mma_codes(float sum[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void load_matrices(uint32_t d[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
}

__device__ inline void load_transposed(uint32_t d[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
}

/* Of 16 rows that begin there, `pitch` elements apart: columns 0 to 15, as mma wants its first factor. */
__device__ inline void load_left(uint32_t a[4], const __nv_bfloat16 *tile, int pitch)
{
    int const lane = threadIdx.x % 32;
    load_matrices(a, shared_address(tile + lane % 16 * pitch + lane / 16 * 8));
}

/* The same as two second factors: columns of products of rows 0 to 7, and of rows 8 to 15. */
__device__ inline void load_right(uint32_t b[2][2], const __nv_bfloat16 *tile, int pitch)
{
    int const lane = threadIdx.x % 32;
    uint32_t d[4];
    load_matrices(d, shared_address(tile + (lane / 16 * 8 + lane % 8) * pitch + lane / 8 % 2 * 8));
    b[0][0] = d[0], b[0][1] = d[1], b[1][0] = d[2], b[1][1] = d[3];
}

/* The first factor of a tile that holds its columns as rows. */
__device__ inline void load_left_turned(uint32_t a[4], const __nv_bfloat16 *tile, int pitch)
{
    int const lane = threadIdx.x % 32;
    load_transposed(a, shared_address(tile + (lane / 16 * 8 + lane % 8) * pitch + lane / 8 % 2 * 8));
}

/* Two second factors, of columns 0 to 7 and 8 to 15, of a tile that holds what is summed over as rows. */
__device__ inline void load_right_turned(uint32_t b[2][2], const __nv_bfloat16 *tile, int pitch)
{
    int const lane = threadIdx.x % 32;
    uint32_t d[4];
    load_transposed(d, shared_address(tile + lane % 16 * pitch + lane / 16 * 8));
    b[0][0] = d[0], b[0][1] = d[1], b[1][0] = d[2], b[1][1] = d[3];
}

/* Sixteen bytes of shared memory: `bytes` from there, zeros behind them. They come until wait_copies. */
__device__ inline void copy_later(void *to, const void *from, int bytes)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
                 : "memory");
}

__device__ inline void end_group()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* All but so many groups have come, for the thread that asked; a barrier tells the others. */
template <int GROUPS> __device__ inline void wait_groups()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
}

/* Rows of a matrix in global memory. Those from `rows` on, and columns from `columns` on, are zero. */
template <typename T> struct source {
    const T *data;
    int64_t stride, rows, columns; /* elements */
    bool whole;                    /* sixteen bytes of it may be read at once */
    const int64_t *index;          /* row t is index[t]; NULL: t */
};

template <typename T> __device__ inline const T *row_at(const source<T> &s, int64_t row)
{
    return s.data + (s.index ? s.index[row] : row) * s.stride;
}

template <typename T> source<T> source_of(const void *data, int64_t stride, int64_t rows, int64_t columns)
{
    bool const whole = ((uintptr_t)data | (uintptr_t)(stride * (int64_t)sizeof(T))) % 16 == 0;
    return {(const T *)data, stride, rows, columns, whole, nullptr};
}

/* Eight entries of a row from `column` on, of which there are `columns`: by a copy that comes later, or at once. */
__device__ inline void bring_some(__nv_bfloat16 *to, const __nv_bfloat16 *row, int64_t columns, int64_t column,
                                  bool whole)
{
    int64_t const left = column < columns ? columns - column : 0;
    const __nv_bfloat16 *const from = left ? row + column : row;
    if (whole)
        copy_later(to, from, left < 8 ? 2 * (int)left : 16);
    else
        _Pragma("unroll 1") for (int i = 0; i < 8; i++) to[i] = i < left ? from[i] : __float2bfloat16_rn(0);
}

/* Eight entries of a row to a tile. */
__device__ inline void bring_eight(__nv_bfloat16 *to, const source<__nv_bfloat16> &s, int64_t row, int64_t column)
{
    bool const there = row < s.rows;
    bring_some(to, there ? row_at(s, row) : s.data, there ? s.columns : 0, column, s.whole);
}

/* Two codes of E4M3, each 8 bits to the left of its place, as two BF16, exactly: moved, times 2^120, plus -0. No NaN. */
__device__ inline uint32_t bf16_of_pair(uint32_t codes)
{
    uint32_t const moved = (codes >> 4 & 0x07f007f0) | (codes & 0x80008000);
    uint32_t pair;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(moved), "r"(0x7b807b80), "r"(0x80008000));
    return pair;
}

/* NaN's two codes stay NaN. */
__device__ inline void keep_nan(__nv_bfloat16 *to, uint64_t codes)
{
    _Pragma("unroll 1") for (int i = 0; i < 8; i++, codes >>= 8) if ((codes & 0x7f) == 0x7f) to[i] =
        __ushort_as_bfloat16(bf16_of_e4m3(0x7f));
}

/* Eight codes as BF16; to: sixteen bytes that may be written at once. */
__device__ inline void put_codes(__nv_bfloat16 *to, uint64_t codes)
{
    uint32_t const low = (uint32_t)codes, high = (uint32_t)(codes >> 32);
    *(uint4 *)to = make_uint4(bf16_of_pair(__byte_perm(low, 0, 0x1404)), bf16_of_pair(__byte_perm(low, 0, 0x3424)),
                              bf16_of_pair(__byte_perm(high, 0, 0x1404)), bf16_of_pair(__byte_perm(high, 0, 0x3424)));
    if (((codes & 0x7f7f7f7f7f7f7f7f) + 0x0101010101010101) & 0x8080808080808080) keep_nan(to, codes);
}

/* Codes become BF16, at once. */
__device__ inline void bring_eight(__nv_bfloat16 *to, const source<uint8_t> &s, int64_t row, int64_t column)
{
    int64_t const left = row < s.rows && column < s.columns ? s.columns - column : 0;
    const uint8_t *const from = left ? row_at(s, row) + column : s.data;
    uint64_t codes = 0;
    if (s.whole && left >= 8)
        codes = *(const uint64_t *)from;
    else
        _Pragma("unroll 1") for (int i = 0; i < 8 && i < left; i++) codes |= (uint64_t)from[i] << (8 * i);
    put_codes(to, codes);
}

/* Sixteen codes of a row, as they are, where eight entries of a tile lie. */
__device__ inline void bring_codes(__nv_bfloat16 *to, const source<uint8_t> &s, int64_t row, int64_t column)
{
    int64_t const left = row < s.rows && column < s.columns ? s.columns - column : 0;
    const uint8_t *const from = left ? row_at(s, row) + column : s.data;
    if (s.whole)
        copy_later(to, from, left < 16 ? (int)left : 16);
    else
        _Pragma("unroll 1") for (int i = 0; i < 16; i++)((uint8_t *)to)[i] = i < left ? from[i] : 0;
}

/* The chunk-th sixteen bytes of a tile's row, which begins at `column`; CODES: they stay codes. */
template <bool CODES, typename T>
__device__ inline void bring_chunk(__nv_bfloat16 *to, const source<T> &s, int64_t row, int64_t column, int chunk)
{
    if constexpr (CODES)
        bring_codes(to, s, row, column + 16 * chunk);
    else
        bring_eight(to, s, row, column + 8 * chunk);
}

/* ROWS rows from `first` on, DEEP columns, of codes twice as many, from `column` on, by all of so many threads. */
template <int THREADS, int ROWS, bool CODES = false, typename T>
__device__ inline void bring_tile(__nv_bfloat16 (*tile)[PITCH], const source<T> &s, int64_t first, int64_t column)
{
    for (int at = 0; at < ROWS * (DEEP / 8); at += THREADS) {
        int const i = at + threadIdx.x, row = i / (DEEP / 8), c = i % (DEEP / 8);
        bring_chunk<CODES>(&tile[row][8 * c], s, first + row, column, c);
    }
}

#endif
