/*
 * dsv3.h: the contract between the DeepSeek-V3 verification harness and a port. The whole of it; no library to link.
 * C11, also compiles as C++17.
 *
 * A port exports one function, dsv3_backend_get(), which returns a table of function pointers. The harness fills
 * tensors, calls an op of the table, and judges what the op wrote. Start from verify/ports/plain/plain.c.
 *
 * Names of fields are the keys of the Hugging Face config.json, names of weights those of the checkpoint below the
 * module ("weight", "weight_scale_inv"). What a checkpoint stores travels in `weights`, by name; what flows between
 * modules is a member of the op's io struct.
 *
 * Versions: structs and the table grow only at their end, where a member that is absent reads as zero (a tensor with
 * dtype 0, a NULL function). Anything else changes DSV3_ABI.
 */
#ifndef DSV3_H
#define DSV3_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DSV3_ABI 1u

typedef enum {
    DSV3_OK = 0,
    DSV3_UNSUPPORTED = 1, /* this problem is not for this port; no output was written. Reported as SKIP */
    DSV3_INVALID = 2,     /* the call breaks this contract */
    DSV3_NO_MEMORY = 3,
    DSV3_FAILED = 4 /* the device or a library failed */
} dsv3_status;

/* Formats of stored values, all little-endian. */
typedef enum {
    DSV3_NONE = 0,    /* tensor is absent */
    DSV3_F32 = 1,     /* IEEE binary32 */
    DSV3_BF16 = 2,    /* upper half of binary32 */
    DSV3_F8_E4M3 = 3, /* E4M3FN: bias 7, no infinity, 0x7f and 0xff are NaN, largest 448 */
    DSV3_I32 = 4,     /* signed 32-bit integer: positions, indices, lengths */
    DSV3_U8 = 5,      /* bytes: what holds several formats */
    DSV3_F64 = 6,     /* IEEE binary64: the reference's own stages; no port is given one */
    DSV3_DTYPES = 7   /* their number */
} dsv3_dtype;

/* A view. Element (i, j) is at data + (i * stride[0] + j * stride[1]) * element size; the memory belongs to the
 * caller. data is aligned to the element size and no further, unless the backend asks for more (`align`). */
typedef struct {
    void *data;
    dsv3_dtype dtype;
    int32_t ndim;      /* 0..4 */
    int64_t shape[4];  /* elements */
    int64_t stride[4]; /* elements, not bytes; the last is 1 */
} dsv3_tensor;

/* What a checkpoint stores for one module, names relative to the module. Read-only. */
typedef struct {
    const char *name;
    dsv3_tensor tensor;
} dsv3_weight;

typedef struct {
    int64_t count;
    const dsv3_weight *item;
} dsv3_weights;

/* The weight of that name, or NULL when the checkpoint has none. */
static inline const dsv3_tensor *dsv3_find(const dsv3_weights *weights, const char *name)
{
    for (int64_t i = 0; i < weights->count; i++)
        if (!strcmp(weights->item[i].name, name)) return &weights->item[i].tensor;
    return NULL;
}

/*
 * Constants of a problem: a double stands for the shortest decimal that round-trips to it (1e-6 means 10^-6). A port
 * may round it to binary32.
 */

/* y = weight * z / sqrt(mean(z^2) + rms_norm_eps), row by row; z = x, or x + residual.
 * Hugging Face DeepseekV3RMSNorm (transformers, models/deepseek_v3/modeling_deepseek_v3.py). */
typedef struct {
    int64_t n_tokens;
    int64_t hidden_size;
    double rms_norm_eps; /* added to the mean square, inside the root; >= 0 */
    int32_t residual;    /* 1: `residual` is read and `residual_out` written; 0: both are absent */
} dsv3_rmsnorm_prob;

typedef struct {
    dsv3_tensor x;            /* in  (n_tokens, hidden_size) f32 or bf16 */
    dsv3_tensor residual;     /* in  (n_tokens, hidden_size) like x; absent unless prob.residual */
    dsv3_weights weights;     /* weight (hidden_size) f32 or bf16 */
    dsv3_tensor y;            /* out (n_tokens, hidden_size) like x */
    dsv3_tensor residual_out; /* out (n_tokens, hidden_size) x + residual, like x; absent unless prob.residual */
} dsv3_rmsnorm_io;

/* y = x weight^T, no bias. FP8 weights: W[n][k] = weight[n][k] * weight_scale_inv[n/128][k/128]; the scale is
 * multiplied in spite of its name (deepseek-ai/DeepSeek-V3, README_WEIGHTS.md). */
typedef struct {
    int64_t n_tokens;
    int64_t in_features;
    int64_t out_features;
} dsv3_linear_prob;

typedef struct {
    dsv3_tensor x;        /* in  (n_tokens, in_features) f32 or bf16 */
    dsv3_weights weights; /* weight (out_features, in_features) f32, bf16 or f8_e4m3; weight_scale_inv, present for
                             f8_e4m3 only, (ceil(out_features/128), ceil(in_features/128)) f32 */
    dsv3_tensor y;        /* out (n_tokens, out_features) f32 or bf16 */
} dsv3_linear_io;

/* Rotary embedding with YaRN. Pair j of a head, j < r/2, r = qk_rope_head_dim, is turned by the angle positions[t] * f_j:
 *   y1 = A (x1 cos - x2 sin),  y2 = A (x2 cos + x1 sin)
 *   e_j = rope_theta^(-2j/r),  f_j = e_j (1 - ramp_j) + e_j / factor * ramp_j,  ramp_j = clamp((j - low) / (high - low), 0, 1)
 *   low = max(floor(c(beta_fast)), 0),  high = min(ceil(c(beta_slow)), r - 1), 0.001 more when equal to low
 *   c(n) = r ln(original_max_position_embeddings / (2 pi n)) / (2 ln rope_theta)
 *   A = g(mscale) / g(mscale_all_dim),  g(m) = 0.1 m ln(factor) + 1, or 1 when factor <= 1
 * DeepSeek-V3, inference/model.py, precompute_freqs_cis; transformers, modeling_rope_utils.py. */
typedef enum {
    DSV3_INTERLEAVED = 0, /* pair j is elements 2j and 2j + 1: public weights */
    DSV3_HALF = 1         /* pair j is elements j and j + r/2: what transformers hands on */
} dsv3_layout;

typedef struct {
    int64_t n_tokens;
    int64_t num_heads;
    int64_t qk_rope_head_dim; /* even */
    double rope_theta;
    double factor;
    int64_t original_max_position_embeddings;
    double beta_fast, beta_slow; /* turns over the original length */
    double mscale, mscale_all_dim;
    int32_t in_layout, out_layout; /* dsv3_layout of x and of y */
} dsv3_rope_prob;

typedef struct {
    dsv3_tensor x;         /* in  (n_tokens, num_heads, qk_rope_head_dim) f32 or bf16 */
    dsv3_tensor positions; /* in  (n_tokens) i32, >= 0 */
    dsv3_weights weights;  /* none */
    dsv3_tensor y;         /* out (n_tokens, num_heads, qk_rope_head_dim) like x */
} dsv3_rope_io;

/* The gate of a MoE layer, noaux_tc: scores s = 1 / (1 + e^-logits); t = s + e_score_correction_bias selects; groups are
 * n_routed_experts / n_group experts in a row, the topk_group with the largest sum of their two largest t stay (one expert:
 * that one), and of those the num_experts_per_tok with the largest t. topk_weight = routed_scaling_factor s / sum of the
 * selected s (not divided unless norm_topk_prob). Ties: the lower index; any order within a token.
 * scoring_func softmax: s = e^logits / sum over all experts of e^logits. topk_method greedy: no groups, t = s;
 * group_limited_greedy: t = s, and a group counts with its largest t.
 * DeepSeek-V3 report (arXiv 2412.19437) eqs. 12-16; transformers, modeling_deepseek_v3.py, DeepseekV3TopkRouter, and
 * modeling_deepseek_v2.py, DeepseekV2TopkRouter. */
typedef enum { DSV3_SIGMOID = 0, DSV3_SOFTMAX = 1 } dsv3_scoring_func;
typedef enum { DSV3_NOAUX_TC = 0, DSV3_GREEDY = 1, DSV3_GROUP_LIMITED_GREEDY = 2 } dsv3_topk_method;

typedef struct {
    int64_t n_tokens;
    int64_t n_routed_experts;
    int64_t n_group;
    int64_t topk_group;
    int64_t num_experts_per_tok;
    double routed_scaling_factor;
    int32_t norm_topk_prob;
    int32_t scoring_func; /* dsv3_scoring_func; config.json has the word */
    int32_t topk_method;  /* dsv3_topk_method; config.json has the word */
} dsv3_gate_prob;

typedef struct {
    dsv3_tensor logits;      /* in  (n_tokens, n_routed_experts) f32 or bf16 */
    dsv3_weights weights;    /* e_score_correction_bias (n_routed_experts) f32; absent unless topk_method is noaux_tc */
    dsv3_tensor topk_idx;    /* out (n_tokens, num_experts_per_tok) i32 */
    dsv3_tensor topk_weight; /* out (n_tokens, num_experts_per_tok) f32; element k belongs to topk_idx element k */
} dsv3_gate_io;

/* Attention of the absorbed form over a paged cache: one key of kv_lora_rank + qk_rope_head_dim for all heads, whose first
 * kv_lora_rank entries are the value. Token j of sequence b is row j % page_size of page block_table[b][j / page_size].
 * Query i of s_q sees the keys j <= cache_seqlens[b] - s_q + i.
 *   s_j = softmax_scale q . k_j,  lse = ln sum_j e^s_j,  o = sum_j e^(s_j - lse) v_j;   no key: o = 0, lse = -infinity
 * Rows past cache_seqlens and block_table entries past its last page are undefined and must not be used: they may be NaN
 * and out of range. DeepSeek-V2 report (arXiv 2405.04434) 2.1; deepseek-ai/FlashMLA, flash_mla_with_kvcache. */
typedef struct {
    int64_t batch;
    int64_t s_q; /* queries a sequence; the last one sees every key */
    int64_t num_attention_heads;
    int64_t kv_lora_rank;
    int64_t qk_rope_head_dim;
    int64_t qk_nope_head_dim; /* softmax_scale is made from it; the op needs it for nothing else */
    int64_t page_size;        /* tokens */
    int64_t kv_len;           /* tokens of the longest sequence, those of this step included */
    double
        softmax_scale; /* (qk_nope_head_dim + qk_rope_head_dim)^-1/2 times YaRN's (0.1 mscale_all_dim ln factor + 1)^2 */
} dsv3_mla_decode_prob;

typedef struct {
    dsv3_tensor q;             /* in  (batch, s_q, num_attention_heads, kv_lora_rank + qk_rope_head_dim) f32 or bf16 */
    dsv3_tensor kv_cache;      /* in  (pages, page_size, kv_lora_rank + qk_rope_head_dim) f32 or bf16 */
    dsv3_tensor block_table;   /* in  (batch, most pages of a sequence + 1) i32 */
    dsv3_tensor cache_seqlens; /* in  (batch) i32 */
    dsv3_weights weights;      /* none */
    dsv3_tensor o;             /* out (batch, s_q, num_attention_heads, kv_lora_rank) like q */
    dsv3_tensor lse;           /* out (batch, s_q, num_attention_heads) f32, natural logarithm */
} dsv3_mla_decode_io;

/* One step of the balancing without auxiliary loss: bias_out = bias + bias_update_speed sign(mean load - load), sign(0) = 0; the mean is
 * compared in whole numbers. DeepSeek-V3 report (arXiv 2412.19437) 2.1.2; arXiv 2408.15664, algorithm 1. */
typedef struct {
    int64_t n_routed_experts;
    double bias_update_speed;
} dsv3_bias_update_prob;

typedef struct {
    dsv3_tensor load;     /* in  (n_routed_experts) i32: assignments, >= 0 */
    dsv3_tensor bias;     /* in  (n_routed_experts) f32: e_score_correction_bias */
    dsv3_weights weights; /* none */
    dsv3_tensor bias_out; /* out (n_routed_experts) f32 */
} dsv3_bias_update_io;

/* The complementary balance loss of each sequence of T tokens, E = n_routed_experts, K = num_experts_per_tok:
 *   f_i = E / (K T) times the assignments to i,  P_i = 1/T sum_t s_it / sum_j s_jt,  loss = aux_loss_alpha sum_i f_i P_i
 * An empty sequence has loss 0. seq_aux 0: f and P over the whole batch, T = n_tokens, P_i = 1/T sum_t s_it, and every sequence gets
 * that loss. DeepSeek-V3 report (arXiv 2412.19437) 2.1.2, eqs. 17-20; seq_aux and aux_loss_alpha: config.json. */
typedef struct {
    int64_t batch; /* sequences */
    int64_t n_tokens;
    int64_t n_routed_experts;
    int64_t num_experts_per_tok;
    double aux_loss_alpha;
    int32_t seq_aux; /* 1: by sequence; 0: the classic loss */
} dsv3_balance_loss_prob;

typedef struct {
    dsv3_tensor scores;     /* in  (n_tokens, n_routed_experts) f32, >= 0: sigmoids */
    dsv3_tensor topk_idx;   /* in  (n_tokens, num_experts_per_tok) i32: the routing */
    dsv3_tensor cu_seqlens; /* in  (batch + 1) i32: sequence b is the tokens cu_seqlens[b] <= t < cu_seqlens[b + 1] */
    dsv3_weights weights;   /* none */
    dsv3_tensor loss;       /* out (batch) f32 */
} dsv3_balance_loss_io;

/* Acceptance of drafted tokens. With q and p divided by their sums, draft x of position i is accepted if the ones before are and
 * uniforms[i] < min(1, p_i(x) / q_i(x)). accepted = n: how many are. next_token: the smallest v with uniforms[n_draft] < F(v), F the prefix
 * sums of max(0, p_n - q_n) divided by its sum, or of p_n when all are accepted. greedy: accepted if x = argmax p_i, then argmax p_n;
 * ties: the lower token. Leviathan et al. (arXiv 2211.17192), algorithm 1. */
typedef struct {
    int64_t batch;
    int64_t n_draft;
    int64_t vocab_size;
    int32_t greedy; /* 1: draft_probs and uniforms don't count */
} dsv3_mtp_accept_prob;

typedef struct {
    dsv3_tensor draft_tokens; /* in  (batch, n_draft) i32 */
    dsv3_tensor draft_probs;  /* in  (batch, n_draft, vocab_size) f32, >= 0: q */
    dsv3_tensor target_probs; /* in  (batch, n_draft + 1, vocab_size) f32, >= 0: p */
    dsv3_tensor uniforms;     /* in  (batch, n_draft + 1) f32, 0 <= u < 1; the last draws next_token */
    dsv3_weights weights;     /* none */
    dsv3_tensor accepted;     /* out (batch) i32 */
    dsv3_tensor next_token;   /* out (batch) i32 */
} dsv3_mtp_accept_io;

/* Every op. New ones are added at the end: the order is the order of the table below. */
/* clang-format off */
#define DSV3_OPS(OP) \
    OP(rmsnorm) \
    OP(linear) \
    OP(rope) \
    OP(gate) \
    OP(mla_decode) \
    OP(bias_update) \
    OP(balance_loss) \
    OP(mtp_accept)
/* clang-format on */

/* State of a port (streams, scratch, threads); made by open, opaque to the harness. */
typedef struct dsv3_ctx dsv3_ctx;

typedef struct {
    uint32_t abi;     /* DSV3_ABI */
    uint32_t size;    /* sizeof(dsv3_backend) the port was compiled with */
    const char *name; /* shown in reports */

    /* Can this port run here? DSV3_OK, or DSV3_UNSUPPORTED and one line in why (cap bytes, NUL-terminated).
     * NULL: always. */
    dsv3_status (*probe)(char *why, size_t cap);
    dsv3_status (*open)(dsv3_ctx **ctx, int device); /* NULL: ops get a NULL context */
    void (*close)(dsv3_ctx *ctx);

    /* Device memory; all four NULL for a port that works on host memory. put: to the device; get: from it. */
    void *(*alloc)(dsv3_ctx *ctx, size_t bytes);
    void (*release)(dsv3_ctx *ctx, void *memory);
    dsv3_status (*put)(dsv3_ctx *ctx, void *dst, const void *src, size_t bytes);
    dsv3_status (*get)(dsv3_ctx *ctx, void *dst, const void *src, size_t bytes);

    /* Ops may return before they are done; outputs are read only after sync. NULL: ops are synchronous. */
    dsv3_status (*sync)(dsv3_ctx *ctx);

    /* How this port rounds in `op` for this problem, as text: "acc 24 rn fused; x_norm bf16 must". Grammar and
     * defaults: docs/numerics.md. prob and io point to the op's structs, data pointers of io are NULL. The text
     * belongs to the port and must live as long as the port. NULL, or a NULL answer: the defaults, which are wide. */
    const char *(*numerics)(const char *op, const void *prob, const void *io);

    uint32_t align; /* bytes that tensor data must be aligned to; 0: element size. Over-reads below it go unseen */

    /* The ops. Inputs and weights are read-only, outputs are written whole, nothing else is touched; no op allocates.
     * NULL: not supported, reported as SKIP. */
#define OP(op) dsv3_status (*op)(dsv3_ctx *, const dsv3_##op##_prob *, const dsv3_##op##_io *);
    DSV3_OPS(OP)
#undef OP
} dsv3_backend;

/* What a shared object exports. Returns NULL when it can't speak that abi. The table lives as long as the object. */
const dsv3_backend *dsv3_backend_get(uint32_t abi);

#ifdef __cplusplus
}
#endif

#endif
