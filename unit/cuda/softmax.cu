// Attention as textbooks have it: all scores of a query in shared memory, their softmax, a sum of values.
#include "host.cuh"

enum { THREADS = 128, MOST_KEYS = 8192 };

struct view {
    const float *data;
    int64_t row, head;
    __device__ const float *at(int64_t r, int64_t h) const
    {
        return data + r * row + h * head;
    }
};

struct problem {
    view q, k, v, o;
    const int *q_begins, *k_begins;
    float *lse;
    int64_t lse_row;
    int batch, width, v_width;
    float scale;
};

template <class F> __device__ float of_block(float mine, F join)
{
    __shared__ float part[THREADS];
    part[threadIdx.x] = mine;
    for (int half = THREADS / 2; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) part[threadIdx.x] = join(part[threadIdx.x], part[threadIdx.x + half]);
    }
    __syncthreads();
    float const all = part[0];
    __syncthreads();
    return all;
}

__global__ void attend(const problem p)
{
    __shared__ float score[MOST_KEYS];
    int const t = blockIdx.x, h = blockIdx.y;
    int b = 0;
    while (t >= p.q_begins[b + 1]) b++;
    int const first = p.k_begins[b], keys = p.k_begins[b + 1] - first - (p.q_begins[b + 1] - 1 - t);
    float most = -INFINITY, sum = 0;
    for (int j = threadIdx.x; j < keys; j += THREADS) {
        float s = 0;
        for (int i = 0; i < p.width; i++) s += p.q.at(t, h)[i] * p.k.at(first + j, h)[i];
        most = fmaxf(most, score[j] = s * p.scale);
    }
    most = of_block(most, [](float a, float b) { return fmaxf(a, b); });
    for (int j = threadIdx.x; j < keys; j += THREADS) sum += score[j] = expf(score[j] - most);
    sum = of_block(sum, [](float a, float b) { return a + b; });
    for (int i = threadIdx.x; i < p.v_width; i += THREADS) {
        float o = 0;
        for (int j = 0; j < keys; j++) o += score[j] * p.v.at(first + j, h)[i];
        const_cast<float *>(p.o.at(t, h))[i] = keys > 0 ? o / sum : 0;
    }
    if (p.lse && !threadIdx.x) p.lse[t * p.lse_row + h] = keys > 0 ? most + logf(sum) : -INFINITY;
}

static view view_of(const dsv3_tensor *x)
{
    return {(const float *)x->data, x->stride[0], x->stride[1]};
}

static dsv3_status mla_prefill(dsv3_ctx *, const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io)
{
    if (io->q.dtype != DSV3_F32 || p->n_keys > MOST_KEYS) return DSV3_UNSUPPORTED;
    problem const all = {view_of(&io->q),
                         view_of(&io->k),
                         view_of(&io->v),
                         view_of(&io->o),
                         (const int *)io->cu_seqlens_q.data,
                         (const int *)io->cu_seqlens_k.data,
                         (float *)io->lse.data,
                         io->lse.stride[0],
                         (int)p->batch,
                         (int)(p->qk_nope_head_dim + p->qk_rope_head_dim),
                         (int)p->v_head_dim,
                         (float)p->softmax_scale};
    attend<<<dim3((unsigned)p->n_tokens, (unsigned)p->num_attention_heads), THREADS>>>(all);
    return cudaGetLastError() == cudaSuccess ? DSV3_OK : DSV3_FAILED;
}

extern "C" const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    static dsv3_backend table;
    table.name = "softmax", table.mla_prefill = mla_prefill;
    return host_table(abi, &table);
}
