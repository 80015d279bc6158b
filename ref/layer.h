/* A decoder layer over rows of balls: what the block of mtp is, and what a model is made of. */
#ifndef LAYER_H
#define LAYER_H

#include "reading.h"

/* Where the layer's own roundings are; those inside are the attention block's and the MoE layer's. */
typedef struct {
    int x_norm, input_layernorm, h1, post_attention_layernorm, h2;
} layer_points;

/* A stage of the layer: the port's tensor, and where it is handed out. */
typedef struct {
    const dsv3_tensor *from_port; /* NULL: there is none */
    ref_value *out;               /* NULL: not wanted */
} layer_stage;

typedef struct {
    const ref_reading *rd;
    const dsv3_weights *weights; /* named as in a checkpoint, below the layer: self_attn.q_a_proj.weight, ... */
    const layer_points *point;
    dsv3_dtype format; /* of every point, unless declared otherwise */
    double rms_norm_eps;
    layer_stage input_layernorm, post_attention_layernorm;

    const dsv3_mla_prob *attention;
    /* lengths, cache, and outputs, of which y has the format; its weights are not read */
    const dsv3_mla_io *attention_io;
    ref_value *const *attention_out; /* of each of its outputs */
    const ball *const *past;         /* as in attention_block */

    const dsv3_moe_prob *moe;  /* NULL: a dense network */
    const dsv3_moe_io *moe_io; /* outputs, of which y has the format; its weights are not read */
    ref_value *const *moe_out; /* of each of its outputs */
    int64_t intermediate_size; /* of the dense network */
} layer;

/* y (n_tokens, hidden_size), the layer's output, and kv (n_tokens, kv_lora_rank + qk_rope_head_dim), what is cached, of x (n_tokens,
 * hidden_size); y may be x. */
void decoder_layer(const layer *l, const ball *x, ball *kv, ball *y);

#endif
