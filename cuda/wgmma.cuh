/* Products of a warpgroup, as sm_90a has them: wgmma of matrices in shared memory. Source: NVIDIA, PTX ISA 9.0, wgmma. */
#ifndef WGMMA_CUH
#define WGMMA_CUH

#include "tiles.cuh"

/* Rows of 128 bytes, eight of which make 1024 that begin at a multiple of 1024: 16 bytes `chunk` of a row lie there. */
__device__ inline int swizzled_chunk(int row, int chunk)
{
    return row * 8 + (chunk ^ row % 8);
}

/* A matrix of such rows as wgmma takes it: K-major, the swizzle of 128 bytes, eight rows each 1024 bytes on. */
__device__ inline uint64_t descriptor_of(const void *tile)
{
    return (uint64_t)(shared_address(tile) >> 4) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

/* The thread's stores to shared memory, and copies that it waited for, come before what wgmma reads behind the next barrier. */
__device__ inline void show_to_wgmma()
{
    asm volatile("fence.proxy.async;" ::: "memory");
}

/* What the thread did to registers comes before the next wgmma. */
__device__ inline void begin_wgmma()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ inline void end_wgmma_group()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* All but so many groups are done: their registers, and what they read. */
template <int GROUPS> __device__ inline void wait_wgmma()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS) : "memory");
}

/* The compiler leaves what it does to the register on its side of this. */
__device__ inline void hold_register(float &v)
{
    asm volatile("" : "+f"(v)::"memory");
}

/* Sixty-four columns of a warpgroup's 64 rows: d[i] lies in row 16 warp + lane / 4 + 8 (i / 2 % 2), column 8 (i / 4) + 2 (lane % 4) + i % 2. */
enum { WGMMA_SUMS = 32 };

#define WGMMA_REGISTERS_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define WGMMA_REGISTERS_16(i)                                                                                          \
    WGMMA_REGISTERS_4(i), WGMMA_REGISTERS_4(i + 4), WGMMA_REGISTERS_4(i + 8), WGMMA_REGISTERS_4(i + 12)

/* MORE: the transpositions of BF16, which only it has. */
#define WGMMA(SHAPE, FORMATS, MORE)                                                                                    \
    asm volatile(                                                                                                      \
        "{\n.reg .pred adds;\nsetp.ne.b32 adds, %34, 0;\n"                                                             \
        "wgmma.mma_async.sync.aligned." SHAPE ".f32." FORMATS " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "        \
        "%11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, "         \
        "%31}, %32, %33, adds, 1, 1" MORE ";\n}"                                                                       \
        : WGMMA_REGISTERS_16(0), WGMMA_REGISTERS_16(16)                                                                \
        : "l"(a), "l"(b), "r"((int)adds))

/* d = a b, + d if it adds: 16 products of BF16. They are there after wait_wgmma. */
__device__ inline void wgmma(float d[WGMMA_SUMS], uint64_t a, uint64_t b, bool adds)
{
    WGMMA("m64n64k16", "bf16.bf16", ", 0, 0");
}

/* The same of 32 products of E4M3. */
__device__ inline void wgmma_codes(float d[WGMMA_SUMS], uint64_t a, uint64_t b, bool adds)
{
    WGMMA("m64n64k32", "e4m3.e4m3", "");
}

#endif
