/*
 * dsv3_config.h: the vocabulary of a DeepSeek-V3 config.json as one struct, and the presets: the
 * model sizes that the cases use.
 *
 * Keys are those of Hugging Face (deepseek-ai/DeepSeek-V3, config.json). Sizes are elements unless
 * said otherwise.
 *
 *   dsv3_config         one model
 *   dsv3_config_v3      DeepSeek-V3 671B, as released
 *   dsv3_config_tiny    small enough to check by hand
 *   dsv3_config_odd     no two values that could hide one another
 *   dsv3_config_edge    the smallest legal values
 */
#ifndef DSV3_CONFIG_H
#define DSV3_CONFIG_H

#include <stdint.h>

typedef struct {
    int64_t vocab_size;
    int64_t hidden_size;
    int64_t intermediate_size;     /* width of a dense feed-forward */
    int64_t moe_intermediate_size; /* width of one expert */
    int64_t num_hidden_layers;
    int64_t first_k_dense_replace; /* leading layers without experts */
    int64_t num_attention_heads;
    int64_t q_lora_rank; /* query latent; 0: none */
    int64_t kv_lora_rank;
    int64_t qk_nope_head_dim;
    int64_t qk_rope_head_dim;
    int64_t v_head_dim;
    int64_t n_routed_experts;
    int64_t n_shared_experts;
    int64_t num_experts_per_tok;
    int64_t n_group;
    int64_t topk_group; /* groups kept per token */
    double routed_scaling_factor;
    double rms_norm_eps; /* added to the mean square */
    double rope_theta;
    double factor; /* YaRN context extension */
    int64_t original_max_position_embeddings;
    int64_t max_position_embeddings;
    double beta_fast, beta_slow; /* rotations */
    double mscale, mscale_all_dim;
    int64_t num_nextn_predict_layers;
    int32_t norm_topk_prob; /* the weights of a token's experts are divided by their sum */
    /* 1: rotated pairs are elements 2j and 2j + 1; 0: j and j + qk_rope_head_dim / 2 */
    int32_t rope_interleave;
    int32_t tie_word_embeddings; /* the head is the embedding */
    /* rows and columns of an FP8 weight that share a scale; 0: weights are not FP8 */
    int64_t weight_block_size[2];
    int32_t scale_ue8m0;  /* scales are powers of two (scale_fmt) */
    int32_t scoring_func; /* dsv3_scoring_func of dsv3.h; presets: sigmoid */
    int32_t topk_method;  /* dsv3_topk_method of dsv3.h; presets: noaux_tc */
} dsv3_config;

/* In the order of the struct, a line each: vocabulary and widths; layers and heads; latent and head
 * sizes; experts; eps; RoPE and YaRN; MTP modules; flags and FP8 blocks. */
/* clang-format off */

/* DeepSeek-V3 671B, as released. */
static const dsv3_config dsv3_config_v3 = {
    129280, 7168, 18432, 2048,
    61, 3, 128,
    1536, 512, 128, 64, 128,
    256, 1, 8, 8, 4, 2.5,
    1e-6,
    10000, 40, 4096, 163840, 32, 1, 1, 1,
    1,
    1, 1, 0, {128, 128}, 0, 0, 0,
};

/* Small enough to check by hand. */
static const dsv3_config dsv3_config_tiny = {
    8, 4, 4, 2,
    2, 1, 2,
    3, 3, 2, 2, 2,
    8, 1, 2, 4, 2, 2.5,
    1e-6,
    10000, 40, 4096, 163840, 32, 1, 1, 1,
    1,
    1, 1, 0, {0, 0}, 0, 0, 0,
};

/* No two values that could hide one another: v_head_dim differs from qk_nope_head_dim, mscale from
 * mscale_all_dim, num_experts_per_tok / topk_group is not 2, eps is large. The released values hide
 * many mistakes. */
static const dsv3_config dsv3_config_odd = {
    97, 64, 96, 20,
    4, 1, 4,
    24, 16, 8, 8, 12,
    16, 2, 6, 4, 2, 1.7,
    1e-2,
    100, 8, 4096, 32768, 32, 1, 0.707, 1,
    2,
    1, 1, 0, {0, 0}, 0, 0, 0,
};

/* The smallest legal values. */
static const dsv3_config dsv3_config_edge = {
    1, 1, 1, 1,
    1, 0, 1,
    1, 1, 1, 2, 1,
    1, 1, 1, 1, 1, 1,
    1e-6,
    10000, 1, 1, 1, 32, 1, 1, 1,
    1,
    1, 1, 0, {0, 0}, 0, 0, 0,
};

/* clang-format on */

#endif
