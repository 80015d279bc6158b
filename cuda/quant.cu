/* Activations to FP8 on the device: a warp for each tile of 1 x 128. */
#include "device.cuh"
#include "e4m3.cuh"

namespace
{

enum { TILE = 128, WARP = 32, EACH = TILE / WARP, WARPS = 4 };

/* Pointers to a launch's tensors. Strides in elements. */
template <typename T> struct tiles {
    const T *x;
    float *scale;
    uint8_t *q;
    int64_t width, x_stride, scale_stride, q_stride;
    float floor;
    bool raised; /* scales are powers of 2 */
};

/* The next power of 2 of s >= 0; of 0 it is 1. */
__device__ inline float raise_to_power(float s)
{
    unsigned const bits = __float_as_uint(s), next = 1u << 23;
    if (bits == 0) return 1;
    if (bits > next) return __uint_as_float((bits + next - 1) / next * next);
    return __uint_as_float(1u << (32 - __clz((int)bits - 1)));
}

__device__ inline float scale_of(float most, bool raised)
{
    if (most == 0) return 1;
    float const s = __fdiv_rn(most, 448);
    return raised ? raise_to_power(s) : s;
}

template <typename T> __global__ void quant_kernel(tiles<T> z)
{
    int const lane = threadIdx.x % WARP;
    int64_t const t = blockIdx.x, tile = (int64_t)blockIdx.y * WARPS + threadIdx.x / WARP;
    if (tile * TILE >= z.width) return;
    float x[EACH], most = z.floor;
    for (int k = 0; k < EACH; k++) {
        int64_t const i = tile * TILE + k * WARP + lane;
        x[k] = i < z.width ? load(z.x, t * z.x_stride + i) : 0;
        most = fabsf(x[k]) > most ? fabsf(x[k]) : most;
    }
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        float const other = __shfl_xor_sync(0xffffffffu, most, offset);
        most = other > most ? other : most;
    }
    float const scale = scale_of(most, z.raised);
    if (lane == 0) z.scale[t * z.scale_stride + tile] = scale;
    for (int k = 0; k < EACH; k++) {
        int64_t const i = tile * TILE + k * WARP + lane;
        if (i < z.width) z.q[t * z.q_stride + i] = to_e4m3(__fdiv_rn(x[k], scale));
    }
}

template <typename T> dsv3_status launch(dsv3_ctx *ctx, const dsv3_quant_prob *p, const dsv3_quant_io *io)
{
    tiles<T> const z = {(const T *)io->x.data, (float *)io->scale.data, (uint8_t *)io->q.data,
                        p->in_features,        io->x.stride[0],         io->scale.stride[0],
                        io->q.stride[0],       (float)p->amax_floor,    p->scale_fmt != 0};
    dim3 const grid((unsigned)p->n_tokens, (unsigned)((z.width + TILE * WARPS - 1) / (TILE * WARPS)));
    quant_kernel<<<grid, WARPS * WARP, 0, ctx->stream>>>(z);
    return launched();
}

} // namespace

dsv3_status cuda_quant(dsv3_ctx *ctx, const dsv3_quant_prob *p, const dsv3_quant_io *io)
{
    if (io->x.dtype == DSV3_BF16) return launch<__nv_bfloat16>(ctx, p, io);
    return io->x.dtype == DSV3_F32 ? launch<float>(ctx, p, io) : DSV3_UNSUPPORTED;
}

const char *cuda_quant_numerics(const void *, const void *)
{
    return "div ieee; quotient div; flush none";
}
