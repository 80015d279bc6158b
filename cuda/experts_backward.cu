/* The gradients of the routed experts, on the device. Slots lie expert by expert, and go through their expert and back. The weight
 * multiplies the activation and its gradient. */
#include "experts.cuh"
#include "functions.cuh"
#include "row_sums.cuh"
#include "warp.cuh"

namespace
{

enum { WARPS = 4, THREADS = 256 };

/* Of slots: rows of width. */
template <typename T> struct through_silu {
    const float *gate, *up, *grad_act; /* gate_proj x, up_proj x, down_proj^T grad_y */
    T *act, *grad_gate, *grad_up;      /* act: times the weight */
    const int64_t *pair;               /* token k + place */
    const float *weight;               /* (n_tokens, k) */
    float *by_weight;                  /* likewise: the gradient */
    int64_t slots, width, k, weight_stride, by_weight_stride;
};

/* A warp a slot; the gradient by its weight is added in binary64, and rounded once. */
template <typename T> __global__ void silu_kernel(through_silu<T> d)
{
    int const lane = threadIdx.x % LANES;
    int64_t const slot = (int64_t)blockIdx.x * WARPS + threadIdx.x / LANES;
    if (slot >= d.slots) return;
    int64_t const token = d.pair[slot] / d.k, place = d.pair[slot] % d.k;
    float const weight = d.weight[token * d.weight_stride + place];
    double by_weight = 0;
    for (int64_t i = slot * d.width + lane; i < (slot + 1) * d.width; i += LANES) {
        float const g = d.gate[i], u = d.up[i], grad = d.grad_act[i], mine = weight * grad;
        float const s = sigmoid(g), silu = g * s, act = silu * u;
        by_weight = fma((double)grad, (double)act, by_weight);
        store(d.act, i, weight * act);
        store(d.grad_gate, i, mine * u * (s * fmaf(g, 1 - s, 1.0f)));
        store(d.grad_up, i, mine * silu);
    }
    for (int offset = LANES / 2; offset > 0; offset /= 2) by_weight += __shfl_xor_sync(~0u, by_weight, offset);
    if (lane == 0) d.by_weight[token * d.by_weight_stride + place] = (float)by_weight;
}

/* A block a token: its slots are added in binary64, and rounded once. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    token_kernel(T *y, int64_t stride, const float *by_slot, const int64_t *slot, int64_t k, int64_t hidden_size)
{
    int64_t const t = blockIdx.x;
    __builtin_assume(k > 0);
    for (int64_t c = threadIdx.x; c < hidden_size; c += THREADS) {
        double sum = 0;
        for (int64_t i = 0; i < k; i++) sum += (double)by_slot[slot[t * k + i] * hidden_size + c];
        store(y, t * stride + c, (float)sum);
    }
}

struct gradients {
    const dsv3_experts_backward_prob *p;
    const dsv3_experts_backward_io *io;
    expert_matrices f;
    slots s;
    float *gate, *up, *grad_act, *grad_x;
    void *act, *grad_gate, *grad_up;
};

int64_t slots_of(const dsv3_experts_backward_prob *p)
{
    return p->n_tokens * p->num_experts_per_tok;
}

bool take_rows(dsv3_ctx *ctx, gradients *d)
{
    size_t const width = (size_t)(slots_of(d->p) * d->p->moe_intermediate_size);
    size_t const size = d->io->hidden_states.dtype == DSV3_BF16 ? 2 : 4;
    float **const floats[] = {&d->gate, &d->up, &d->grad_act};
    void **const factors[] = {&d->act, &d->grad_gate, &d->grad_up};
    d->grad_x = (float *)take(ctx, (size_t)(slots_of(d->p) * d->p->hidden_size) * sizeof(float));
    bool good = d->grad_x;
    for (int i = 0; i < 3; i++) {
        *floats[i] = (float *)take(ctx, width * sizeof(float));
        *factors[i] = take(ctx, width * size);
        good = good && *floats[i] && *factors[i];
    }
    return good;
}

/* Rows of tokens, for their slots. */
row_list of_slots(const gradients *d, const dsv3_tensor *x)
{
    row_list rows = rows_of(x);
    rows.index = d->s.token;
    return rows;
}

template <typename T> void pass_silu(dsv3_ctx *ctx, const gradients *d)
{
    through_silu<T> const a = {d->gate,
                               d->up,
                               d->grad_act,
                               (T *)d->act,
                               (T *)d->grad_gate,
                               (T *)d->grad_up,
                               d->s.pair,
                               (const float *)d->io->topk_weight.data,
                               (float *)d->io->grad_topk_weight.data,
                               slots_of(d->p),
                               d->p->moe_intermediate_size,
                               d->p->num_experts_per_tok,
                               d->io->topk_weight.stride[0],
                               d->io->grad_topk_weight.stride[0]};
    silu_kernel<<<(unsigned)((a.slots + WARPS - 1) / WARPS), WARPS * LANES, 0, ctx->stream>>>(a);
}

/* Slots times experts' matrices, to rows of f32. */
dsv3_status through_matrices(dsv3_ctx *ctx, const gradients *d, row_list left, const matrix *m, float *y, bool add)
{
    expert_rows const rows = {d->p->n_routed_experts, d->p->n_tokens, d->s.first};
    int64_t const columns = m->weight->shape[1];
    row_sum s = {left, {}, floats_of(y, columns), d->p->n_tokens, m->weight->shape[0], columns};
    s.experts = &rows, s.matrices = m, s.add = add;
    return sum_rows(ctx, &s);
}

dsv3_status by_matrix(dsv3_ctx *ctx, const gradients *d, row_list left, row_list right, const dsv3_tensor *to)
{
    expert_rows const rows = {d->p->n_routed_experts, d->p->n_tokens, d->s.first};
    row_sum s = {left, right, {to->data, to->dtype, to->stride[1]}, to->shape[1], 0, to->shape[2]};
    s.turned = true, s.experts = &rows, s.y_step = to->stride[0];
    return sum_rows(ctx, &s);
}

dsv3_status go_back(dsv3_ctx *ctx, const gradients *d)
{
    dsv3_dtype const format = d->io->hidden_states.dtype;
    int64_t const width = d->p->moe_intermediate_size;
    row_list const x = of_slots(d, &d->io->hidden_states), grad_y = of_slots(d, &d->io->grad_y);
    row_list const act = {d->act, format, width}, grad_gate = {d->grad_gate, format, width};
    row_list const grad_up = {d->grad_up, format, width};
    dsv3_status status = through_matrices(ctx, d, grad_gate, d->f.gate, d->grad_x, false);
    if (status == DSV3_OK) status = through_matrices(ctx, d, grad_up, d->f.up, d->grad_x, true);
    if (status == DSV3_OK) status = by_matrix(ctx, d, grad_gate, x, &d->io->grad_gate_proj);
    if (status == DSV3_OK) status = by_matrix(ctx, d, grad_up, x, &d->io->grad_up_proj);
    return status == DSV3_OK ? by_matrix(ctx, d, grad_y, act, &d->io->grad_down_proj) : status;
}

template <typename T> dsv3_status run(dsv3_ctx *ctx, const gradients *d)
{
    expert_rows const rows = {d->p->n_routed_experts, d->p->n_tokens, d->s.first};
    row_list const x = of_slots(d, &d->io->hidden_states), grad_y = of_slots(d, &d->io->grad_y);
    int64_t const width = d->p->moe_intermediate_size;
    const dsv3_tensor *const to = &d->io->grad_hidden_states;
    dsv3_status status = multiply_experts(ctx, d->f.gate, &rows, x, floats_of(d->gate, width));
    if (status == DSV3_OK) status = multiply_experts(ctx, d->f.up, &rows, x, floats_of(d->up, width));
    if (status == DSV3_OK) status = through_matrices(ctx, d, grad_y, d->f.down, d->grad_act, false);
    if (status == DSV3_OK) pass_silu<T>(ctx, d), status = go_back(ctx, d);
    if (status != DSV3_OK) return status;
    token_kernel<<<(unsigned)d->p->n_tokens, THREADS, 0, ctx->stream>>>(
        (T *)to->data, to->stride[0], d->grad_x, d->s.slot, d->p->num_experts_per_tok, d->p->hidden_size);
    return launched();
}

bool alike(const expert_matrices *f, int64_t experts, dsv3_dtype format)
{
    for (int64_t e = 0; e < experts; e++)
        if (f->gate[e].weight->dtype != format || f->up[e].weight->dtype != format ||
            f->down[e].weight->dtype != format)
            return false;
    return true;
}

bool supported(const gradients *d)
{
    dsv3_dtype const format = d->io->hidden_states.dtype;
    return is_float(&d->io->hidden_states) && d->io->grad_y.dtype == format &&
           d->io->grad_hidden_states.dtype == format && is_float(&d->io->grad_gate_proj) &&
           is_float(&d->io->grad_up_proj) && is_float(&d->io->grad_down_proj) &&
           alike(&d->f, d->p->n_routed_experts, format);
}

} // namespace

dsv3_status cuda_experts_backward(dsv3_ctx *ctx, const dsv3_experts_backward_prob *p,
                                  const dsv3_experts_backward_io *io)
{
    gradients d = {p, io};
    if (!find_experts(&io->weights, p->n_routed_experts, &d.f) || !supported(&d)) return DSV3_UNSUPPORTED;
    memory_mark const m = mark(ctx);
    dsv3_status status = DSV3_NO_MEMORY;
    if (list_slots(ctx, &io->topk_idx, p->n_tokens, p->num_experts_per_tok, p->n_routed_experts, &d.s) &&
        take_rows(ctx, &d))
        status = io->hidden_states.dtype == DSV3_BF16 ? run<__nv_bfloat16>(ctx, &d) : run<float>(ctx, &d);
    give_back(ctx, m);
    return status;
}

#define STEPS                                                                                                          \
    "sigmoid 4; flush none; gate_proj f32 must; up_proj f32 must; gate_sigmoid f32 must; silu f32 must; act f32 "      \
    "must; expert_out f32 may; grad_expert_out f32 may; grad_weighted_act f32 must; grad_act f32 must; grad_silu f32 " \
    "must; grad_x f32 must; routed f32 may; "

const char *cuda_experts_backward_numerics(const void *, const void *io)
{
    if (((const dsv3_experts_backward_io *)io)->hidden_states.dtype == DSV3_BF16)
        return of_unit("acc %s splits=1 promote=128 bits2=24; " STEPS
                       "weighted_act bf16 must; grad_gate bf16 must; grad_up bf16 must");
    return "acc 24 rn fused splits=1; " STEPS "weighted_act f32 must; grad_gate f32 must; grad_up f32 must";
}
