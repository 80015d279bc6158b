/*
 * A decoder layer, forward and backward. Of each pass the values are kept that the gradients want; n tokens lie in `batch`
 * sequences of equal length.
 */
#ifndef BLOCK_H
#define BLOCK_H

#include "model.h"

typedef struct {
    dsv3_tensor q_a, q_a_norm, q_b, q;  /* q: q_b with its last columns rotated */
    dsv3_tensor kv_a, kv_a_norm, kv, k; /* k of every head */
    dsv3_tensor k_pe;                   /* rotated, once for all heads */
    dsv3_tensor o, lse;
} attention_values;

typedef struct {
    dsv3_tensor gate, up, act;
} mlp_values;

typedef struct {
    dsv3_tensor stream, norm; /* the sum that comes in, and its norm */
    attention_values attention;
    dsv3_tensor attn_output;                                  /* of o_proj */
    dsv3_tensor between, norm2;                               /* the sum behind attention, and its norm */
    mlp_values mlp;                                           /* dense or shared */
    dsv3_tensor router_logits, topk_idx, topk_weight, routed; /* with experts only */
    dsv3_tensor out;                                          /* of the feed-forward */
    double balance_loss;
} layer_values;

/* What a pass has beside the model, and the gradients of one layer at a time. */
typedef struct {
    caller *call;
    int64_t batch, n;
    dsv3_tensor positions, cu_seqlens, whole; /* whole: all tokens as one sequence */
    double softmax_scale;
    double aux_loss_alpha;                          /* of the balance loss over the batch; 0: none */
    dsv3_tensor grad_norm, grad_part, grad_between; /* (n, hidden_size) */
    attention_values attention;                     /* gradients by the values of that name */
    mlp_values mlp;
    dsv3_tensor router_logits, topk_weight, scores, grad_scores;
} desk;

/* False: no memory. The memory is the room's. */
bool desk_open(desk *d, const dsv3_config *c, int64_t batch, int64_t length, bool backward, room *r);
bool layer_values_open(layer_values *v, const dsv3_config *c, dsv3_dtype format, bool has_experts, int64_t n, room *r);

/* y = norm(x); with a residual of x + residual, which goes to `sum`. */
void norm_forward(const desk *d, const parameter *w, double eps, dsv3_tensor x, const dsv3_tensor *residual,
                  dsv3_tensor sum, dsv3_tensor y);
void norm_backward(const desk *d, const parameter *w, double eps, dsv3_tensor x, dsv3_tensor grad_y,
                   const dsv3_tensor *grad_sum, dsv3_tensor grad_x);
void linear_forward(const desk *d, const parameter *w, dsv3_tensor x, dsv3_tensor y);
void linear_backward(const desk *d, const parameter *w, dsv3_tensor x, dsv3_tensor grad_y, dsv3_tensor grad_x);

/* What comes in is stream, or stream + *pending; what goes out is v->between + v->out. */
void layer_forward(const desk *d, const dsv3_config *c, layer *l, dsv3_tensor stream, const dsv3_tensor *pending,
                   layer_values *v);

/* grad: by what goes out; then by what came in. */
void layer_backward(const desk *d, const dsv3_config *c, const layer *l, const layer_values *v, dsv3_tensor grad);

#endif
