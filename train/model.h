/* A model that is trained: its parameters by the names of a Hugging Face checkpoint, their gradients, AdamW's moments. */
#ifndef MODEL_H
#define MODEL_H

#include "caller.h"
#include "dsv3_config.h"

/* One tensor, or those of all routed experts, stacked. */
typedef struct {
    char name[128];  /* as in a checkpoint, without .weight; for experts a '*' stands for the number */
    int32_t ndim;    /* of one tensor: 1 or 2 */
    int64_t experts; /* stacked tensors; 0: it is one */
    int64_t shape[2], count;
    double deviation; /* of the start's normal distribution; 0: all entries are 1 */
    float *value, *grad;
    int weights; /* as ops take it: one, or one and weight_scale_inv; of a stack the first expert's */
    dsv3_weight weight[2];
} parameter;

typedef struct {
    parameter *q_a_proj, *q_a_layernorm, *q_b_proj, *kv_a_proj_with_mqa, *kv_a_layernorm, *kv_b_proj, *o_proj;
} attention_weights;

typedef struct {
    parameter *gate_proj, *up_proj, *down_proj;
} mlp_weights;

typedef struct {
    parameter *input_layernorm, *post_attention_layernorm;
    attention_weights self_attn;
    mlp_weights mlp;     /* of a dense layer, or of the shared experts */
    parameter *gate;     /* NULL: the layer is dense */
    mlp_weights experts; /* stacked */
    float *bias;         /* (n_routed_experts) e_score_correction_bias: no gradient */
    int32_t *load;       /* (n_routed_experts) assignments of the last pass */
    char bias_name[128];
    int64_t expert_weights;     /* 3 n_routed_experts, with scales 6 */
    dsv3_weight *expert_weight; /* the experts as the op takes them */
} layer;

/* A module of multi-token prediction. */
typedef struct {
    parameter *enorm, *hnorm, *eh_proj, *norm;
    layer block;
} mtp_module;

typedef struct {
    dsv3_config config;
    int parameters;
    parameter *parameter;
    int64_t count; /* of all numbers, with the gaps between tensors */
    float *value, *grad, *first, *second;
    dsv3_dtype format; /* of what goes from op to op; F32 unless model_store was called */
    parameter *embed_tokens, *norm, *lm_head;
    layer *layers;
    mtp_module *modules;
    room memory;
} model;

/* What training can do of a config: one sentence otherwise. */
bool model_check(const dsv3_config *config, complaint *why);

/* False: no memory. Close either way. Values are those of the start with this seed. */
bool model_open(model *m, const dsv3_config *config, uint64_t seed, complaint *why);
void model_close(model *m);

/* stored.c: parameters as engines hold them, and hidden states in BF16, from now on; it can't be trained any more. F8_E4M3: the matrices
 * that DeepSeek-V3's checkpoint has in FP8, with a scale for each 128 x 128 block; all else, and all with BF16, is rounded to
 * BF16; e_score_correction_bias stays. False: no memory. */
bool model_store(model *m, dsv3_dtype weights, complaint *why);

/* Makes the lists expert_weight anew, of what the parameters' weights are. False: no memory. */
bool model_list_experts(model *m);

/* Layers with experts, those of the modules last. */
int model_moe_layers(const model *m);
layer *model_moe_layer(const model *m, int i);

#endif
