/* See block.h. Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1; transformers, modeling_deepseek_v3.py, DeepseekV3DecoderLayer. */
#include "block.h"

#include "attention.h"
#include "feed_forward.h"

#include <math.h>

/* ---- memory ---- */

static mlp_values mlp_values_open(room *r, dsv3_dtype format, int64_t n, int64_t width)
{
    return (mlp_values){room_values(r, format, n, width), room_values(r, format, n, width),
                        room_values(r, format, n, width)};
}

static int64_t mlp_width(const dsv3_config *c, bool has_experts)
{
    return has_experts ? c->n_shared_experts * c->moe_intermediate_size : c->intermediate_size;
}

static dsv3_tensor indices_at(room *r, int64_t rows, int64_t width)
{
    int32_t *const data = room_take(r, rows * width, sizeof *data);
    return (dsv3_tensor){data, DSV3_I32, 2, {rows, width}, {width, 1}};
}

bool layer_values_open(layer_values *v, const dsv3_config *c, dsv3_dtype format, bool has_experts, int64_t n, room *r)
{
    dsv3_tensor *const hidden[] = {&v->stream, &v->norm, &v->attn_output, &v->between, &v->norm2, &v->out, &v->routed};
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) *hidden[i] = room_values(r, format, n, c->hidden_size);
    v->attention = attention_values_open(r, c, format, n);
    v->mlp = mlp_values_open(r, format, n, mlp_width(c, has_experts));
    v->router_logits = room_rows(r, n, c->n_routed_experts);
    v->topk_idx = indices_at(r, n, c->num_experts_per_tok);
    v->topk_weight = room_rows(r, n, c->num_experts_per_tok);
    return !r->short_of;
}

/* (0.1 mscale_all_dim ln factor + 1)^2 / sqrt(qk_nope_head_dim + qk_rope_head_dim) */
static double softmax_scale_of(const dsv3_config *c)
{
    double const m = c->factor > 1 ? 0.1 * c->mscale_all_dim * log(c->factor) + 1 : 1;
    return m * m / sqrt((double)(c->qk_nope_head_dim + c->qk_rope_head_dim));
}

static bool take_places(desk *d, int64_t length, room *r)
{
    int32_t *const position = room_take(r, d->n, sizeof *position);
    int32_t *const first = room_take(r, d->batch + 1, sizeof *first), *const ends = room_take(r, 2, sizeof *ends);
    if (r->short_of) return false;
    for (int64_t t = 0; t < d->n; t++) position[t] = (int32_t)(t % length);
    for (int64_t b = 0; b <= d->batch; b++) first[b] = (int32_t)(b * length);
    ends[1] = (int32_t)d->n;
    d->positions = list_at(position, d->n), d->cu_seqlens = list_at(first, d->batch + 1), d->whole = list_at(ends, 2);
    return true;
}

bool desk_open(desk *d, const dsv3_config *c, int64_t batch, int64_t length, bool backward, room *r)
{
    d->batch = batch, d->n = batch * length;
    d->softmax_scale = softmax_scale_of(c);
    if (!take_places(d, length, r) || !backward) return !r->short_of;
    int64_t const dense = mlp_width(c, false), shared = mlp_width(c, true);
    dsv3_tensor *const hidden[] = {&d->grad_norm, &d->grad_part, &d->grad_between};
    for (size_t i = 0; i < 3; i++) *hidden[i] = room_rows(r, d->n, c->hidden_size);
    d->attention = attention_values_open(r, c, DSV3_F32, d->n);
    d->mlp = mlp_values_open(r, DSV3_F32, d->n, dense > shared ? dense : shared);
    d->router_logits = room_rows(r, d->n, c->n_routed_experts), d->scores = room_rows(r, d->n, c->n_routed_experts);
    d->grad_scores = room_rows(r, d->n, c->n_routed_experts);
    d->topk_weight = room_rows(r, d->n, c->num_experts_per_tok);
    return !r->short_of;
}

/* ---- norms and projections ---- */

void norm_forward(const desk *d, const parameter *w, double eps, dsv3_tensor x, const dsv3_tensor *residual,
                  dsv3_tensor sum, dsv3_tensor y)
{
    dsv3_rmsnorm_prob const p = {x.shape[0], w->count, eps, residual != NULL};
    dsv3_rmsnorm_io io = {.x = x, .weights = {w->weights, w->weight}, .y = y};
    if (residual) io.residual = *residual, io.residual_out = sum;
    CALL(d->call, rmsnorm, &p, &io);
}

void norm_backward(const desk *d, const parameter *w, double eps, dsv3_tensor x, dsv3_tensor grad_y,
                   const dsv3_tensor *grad_sum, dsv3_tensor grad_x)
{
    dsv3_weight const weight = {"weight", {w->value, DSV3_F32, 1, {w->count}, {1}}};
    dsv3_rmsnorm_backward_prob const p = {x.shape[0], w->count, eps, grad_sum != NULL};
    dsv3_rmsnorm_backward_io io = {.x = x, .grad_y = grad_y, .weights = {1, &weight}, .grad_x = grad_x};
    io.grad_weight = (dsv3_tensor){w->grad, DSV3_F32, 1, {w->count}, {1}};
    if (grad_sum) io.grad_residual_out = *grad_sum;
    CALL(d->call, rmsnorm_backward, &p, &io);
}

void linear_forward(const desk *d, const parameter *w, dsv3_tensor x, dsv3_tensor y)
{
    dsv3_linear_prob const p = {x.shape[0], w->shape[1], w->shape[0]};
    dsv3_linear_io const io = {.x = x, .weights = {w->weights, w->weight}, .y = y};
    CALL(d->call, linear, &p, &io);
}

void linear_backward(const desk *d, const parameter *w, dsv3_tensor x, dsv3_tensor grad_y, dsv3_tensor grad_x)
{
    dsv3_weight const weight = {"weight", rows_at(w->value, w->shape[0], w->shape[1])};
    dsv3_linear_backward_prob const p = {x.shape[0], w->shape[1], w->shape[0]};
    dsv3_linear_backward_io const io = {.x = x,
                                        .grad_y = grad_y,
                                        .weights = {1, &weight},
                                        .grad_x = grad_x,
                                        .grad_weight = rows_at(w->grad, w->shape[0], w->shape[1])};
    CALL(d->call, linear_backward, &p, &io);
}

/* ---- the layer ---- */

void layer_forward(const desk *d, const dsv3_config *c, layer *l, dsv3_tensor stream, const dsv3_tensor *pending,
                   layer_values *v)
{
    if (pending) {
        norm_forward(d, l->input_layernorm, c->rms_norm_eps, *pending, &stream, v->stream, v->norm);
    } else {
        copy_values(v->stream, stream);
        norm_forward(d, l->input_layernorm, c->rms_norm_eps, v->stream, NULL, v->stream, v->norm);
    }
    attention_forward(d, c, &l->self_attn, v->norm, &v->attention, v->attn_output);
    norm_forward(d, l->post_attention_layernorm, c->rms_norm_eps, v->attn_output, &v->stream, v->between, v->norm2);
    if (l->gate)
        moe_forward(d, c, l, v);
    else
        mlp_forward(d, &l->mlp, v->norm2, &v->mlp, v->out);
}

void layer_backward(const desk *d, const dsv3_config *c, const layer *l, const layer_values *v, dsv3_tensor grad)
{
    if (l->gate)
        moe_backward(d, c, l, v, grad, d->grad_norm);
    else
        mlp_backward(d, &l->mlp, v->norm2, &v->mlp, grad, d->grad_norm);
    norm_backward(d, l->post_attention_layernorm, c->rms_norm_eps, v->between, d->grad_norm, &grad, d->grad_between);
    attention_backward(d, c, &l->self_attn, v->norm, &v->attention, d->grad_between, d->grad_norm);
    norm_backward(d, l->input_layernorm, c->rms_norm_eps, v->stream, d->grad_norm, &d->grad_between, grad);
}
