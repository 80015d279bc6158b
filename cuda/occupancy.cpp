/*
 * occupancy: blocks of a kernel on a processor of compute capability 9.0 (H100, H200), by NVIDIA's own header; no device is asked.
 * Each line in: registers, static bytes of shared memory, dynamic ones, threads of a block. Each line out: blocks, and what limits
 * them. Source of the numbers: NVIDIA, CUDA C++ Programming Guide, compute capabilities.
 */
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cuda_occupancy.h>

static cudaOccDeviceProp processor()
{
    cudaOccDeviceProp p;
    p.computeMajor = 9, p.computeMinor = 0, p.numSms = 132;
    p.maxThreadsPerBlock = 1024, p.maxThreadsPerMultiprocessor = 2048, p.warpSize = 32;
    p.regsPerBlock = p.regsPerMultiprocessor = 65536;
    p.sharedMemPerBlock = 49152, p.sharedMemPerBlockOptin = 232448, p.sharedMemPerMultiprocessor = 233472;
    p.reservedSharedMemPerBlock = 1024;
    return p;
}

static cudaOccFuncAttributes kernel(int registers, size_t shared)
{
    cudaOccFuncAttributes k;
    k.maxThreadsPerBlock = 1024, k.numRegs = registers, k.sharedSizeBytes = shared;
    k.partitionedGCConfig = PARTITIONED_GC_OFF, k.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    k.maxDynamicSharedSizeBytes = 232448 - shared, k.numBlockBarriers = 1;
    return k;
}

static const char *limit_of(const cudaOccResult &r)
{
    int const blocks = r.activeBlocksPerMultiprocessor;
    return blocks == r.blockLimitSharedMem ? "shared"
           : blocks == r.blockLimitRegs    ? "registers"
           : blocks == r.blockLimitWarps   ? "warps"
                                           : "blocks";
}

int main()
{
    cudaOccDeviceProp const p = processor();
    int registers, threads;
    size_t shared, dynamic;
    while (scanf("%d %zu %zu %d", &registers, &shared, &dynamic, &threads) == 4) {
        cudaOccFuncAttributes const k = kernel(registers, shared);
        cudaOccDeviceState state;
        cudaOccResult r;
        if (cudaOccMaxActiveBlocksPerMultiprocessor(&r, &p, &k, &state, threads, dynamic) != CUDA_OCC_SUCCESS)
            return fprintf(stderr, "occupancy: %d %zu %zu %d are no kernel's\n", registers, shared, dynamic, threads),
                   1;
        printf("%d %s\n", r.activeBlocksPerMultiprocessor, limit_of(r));
    }
}
