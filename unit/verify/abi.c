/* The binary contract of dsv3.h, pinned: where every member lies, how large every struct is, what every constant is. A
 * port that was compiled with an older header relies on it. To add a member at the end of a struct, add its line here
 * and change the struct's size; any other red line is a break of the contract. The lines of a new op are printed. */
#include "case/op.h"

#include "text.h"

_Static_assert(sizeof(void *) == 8, "the figures below are those of 8-byte pointers");
_Static_assert(sizeof(dsv3_status) == 4, "dsv3.h");
_Static_assert(sizeof(dsv3_dtype) == 4, "dsv3.h");
_Static_assert(sizeof(dsv3_layout) == 4, "dsv3.h");
_Static_assert(sizeof(dsv3_scoring_func) == 4, "dsv3.h");
_Static_assert(sizeof(dsv3_topk_method) == 4, "dsv3.h");

_Static_assert(DSV3_ABI == 1, "dsv3.h");
_Static_assert(DSV3_OK == 0, "dsv3.h");
_Static_assert(DSV3_UNSUPPORTED == 1, "dsv3.h");
_Static_assert(DSV3_INVALID == 2, "dsv3.h");
_Static_assert(DSV3_NO_MEMORY == 3, "dsv3.h");
_Static_assert(DSV3_FAILED == 4, "dsv3.h");
_Static_assert(DSV3_NONE == 0, "dsv3.h");
_Static_assert(DSV3_F32 == 1, "dsv3.h");
_Static_assert(DSV3_BF16 == 2, "dsv3.h");
_Static_assert(DSV3_F8_E4M3 == 3, "dsv3.h");
_Static_assert(DSV3_I32 == 4, "dsv3.h");
_Static_assert(DSV3_U8 == 5, "dsv3.h");
_Static_assert(DSV3_F64 == 6, "dsv3.h");
_Static_assert(DSV3_INTERLEAVED == 0, "dsv3.h");
_Static_assert(DSV3_HALF == 1, "dsv3.h");
_Static_assert(DSV3_SIGMOID == 0, "dsv3.h");
_Static_assert(DSV3_SOFTMAX == 1, "dsv3.h");
_Static_assert(DSV3_NOAUX_TC == 0, "dsv3.h");
_Static_assert(DSV3_GREEDY == 1, "dsv3.h");
_Static_assert(DSV3_GROUP_LIMITED_GREEDY == 2, "dsv3.h");
_Static_assert(DSV3_IGNORED == -100, "dsv3.h");
_Static_assert(DSV3_MAX_NDIM == 4, "dsv3.h");

_Static_assert(offsetof(dsv3_tensor, data) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_tensor, dtype) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_tensor, ndim) == 12, "dsv3.h");
_Static_assert(offsetof(dsv3_tensor, shape) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_tensor, stride) == 48, "dsv3.h");
_Static_assert(sizeof(dsv3_tensor) == 80, "dsv3.h");

_Static_assert(offsetof(dsv3_weight, name) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_weight, tensor) == 8, "dsv3.h");
_Static_assert(sizeof(dsv3_weight) == 88, "dsv3.h");

_Static_assert(offsetof(dsv3_weights, count) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_weights, item) == 8, "dsv3.h");
_Static_assert(sizeof(dsv3_weights) == 16, "dsv3.h");

_Static_assert(offsetof(dsv3_rmsnorm_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_prob, hidden_size) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_prob, rms_norm_eps) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_prob, residual) == 24, "dsv3.h");
_Static_assert(sizeof(dsv3_rmsnorm_prob) == 32, "dsv3.h");

_Static_assert(offsetof(dsv3_rmsnorm_io, x) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_io, residual) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_io, weights) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_io, y) == 176, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_io, residual_out) == 256, "dsv3.h");
_Static_assert(sizeof(dsv3_rmsnorm_io) == 336, "dsv3.h");

_Static_assert(offsetof(dsv3_linear_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_linear_prob, in_features) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_linear_prob, out_features) == 16, "dsv3.h");
_Static_assert(sizeof(dsv3_linear_prob) == 24, "dsv3.h");

_Static_assert(offsetof(dsv3_linear_io, x) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_linear_io, weights) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_linear_io, y) == 96, "dsv3.h");
_Static_assert(offsetof(dsv3_linear_io, x_scale) == 176, "dsv3.h");
_Static_assert(sizeof(dsv3_linear_io) == 256, "dsv3.h");

_Static_assert(offsetof(dsv3_rope_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_prob, num_heads) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_prob, qk_rope_head_dim) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_prob, rope_theta) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_prob, factor) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_prob, original_max_position_embeddings) == 40, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_prob, beta_fast) == 48, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_prob, beta_slow) == 56, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_prob, mscale) == 64, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_prob, mscale_all_dim) == 72, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_prob, in_layout) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_prob, out_layout) == 84, "dsv3.h");
_Static_assert(sizeof(dsv3_rope_prob) == 88, "dsv3.h");

_Static_assert(offsetof(dsv3_rope_io, x) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_io, positions) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_io, weights) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_io, y) == 176, "dsv3.h");
_Static_assert(sizeof(dsv3_rope_io) == 256, "dsv3.h");

_Static_assert(offsetof(dsv3_gate_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_prob, n_routed_experts) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_prob, n_group) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_prob, topk_group) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_prob, num_experts_per_tok) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_prob, routed_scaling_factor) == 40, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_prob, norm_topk_prob) == 48, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_prob, scoring_func) == 52, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_prob, topk_method) == 56, "dsv3.h");
_Static_assert(sizeof(dsv3_gate_prob) == 64, "dsv3.h");

_Static_assert(offsetof(dsv3_gate_io, logits) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_io, weights) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_io, topk_idx) == 96, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_io, topk_weight) == 176, "dsv3.h");
_Static_assert(sizeof(dsv3_gate_io) == 256, "dsv3.h");

_Static_assert(offsetof(dsv3_mla_decode_prob, batch) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_decode_prob, s_q) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_decode_prob, num_attention_heads) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_decode_prob, kv_lora_rank) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_decode_prob, qk_rope_head_dim) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_decode_prob, qk_nope_head_dim) == 40, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_decode_prob, page_size) == 48, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_decode_prob, kv_len) == 56, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_decode_prob, softmax_scale) == 64, "dsv3.h");
_Static_assert(sizeof(dsv3_mla_decode_prob) == 72, "dsv3.h");

_Static_assert(offsetof(dsv3_mla_decode_io, q) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_decode_io, kv_cache) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_decode_io, block_table) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_decode_io, cache_seqlens) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_decode_io, weights) == 320, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_decode_io, o) == 336, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_decode_io, lse) == 416, "dsv3.h");
_Static_assert(sizeof(dsv3_mla_decode_io) == 496, "dsv3.h");

_Static_assert(offsetof(dsv3_mla_prob, batch) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, n_tokens) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, kv_len) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, page_size) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, hidden_size) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, num_attention_heads) == 40, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, q_lora_rank) == 48, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, kv_lora_rank) == 56, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, qk_nope_head_dim) == 64, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, qk_rope_head_dim) == 72, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, v_head_dim) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, rms_norm_eps) == 88, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, rope_theta) == 96, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, factor) == 104, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, original_max_position_embeddings) == 112, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, beta_fast) == 120, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, beta_slow) == 128, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, mscale) == 136, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, mscale_all_dim) == 144, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, rope_layout) == 152, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prob, stages) == 156, "dsv3.h");
_Static_assert(sizeof(dsv3_mla_prob) == 160, "dsv3.h");

_Static_assert(offsetof(dsv3_mla_io, hidden_states) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_io, cu_seqlens) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_io, kv_cache) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_io, block_table) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_io, cache_seqlens) == 320, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_io, weights) == 400, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_io, q_a_layernorm) == 416, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_io, q) == 496, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_io, kv) == 576, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_io, attn_output) == 656, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_io, y) == 736, "dsv3.h");
_Static_assert(sizeof(dsv3_mla_io) == 816, "dsv3.h");

_Static_assert(offsetof(dsv3_mla_prefill_prob, batch) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_prob, n_tokens) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_prob, n_keys) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_prob, num_attention_heads) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_prob, qk_nope_head_dim) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_prob, qk_rope_head_dim) == 40, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_prob, v_head_dim) == 48, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_prob, softmax_scale) == 56, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_prob, full) == 64, "dsv3.h");
_Static_assert(sizeof(dsv3_mla_prefill_prob) == 72, "dsv3.h");

_Static_assert(offsetof(dsv3_mla_prefill_io, q) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_io, k) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_io, v) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_io, cu_seqlens_q) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_io, cu_seqlens_k) == 320, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_io, weights) == 400, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_io, o) == 416, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_io, lse) == 496, "dsv3.h");
_Static_assert(sizeof(dsv3_mla_prefill_io) == 576, "dsv3.h");

_Static_assert(offsetof(dsv3_swiglu_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_swiglu_prob, intermediate_size) == 8, "dsv3.h");
_Static_assert(sizeof(dsv3_swiglu_prob) == 16, "dsv3.h");

_Static_assert(offsetof(dsv3_swiglu_io, gate) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_swiglu_io, up) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_swiglu_io, weights) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_swiglu_io, y) == 176, "dsv3.h");
_Static_assert(sizeof(dsv3_swiglu_io) == 256, "dsv3.h");

_Static_assert(offsetof(dsv3_embed_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_embed_prob, vocab_size) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_embed_prob, hidden_size) == 16, "dsv3.h");
_Static_assert(sizeof(dsv3_embed_prob) == 24, "dsv3.h");

_Static_assert(offsetof(dsv3_embed_io, input_ids) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_embed_io, weights) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_embed_io, y) == 96, "dsv3.h");
_Static_assert(sizeof(dsv3_embed_io) == 176, "dsv3.h");

_Static_assert(offsetof(dsv3_cross_entropy_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_cross_entropy_prob, vocab_size) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_cross_entropy_prob, divisor) == 16, "dsv3.h");
_Static_assert(sizeof(dsv3_cross_entropy_prob) == 24, "dsv3.h");

_Static_assert(offsetof(dsv3_cross_entropy_io, logits) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_cross_entropy_io, labels) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_cross_entropy_io, weights) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_cross_entropy_io, loss) == 176, "dsv3.h");
_Static_assert(offsetof(dsv3_cross_entropy_io, mean) == 256, "dsv3.h");
_Static_assert(sizeof(dsv3_cross_entropy_io) == 336, "dsv3.h");

_Static_assert(offsetof(dsv3_quant_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_quant_prob, in_features) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_quant_prob, amax_floor) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_quant_prob, scale_fmt) == 24, "dsv3.h");
_Static_assert(sizeof(dsv3_quant_prob) == 32, "dsv3.h");

_Static_assert(offsetof(dsv3_quant_io, x) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_quant_io, weights) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_quant_io, scale) == 96, "dsv3.h");
_Static_assert(offsetof(dsv3_quant_io, q) == 176, "dsv3.h");
_Static_assert(sizeof(dsv3_quant_io) == 256, "dsv3.h");

_Static_assert(offsetof(dsv3_experts_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_prob, hidden_size) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_prob, moe_intermediate_size) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_prob, n_routed_experts) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_prob, num_experts_per_tok) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_prob, stages) == 40, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_prob, amax_floor) == 48, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_prob, scale_fmt) == 56, "dsv3.h");
_Static_assert(sizeof(dsv3_experts_prob) == 64, "dsv3.h");

_Static_assert(offsetof(dsv3_experts_io, hidden_states) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_io, topk_idx) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_io, topk_weight) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_io, weights) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_io, act) == 256, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_io, y) == 336, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_io, x_scale) == 416, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_io, act_scale) == 496, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_io, act_q) == 576, "dsv3.h");
_Static_assert(sizeof(dsv3_experts_io) == 656, "dsv3.h");

_Static_assert(offsetof(dsv3_moe_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_prob, hidden_size) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_prob, moe_intermediate_size) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_prob, n_routed_experts) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_prob, n_shared_experts) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_prob, n_group) == 40, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_prob, topk_group) == 48, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_prob, num_experts_per_tok) == 56, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_prob, routed_scaling_factor) == 64, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_prob, norm_topk_prob) == 72, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_prob, scoring_func) == 76, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_prob, topk_method) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_prob, stages) == 84, "dsv3.h");
_Static_assert(sizeof(dsv3_moe_prob) == 88, "dsv3.h");

_Static_assert(offsetof(dsv3_moe_io, hidden_states) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_io, weights) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_io, router_logits) == 96, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_io, topk_idx) == 176, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_io, topk_weight) == 256, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_io, act) == 336, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_io, shared_act) == 416, "dsv3.h");
_Static_assert(offsetof(dsv3_moe_io, y) == 496, "dsv3.h");
_Static_assert(sizeof(dsv3_moe_io) == 576, "dsv3.h");

_Static_assert(offsetof(dsv3_bias_update_prob, n_routed_experts) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_bias_update_prob, bias_update_speed) == 8, "dsv3.h");
_Static_assert(sizeof(dsv3_bias_update_prob) == 16, "dsv3.h");

_Static_assert(offsetof(dsv3_bias_update_io, load) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_bias_update_io, bias) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_bias_update_io, weights) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_bias_update_io, bias_out) == 176, "dsv3.h");
_Static_assert(sizeof(dsv3_bias_update_io) == 256, "dsv3.h");

_Static_assert(offsetof(dsv3_balance_loss_prob, batch) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_prob, n_tokens) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_prob, n_routed_experts) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_prob, num_experts_per_tok) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_prob, aux_loss_alpha) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_prob, seq_aux) == 40, "dsv3.h");
_Static_assert(sizeof(dsv3_balance_loss_prob) == 48, "dsv3.h");

_Static_assert(offsetof(dsv3_balance_loss_io, scores) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_io, topk_idx) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_io, cu_seqlens) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_io, weights) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_io, loss) == 256, "dsv3.h");
_Static_assert(sizeof(dsv3_balance_loss_io) == 336, "dsv3.h");

_Static_assert(offsetof(dsv3_mtp_accept_prob, batch) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_accept_prob, n_draft) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_accept_prob, vocab_size) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_accept_prob, greedy) == 24, "dsv3.h");
_Static_assert(sizeof(dsv3_mtp_accept_prob) == 32, "dsv3.h");

_Static_assert(offsetof(dsv3_mtp_accept_io, draft_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_accept_io, draft_probs) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_accept_io, target_probs) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_accept_io, uniforms) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_accept_io, weights) == 320, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_accept_io, accepted) == 336, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_accept_io, next_token) == 416, "dsv3.h");
_Static_assert(sizeof(dsv3_mtp_accept_io) == 496, "dsv3.h");

_Static_assert(offsetof(dsv3_mtp_prob, batch) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, n_tokens) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, hidden_size) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, num_attention_heads) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, q_lora_rank) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, kv_lora_rank) == 40, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, qk_nope_head_dim) == 48, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, qk_rope_head_dim) == 56, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, v_head_dim) == 64, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, moe_intermediate_size) == 72, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, n_routed_experts) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, n_shared_experts) == 88, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, n_group) == 96, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, topk_group) == 104, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, num_experts_per_tok) == 112, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, routed_scaling_factor) == 120, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, rms_norm_eps) == 128, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, latent_eps) == 136, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, rope_theta) == 144, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, factor) == 152, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, original_max_position_embeddings) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, beta_fast) == 168, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, beta_slow) == 176, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, mscale) == 184, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, mscale_all_dim) == 192, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, rope_layout) == 200, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, norm_topk_prob) == 204, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, scoring_func) == 208, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, topk_method) == 212, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_prob, stages) == 216, "dsv3.h");
_Static_assert(sizeof(dsv3_mtp_prob) == 224, "dsv3.h");

_Static_assert(offsetof(dsv3_mtp_io, hidden_states) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, inputs_embeds) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, cu_seqlens) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, weights) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, eh_proj) == 256, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, input_layernorm) == 336, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, q_a_layernorm) == 416, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, q) == 496, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, kv) == 576, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, attn_output) == 656, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, self_attn) == 736, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, post_attention_layernorm) == 816, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, router_logits) == 896, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, topk_idx) == 976, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, topk_weight) == 1056, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, act) == 1136, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, shared_act) == 1216, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, mlp) == 1296, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_io, y) == 1376, "dsv3.h");
_Static_assert(sizeof(dsv3_mtp_io) == 1456, "dsv3.h");

_Static_assert(offsetof(dsv3_swiglu_backward_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_swiglu_backward_prob, intermediate_size) == 8, "dsv3.h");
_Static_assert(sizeof(dsv3_swiglu_backward_prob) == 16, "dsv3.h");

_Static_assert(offsetof(dsv3_swiglu_backward_io, gate) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_swiglu_backward_io, up) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_swiglu_backward_io, grad_y) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_swiglu_backward_io, weights) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_swiglu_backward_io, grad_gate) == 256, "dsv3.h");
_Static_assert(offsetof(dsv3_swiglu_backward_io, grad_up) == 336, "dsv3.h");
_Static_assert(sizeof(dsv3_swiglu_backward_io) == 416, "dsv3.h");

_Static_assert(offsetof(dsv3_rope_backward_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_prob, num_heads) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_prob, num_key_value_heads) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_prob, qk_rope_head_dim) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_prob, rope_theta) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_prob, factor) == 40, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_prob, original_max_position_embeddings) == 48, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_prob, beta_fast) == 56, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_prob, beta_slow) == 64, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_prob, mscale) == 72, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_prob, mscale_all_dim) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_prob, in_layout) == 88, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_prob, out_layout) == 92, "dsv3.h");
_Static_assert(sizeof(dsv3_rope_backward_prob) == 96, "dsv3.h");

_Static_assert(offsetof(dsv3_rope_backward_io, grad_y) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_io, positions) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_io, weights) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_rope_backward_io, grad_x) == 176, "dsv3.h");
_Static_assert(sizeof(dsv3_rope_backward_io) == 256, "dsv3.h");

_Static_assert(offsetof(dsv3_cross_entropy_backward_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_cross_entropy_backward_prob, vocab_size) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_cross_entropy_backward_prob, divisor) == 16, "dsv3.h");
_Static_assert(sizeof(dsv3_cross_entropy_backward_prob) == 24, "dsv3.h");

_Static_assert(offsetof(dsv3_cross_entropy_backward_io, logits) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_cross_entropy_backward_io, labels) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_cross_entropy_backward_io, grad_mean) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_cross_entropy_backward_io, weights) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_cross_entropy_backward_io, grad_logits) == 256, "dsv3.h");
_Static_assert(sizeof(dsv3_cross_entropy_backward_io) == 336, "dsv3.h");

_Static_assert(offsetof(dsv3_rmsnorm_backward_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_backward_prob, hidden_size) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_backward_prob, rms_norm_eps) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_backward_prob, residual) == 24, "dsv3.h");
_Static_assert(sizeof(dsv3_rmsnorm_backward_prob) == 32, "dsv3.h");

_Static_assert(offsetof(dsv3_rmsnorm_backward_io, x) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_backward_io, grad_y) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_backward_io, grad_residual_out) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_backward_io, weights) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_backward_io, grad_x) == 256, "dsv3.h");
_Static_assert(offsetof(dsv3_rmsnorm_backward_io, grad_weight) == 336, "dsv3.h");
_Static_assert(sizeof(dsv3_rmsnorm_backward_io) == 416, "dsv3.h");

_Static_assert(offsetof(dsv3_linear_backward_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_linear_backward_prob, in_features) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_linear_backward_prob, out_features) == 16, "dsv3.h");
_Static_assert(sizeof(dsv3_linear_backward_prob) == 24, "dsv3.h");

_Static_assert(offsetof(dsv3_linear_backward_io, x) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_linear_backward_io, grad_y) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_linear_backward_io, weights) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_linear_backward_io, grad_x) == 176, "dsv3.h");
_Static_assert(offsetof(dsv3_linear_backward_io, grad_weight) == 256, "dsv3.h");
_Static_assert(sizeof(dsv3_linear_backward_io) == 336, "dsv3.h");

_Static_assert(offsetof(dsv3_embed_backward_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_embed_backward_prob, vocab_size) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_embed_backward_prob, hidden_size) == 16, "dsv3.h");
_Static_assert(sizeof(dsv3_embed_backward_prob) == 24, "dsv3.h");

_Static_assert(offsetof(dsv3_embed_backward_io, input_ids) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_embed_backward_io, grad_y) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_embed_backward_io, weights) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_embed_backward_io, grad_weight) == 176, "dsv3.h");
_Static_assert(sizeof(dsv3_embed_backward_io) == 256, "dsv3.h");

_Static_assert(offsetof(dsv3_gate_backward_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_backward_prob, n_routed_experts) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_backward_prob, num_experts_per_tok) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_backward_prob, routed_scaling_factor) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_backward_prob, norm_topk_prob) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_backward_prob, scoring_func) == 36, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_backward_prob, topk_method) == 40, "dsv3.h");
_Static_assert(sizeof(dsv3_gate_backward_prob) == 48, "dsv3.h");

_Static_assert(offsetof(dsv3_gate_backward_io, logits) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_backward_io, topk_idx) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_backward_io, grad_topk_weight) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_backward_io, weights) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_gate_backward_io, grad_logits) == 256, "dsv3.h");
_Static_assert(sizeof(dsv3_gate_backward_io) == 336, "dsv3.h");

_Static_assert(offsetof(dsv3_balance_loss_backward_prob, batch) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_backward_prob, n_tokens) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_backward_prob, n_routed_experts) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_backward_prob, num_experts_per_tok) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_backward_prob, aux_loss_alpha) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_backward_prob, seq_aux) == 40, "dsv3.h");
_Static_assert(sizeof(dsv3_balance_loss_backward_prob) == 48, "dsv3.h");

_Static_assert(offsetof(dsv3_balance_loss_backward_io, scores) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_backward_io, topk_idx) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_backward_io, cu_seqlens) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_backward_io, grad_loss) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_backward_io, weights) == 320, "dsv3.h");
_Static_assert(offsetof(dsv3_balance_loss_backward_io, grad_scores) == 336, "dsv3.h");
_Static_assert(sizeof(dsv3_balance_loss_backward_io) == 416, "dsv3.h");

_Static_assert(offsetof(dsv3_experts_backward_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_backward_prob, hidden_size) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_backward_prob, moe_intermediate_size) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_backward_prob, n_routed_experts) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_backward_prob, num_experts_per_tok) == 32, "dsv3.h");
_Static_assert(sizeof(dsv3_experts_backward_prob) == 40, "dsv3.h");

_Static_assert(offsetof(dsv3_experts_backward_io, hidden_states) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_backward_io, topk_idx) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_backward_io, topk_weight) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_backward_io, grad_y) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_backward_io, weights) == 320, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_backward_io, grad_hidden_states) == 336, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_backward_io, grad_topk_weight) == 416, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_backward_io, grad_gate_proj) == 496, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_backward_io, grad_up_proj) == 576, "dsv3.h");
_Static_assert(offsetof(dsv3_experts_backward_io, grad_down_proj) == 656, "dsv3.h");
_Static_assert(sizeof(dsv3_experts_backward_io) == 736, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_prob, batch) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_prob, n_tokens) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_prob, n_keys) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_prob, num_attention_heads) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_prob, qk_nope_head_dim) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_prob, qk_rope_head_dim) == 40, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_prob, v_head_dim) == 48, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_prob, softmax_scale) == 56, "dsv3.h");
_Static_assert(sizeof(dsv3_mla_prefill_backward_prob) == 64, "dsv3.h");

_Static_assert(offsetof(dsv3_mla_prefill_backward_io, q) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_io, k) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_io, v) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_io, cu_seqlens_q) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_io, cu_seqlens_k) == 320, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_io, o) == 400, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_io, lse) == 480, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_io, grad_o) == 560, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_io, weights) == 640, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_io, grad_q) == 656, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_io, grad_k) == 736, "dsv3.h");
_Static_assert(offsetof(dsv3_mla_prefill_backward_io, grad_v) == 816, "dsv3.h");
_Static_assert(sizeof(dsv3_mla_prefill_backward_io) == 896, "dsv3.h");

_Static_assert(offsetof(dsv3_merge_state_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_merge_state_prob, num_attention_heads) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_merge_state_prob, v_head_dim) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_merge_state_prob, lse_base) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_merge_state_prob, empty) == 28, "dsv3.h");
_Static_assert(sizeof(dsv3_merge_state_prob) == 32, "dsv3.h");

_Static_assert(offsetof(dsv3_merge_state_io, o_a) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_merge_state_io, lse_a) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_merge_state_io, o_b) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_merge_state_io, lse_b) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_merge_state_io, weights) == 320, "dsv3.h");
_Static_assert(offsetof(dsv3_merge_state_io, o) == 336, "dsv3.h");
_Static_assert(offsetof(dsv3_merge_state_io, lse) == 416, "dsv3.h");
_Static_assert(sizeof(dsv3_merge_state_io) == 496, "dsv3.h");

_Static_assert(offsetof(dsv3_mtp_inputs_prob, batch) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_inputs_prob, n_tokens) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_inputs_prob, depth) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_inputs_prob, tail) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_inputs_prob, labels_given) == 28, "dsv3.h");
_Static_assert(sizeof(dsv3_mtp_inputs_prob) == 32, "dsv3.h");

_Static_assert(offsetof(dsv3_mtp_inputs_io, input_ids) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_inputs_io, cu_seqlens) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_inputs_io, labels) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_inputs_io, loss_mask) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_inputs_io, weights) == 320, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_inputs_io, mtp_input_ids) == 336, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_inputs_io, mtp_labels) == 416, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_inputs_io, mtp_loss_mask) == 496, "dsv3.h");
_Static_assert(offsetof(dsv3_mtp_inputs_io, valid) == 576, "dsv3.h");
_Static_assert(sizeof(dsv3_mtp_inputs_io) == 656, "dsv3.h");

_Static_assert(offsetof(dsv3_backend, abi) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_cache_store_prob, n_tokens) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_cache_store_prob, kv_lora_rank) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_cache_store_prob, qk_rope_head_dim) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_cache_store_prob, page_size) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_cache_store_prob, amax_floor) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_cache_store_prob, scale_floor) == 40, "dsv3.h");
_Static_assert(offsetof(dsv3_cache_store_prob, scale_fmt) == 48, "dsv3.h");
_Static_assert(sizeof(dsv3_cache_store_prob) == 56, "dsv3.h");

_Static_assert(offsetof(dsv3_cache_store_io, kv) == 0, "dsv3.h");
_Static_assert(offsetof(dsv3_cache_store_io, slot_mapping) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_cache_store_io, kv_cache) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_cache_store_io, weights) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_cache_store_io, kv_cache_out) == 256, "dsv3.h");
_Static_assert(sizeof(dsv3_cache_store_io) == 336, "dsv3.h");

_Static_assert(offsetof(dsv3_backend, size) == 4, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, name) == 8, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, probe) == 16, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, open) == 24, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, close) == 32, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, alloc) == 40, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, release) == 48, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, put) == 56, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, get) == 64, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, sync) == 72, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, numerics) == 80, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, align) == 88, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, rmsnorm) == 96, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, linear) == 104, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, rope) == 112, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, gate) == 120, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, mla_decode) == 128, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, mla_prefill) == 136, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, mla) == 144, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, swiglu) == 152, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, embed) == 160, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, cross_entropy) == 168, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, quant) == 176, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, experts) == 184, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, moe) == 192, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, bias_update) == 200, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, balance_loss) == 208, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, mtp_accept) == 216, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, mtp) == 224, "dsv3.h");
/* However many ops come. */
_Static_assert(offsetof(dsv3_backend, prepare) == 232, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, unprepare) == 240, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, swiglu_backward) == 248, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, rope_backward) == 256, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, cross_entropy_backward) == 264, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, rmsnorm_backward) == 272, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, linear_backward) == 280, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, embed_backward) == 288, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, gate_backward) == 296, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, balance_loss_backward) == 304, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, experts_backward) == 312, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, mla_prefill_backward) == 320, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, merge_state) == 328, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, mtp_inputs) == 336, "dsv3.h");
_Static_assert(offsetof(dsv3_backend, cache_store) == 344, "dsv3.h");
_Static_assert(sizeof(dsv3_backend) == 352, "dsv3.h");

/* Types that dsv3.h defines begin a line as "} dsv3_tensor;" or "struct dsv3_mla_io {". */
static bool type_at(const char *line, char *name, size_t cap)
{
    static const char *const heads[] = {"} ", "struct "};
    for (int i = 0; i < 2; i++) {
        size_t const n = strlen(heads[i]);
        if (strncmp(line, heads[i], n) || strncmp(line + n, "dsv3_", 5)) continue;
        snprintf(name, cap, "%.*s", (int)strcspn(line + n, " ;"), line + n);
        return true;
    }
    return false;
}

/* The lines of an op's structs as they are now, to be copied from the test's output. */
static void print_lines(const op *o)
{
    static const char member[] = "_Static_assert(offsetof(dsv3_%s_%s, %s) == %zu, \"dsv3.h\");\n";
    static const char size[] = "_Static_assert(sizeof(dsv3_%s_%s) == %zu, \"dsv3.h\");\n\n";
    for (const field_row *f = o->fields; f->name; f++) printf(member, o->name, "prob", f->name, f->offset);
    printf(size, o->name, "prob", o->prob_size);
    for (const tensor_row *t = o->tensors; t->name; t++)
        if (t->kind != TENSOR_WEIGHT) printf(member, o->name, "io", t->name, t->offset);
    printf(member, o->name, "io", "weights", o->weights_offset);
    printf(size, o->name, "io", o->io_size);
}

/* An op's member of the table has a line, and so have those of its structs. */
Test(abi, every_op_is_pinned)
{
    char pin[100], member[100];
    read_text("unit/verify/abi.c");
    for (int i = 0; ops[i]; i++) {
        snprintf(pin, sizeof pin, "sizeof(dsv3_%s_io)", ops[i]->name);
        snprintf(member, sizeof member, "offsetof(dsv3_backend, %s)", ops[i]->name);
        cr_expect(strstr(text, member) != NULL, "%s has no line in unit/verify/abi.c", member);
        if (!strstr(text, pin)) print_lines(ops[i]);
    }
}

Test(abi, every_type_is_pinned)
{
    static char header[1 << 20];
    char name[64], pin[100];
    int count = 0;
    copy_text("include/dsv3.h", header, sizeof header);
    read_text("unit/verify/abi.c");
    for (const char *line = header; line; line = strchr(line, '\n')) {
        if (!type_at(line += *line == '\n', name, sizeof name)) continue;
        snprintf(pin, sizeof pin, "sizeof(%s)", name);
        cr_expect(strstr(text, pin) != NULL, "%s has no line in unit/verify/abi.c", name);
        count++;
    }
    cr_expect(count >= 41, "only %d types were found in include/dsv3.h", count);
}
