/* One step of the balancing on the device: one block, which adds up the loads as whole numbers. */
#include "device.cuh"

namespace
{

enum { THREADS = 1024 };

/* The sum over the block, in every thread. All threads must call. */
__device__ int64_t block_total(int64_t v)
{
    __shared__ int64_t part[THREADS / 32];
    for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(~0u, v, offset);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
    __syncthreads();
    int64_t sum = 0;
    for (int w = 0; w < THREADS / 32; w++) sum += part[w];
    return sum;
}

__global__ void bias_update_kernel(const int32_t *load, const float *bias, float *bias_out, int64_t experts,
                                   float speed)
{
    int64_t total = 0;
    for (int64_t e = threadIdx.x; e < experts; e += THREADS) total += load[e];
    total = block_total(total);
    for (int64_t e = threadIdx.x; e < experts; e += THREADS) {
        int64_t const lacks = total - experts * load[e];
        bias_out[e] = bias[e] + (float)((lacks > 0) - (lacks < 0)) * speed;
    }
}

} // namespace

dsv3_status cuda_bias_update(dsv3_ctx *ctx, const dsv3_bias_update_prob *p, const dsv3_bias_update_io *io)
{
    bias_update_kernel<<<1, THREADS, 0, ctx->stream>>>((const int32_t *)io->load.data, (const float *)io->bias.data,
                                                       (float *)io->bias_out.data, p->n_routed_experts,
                                                       (float)p->bias_update_speed);
    return launched();
}

const char *cuda_bias_update_numerics(const void *, const void *)
{
    return "flush none";
}
