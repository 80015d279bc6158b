/* The feed-forward of a layer, dense or with experts, forward and backward. */
#ifndef FEED_FORWARD_H
#define FEED_FORWARD_H

#include "block.h"

/* The problem of a layer's gate. */
dsv3_gate_prob gate_of(const dsv3_config *c, int64_t n_tokens);

/* y = down_proj(silu(gate_proj x) * up_proj x) */
void mlp_forward(const desk *d, const mlp_weights *w, dsv3_tensor x, const mlp_values *v, dsv3_tensor y);
void mlp_backward(const desk *d, const mlp_weights *w, dsv3_tensor x, const mlp_values *v, dsv3_tensor grad_y,
                  dsv3_tensor grad_x);

/* v->out of v->norm2; the layer's load is counted. With aux_loss_alpha the balance loss of the batch is made, and its gradient
 * added. */
void moe_forward(const desk *d, const dsv3_config *c, layer *l, layer_values *v);
void moe_backward(const desk *d, const dsv3_config *c, const layer *l, const layer_values *v, dsv3_tensor grad_y,
                  dsv3_tensor grad_x);

#endif
