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

#endif
