/*
 * dsv3.h: the contract between the DeepSeek-V3 verification harness and a port. This file is the
 * whole of it; there is no library to link. C11, also compiles as C++17.
 *
 * A port is a shared object that exports one function, dsv3_backend_get(), which returns a table
 * of functions, one an op. The harness fills tensors, calls an op, and judges what the op wrote.
 *
 *   1  A first port          a complete one, and the commands that build and judge it
 *   2  Status                what an op answers
 *   3  The table             what a port exports
 *   4  Tensors and weights   what an op gets
 *   5  The ops               for each its formula, its source, its problem, its tensors
 *      5.1  Embedding, norms, projections    embed, rmsnorm, linear, swiglu
 *      5.2  Attention                        rope, mla_prefill, mla_decode, mla, merge_state,
 *                                            cache_store
 *      5.3  Mixture of experts               gate, experts, moe
 *      5.4  Multi-token prediction           mtp, mtp_accept, mtp_inputs
 *      5.5  Losses and load balancing        cross_entropy, balance_loss, bias_update
 *      5.6  Quantisation                     quant
 *      5.7  Gradients                        swiglu_backward, rope_backward,
 *                                            cross_entropy_backward, rmsnorm_backward,
 *                                            linear_backward, embed_backward, gate_backward,
 *                                            balance_loss_backward, experts_backward,
 *                                            mla_prefill_backward
 *
 * Read 1 to 4, then the op you have. docs/porting.md says more, docs/components has a page an op,
 * and verify/ports/plain is a port that has them all.
 *
 * Names of fields are the keys of the Hugging Face config.json. Names of weights are those of the
 * checkpoint, below the module ("weight", "weight_scale_inv").
 *
 * Versions: structs and the table grow only at their end, where a member that is absent reads as
 * zero (a tensor with dtype 0, a NULL function). Anything else changes DSV3_ABI.
 */

/* ================================= 1  A first port ================================= */

/* This is first.c, a port of one op in one format.

--8<-- first.c
#include "dsv3.h"
#include <math.h>

static dsv3_status swiglu(dsv3_ctx *ctx, const dsv3_swiglu_prob *p, const dsv3_swiglu_io *io)
{
    const float *gate = io->gate.data, *up = io->up.data;
    float *y = io->y.data;
    if (io->y.dtype != DSV3_F32) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t i = 0; i < p->intermediate_size; i++) {
            float z = gate[t * io->gate.stride[0] + i];
            y[t * io->y.stride[0] + i] = z / (1 + expf(-z)) * up[t * io->up.stride[0] + i];
        }
    return DSV3_OK;
}

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    static const dsv3_backend first = {DSV3_ABI, sizeof first, "first", .swiglu = swiglu};
    return abi == DSV3_ABI ? &first : NULL;
}
-->8--

From the root of the repository, these lines take it out of this comment, compile it, and judge it:

--8<-- commands
sed -n '/^--8<-- first.c/,/^-->8--/p' include/dsv3.h | sed '1d;$d' >build/first.c
cc -shared -fPIC -Iinclude -o build/first.so build/first.c -lm
build/bin/verify run 'swiglu@tiny|odd:gate=f32' --backend=build/first.so
-->8--
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

/* ================================= 2  Status ================================= */

typedef enum {
    DSV3_OK = 0,
    DSV3_UNSUPPORTED = 1, /* the port doesn't do this problem; it wrote no output. SKIP */
    DSV3_INVALID = 2,     /* the call breaks this contract */
    DSV3_NO_MEMORY = 3,
    DSV3_FAILED = 4 /* the device or a library failed */
} dsv3_status;

/* ================================= 3  The table ================================= */

/* Every op, in the order of the table. The first ops stand before `prepare`, and their list is
 * closed; ops that came later stand behind `unprepare`, each new one last. */
/* clang-format off */
#define DSV3_FIRST_OPS(OP) \
    OP(rmsnorm) \
    OP(linear) \
    OP(rope) \
    OP(gate) \
    OP(mla_decode) \
    OP(mla_prefill) \
    OP(mla) \
    OP(swiglu) \
    OP(embed) \
    OP(cross_entropy) \
    OP(quant) \
    OP(experts) \
    OP(moe) \
    OP(bias_update) \
    OP(balance_loss) \
    OP(mtp_accept) \
    OP(mtp)
#define DSV3_LATER_OPS(OP) \
    OP(swiglu_backward) \
    OP(rope_backward) \
    OP(cross_entropy_backward) \
    OP(rmsnorm_backward) \
    OP(linear_backward) \
    OP(embed_backward) \
    OP(gate_backward) \
    OP(balance_loss_backward) \
    OP(experts_backward) \
    OP(mla_prefill_backward) \
    OP(merge_state) \
    OP(mtp_inputs) \
    OP(cache_store)
/* clang-format on */
#define DSV3_OPS(OP) DSV3_FIRST_OPS(OP) DSV3_LATER_OPS(OP)

/* An op has a problem (sizes, constants, flags) and tensors: dsv3_<op>_prob and dsv3_<op>_io. */
#define OP(op)                                                                                     \
    typedef struct dsv3_##op##_prob dsv3_##op##_prob;                                              \
    typedef struct dsv3_##op##_io dsv3_##op##_io;
DSV3_OPS(OP)
#undef OP

/* State of a port: streams, scratch memory, threads. `open` makes it; the harness only hands it
 * on. What an op answers depends on its problem and tensors alone, not on earlier calls. */
typedef struct dsv3_ctx dsv3_ctx;

typedef struct {
    uint32_t abi;     /* DSV3_ABI */
    uint32_t size;    /* sizeof(dsv3_backend) when the port was compiled */
    const char *name; /* shown in reports */

    /* Can this port run here? DSV3_OK, or DSV3_UNSUPPORTED and one line in why (cap bytes,
     * NUL-terminated), or DSV3_INVALID and that line when it was told what it doesn't know, as by
     * a variable of the environment: a usage error. NULL: always. */
    dsv3_status (*probe)(char *why, size_t cap);

    /* NULL: ops get a NULL context. */
    dsv3_status (*open)(dsv3_ctx **ctx, int device);
    void (*close)(dsv3_ctx *ctx);

    /* Device memory. put copies to the device, get from it. A port that works on host memory
     * leaves all four NULL. */
    void *(*alloc)(dsv3_ctx *ctx, size_t bytes);
    void (*release)(dsv3_ctx *ctx, void *memory);
    dsv3_status (*put)(dsv3_ctx *ctx, void *dst, const void *src, size_t bytes);
    dsv3_status (*get)(dsv3_ctx *ctx, void *dst, const void *src, size_t bytes);

    /* Ops may return before they are done: the harness reads outputs only after sync. NULL: ops
     * are synchronous. */
    dsv3_status (*sync)(dsv3_ctx *ctx);

    /* How this port rounds in `op` for this problem, as text: "acc 24 rn fused; x_norm bf16 must".
     * docs/numerics.md has the grammar and the defaults, which are wide; NULL, or a NULL answer,
     * declares nothing. prob and io point to the op's structs; data pointers of io are NULL. The
     * text belongs to the port and lives as long as the port. */
    const char *(*numerics)(const char *op, const void *prob, const void *io);

    /* Bytes to which the harness aligns tensor data, a power of two up to 4096; 0: element size. A
     * port that reads beyond the end of a tensor by less than this is not caught. */
    uint32_t align;

    /* The ops. An op reads inputs and weights, writes outputs whole (but for those that `numerics`
     * says it is without, and those that lie over an input), and touches nothing else. It allocates
     * nothing. NULL: not supported, reported as SKIP. */
#define OP(op) dsv3_status (*op)(dsv3_ctx *, const dsv3_##op##_prob *, const dsv3_##op##_io *);
    DSV3_FIRST_OPS(OP)

    /* What is done once for many calls of `op`, such as weights in another order. It may allocate.
     * prob and io point to the op's structs, as the op will get them; tensors lie where the op will
     * find them. Of io only the weights hold their numbers already: activations may change between
     * calls, n_tokens too. The op finds through ctx what was made, by where its weights lie.
     *
     * The harness calls prepare before the op, and unprepare with the same prob and io after it,
     * when outputs have been read. Weights don't change in between. Both may return before they are
     * done, as ops may. unprepare drops what prepare made; if prepare was called twice for a
     * weight, the second unprepare does. NULL: there is nothing to prepare.
     *
     * An op that nothing was prepared for is right too. A status of prepare other than DSV3_OK is
     * taken for the op's, which isn't called, and says that nothing was made; an op that needs
     * nothing prepared has DSV3_OK. */
    dsv3_status (*prepare)(dsv3_ctx *ctx, const char *op, const void *prob, const void *io);
    void (*unprepare)(dsv3_ctx *ctx, const char *op, const void *prob, const void *io);

    DSV3_LATER_OPS(OP)
#undef OP
} dsv3_backend;

/* What a port exports. Returns NULL when the port doesn't speak that abi. The table lives as long
 * as the shared object. */
const dsv3_backend *dsv3_backend_get(uint32_t abi);

/* ================================= 4  Tensors and weights ================================= */

/* Formats of stored values, all little-endian. */
typedef enum {
    DSV3_NONE = 0,    /* tensor is absent */
    DSV3_F32 = 1,     /* IEEE binary32 */
    DSV3_BF16 = 2,    /* upper half of binary32 */
    DSV3_F8_E4M3 = 3, /* E4M3FN: bias 7, no infinity, 0x7f and 0xff are NaN, largest 448 */
    DSV3_I32 = 4,     /* signed 32-bit integer: positions, indices, lengths */
    DSV3_U8 = 5,      /* bytes that hold several formats, or exponents: each op says which */
    DSV3_F64 = 6,     /* IEEE binary64: the reference's own stages; no port is given one */
    DSV3_F16 = 7,     /* IEEE binary16: of checkpoints and recordings; no port is given one */
    DSV3_I64 = 8,     /* signed 64-bit integer: slots */
    DSV3_DTYPES = 9   /* number of formats */
} dsv3_dtype;

enum { DSV3_MAX_NDIM = 4 };

/* A view. Element (i, j) is at data + (i * stride[0] + j * stride[1]) * element size. The memory
 * belongs to the caller. data is aligned to the element size and no further, unless the backend
 * asks for more (`align`); a row need not be. Any tensor with two axes or more may be columns of
 * wider rows: what lies between its rows isn't written, and what is read there doesn't count. */
typedef struct {
    void *data;
    dsv3_dtype dtype;
    int32_t ndim;                  /* 0 to DSV3_MAX_NDIM */
    int64_t shape[DSV3_MAX_NDIM];  /* elements */
    int64_t stride[DSV3_MAX_NDIM]; /* elements, not bytes; the last is 1 */
} dsv3_tensor;

/* A checkpoint's tensors for one module, found by name. Read-only. Activations are members of the
 * op's io struct instead. */
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

/* ================================= 5  The ops =================================
 *
 * Each tensor says: in or out, its shape, its formats. "like x": in the format of x.
 *
 * A stage is an output that lies inside a composition (mla, experts, moe, mtp). With stages = 1 a
 * port writes the stages too, and computes each later step from what it wrote: the harness judges
 * each step given the port's own value of the step before.
 *
 * lse and the stages are optional: a port that doesn't make them leaves them alone and declares
 * "without lse" or "without stages", and the other outputs are judged. It makes all of an op's
 * stages or none.
 *
 * A double in a problem stands for the shortest decimal that round-trips to it: 1e-6 means 10^-6.
 * A port may round it to binary32.
 */

/* ---------------------- 5.1  Embedding, norms, projections ---------------------- */

/* embed: y[t] = weight[input_ids[t]]: a copy, bit for bit, unscaled.
 *
 * 0 <= input_ids[t] < vocab_size.
 *
 * Source: transformers, modeling_deepseek_v3.py, DeepseekV3Model, embed_tokens. */
struct dsv3_embed_prob {
    int64_t n_tokens;
    int64_t vocab_size;
    int64_t hidden_size;
};

struct dsv3_embed_io {
    dsv3_tensor input_ids; /* in  (n_tokens) i32 */
    dsv3_weights weights;  /* weight (vocab_size, hidden_size) f32 or bf16 */
    dsv3_tensor y;         /* out (n_tokens, hidden_size) like weight */
};

/* rmsnorm: y = weight * z / sqrt(mean(z^2) + rms_norm_eps), row by row; z = x, or x + residual.
 *
 * Source: transformers, models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3RMSNorm. */
struct dsv3_rmsnorm_prob {
    int64_t n_tokens;
    int64_t hidden_size;
    double rms_norm_eps; /* added to the mean square, inside the root; >= 0 */
    int32_t residual;    /* 1: `residual` is read, `residual_out` written; 0: both are absent */
};

struct dsv3_rmsnorm_io {
    dsv3_tensor x;            /* in  (n_tokens, hidden_size) f32 or bf16 */
    dsv3_tensor residual;     /* in  (n_tokens, hidden_size) like x; with prob.residual only */
    dsv3_weights weights;     /* weight (hidden_size) f32 or bf16 */
    dsv3_tensor y;            /* out (n_tokens, hidden_size) like x */
    dsv3_tensor residual_out; /* out (n_tokens, hidden_size) like x: x + residual; likewise */
};

/* linear: y = x weight^T, no bias.
 *
 * FP8 weights: W[n][k] = weight[n][k] * weight_scale_inv[n/128][k/128]. The scale is multiplied,
 * in spite of its name.
 *
 * FP8 activations too (W8A8): X[t][k] = x[t][k] * x_scale[t][k/128], so that
 *
 *   y[t][n] = sum over blocks b of x_scale[t][b] weight_scale_inv[n/128][b]
 *             sum over k in block b of x[t][k] weight[n][k]
 *
 * A block has 128 columns, the last one perhaps fewer. A scale in u8 is an exponent (ue8m0): byte b
 * stands for 2^(b - 127), 0 <= b <= 254. The two scales may be of different formats. A port may sum
 * codes and scale the sum, by both scales in either order or by their product, or multiply what it
 * dequantised.
 *
 * Source: deepseek-ai/DeepSeek-V3, README_WEIGHTS.md; of W8A8 inference/kernel.py, fp8_gemm, and
 * deepseek-ai/DeepGEMM. */
struct dsv3_linear_prob {
    int64_t n_tokens;
    int64_t in_features;
    int64_t out_features;
};

struct dsv3_linear_io {
    dsv3_tensor x; /* in  (n_tokens, in_features) f32, bf16 or f8_e4m3 */

    /* weight (out_features, in_features) f32, bf16 or f8_e4m3, the last for x of f8_e4m3;
     * weight_scale_inv (ceil(out_features/128), ceil(in_features/128)), for f8_e4m3 only: f32, or
     * u8 where x is f8_e4m3 */
    dsv3_weights weights;

    dsv3_tensor y; /* out (n_tokens, out_features) f32 or bf16 */

    /* in  (n_tokens, ceil(in_features/128)) f32 or u8; for x of f8_e4m3 only */
    dsv3_tensor x_scale;
};

/* swiglu: y = silu(gate) * up, silu(z) = z / (1 + e^-z).
 *
 * A feed-forward (dense, shared or routed expert) does this between its projections.
 *
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1.2; transformers, modeling_deepseek_v3.py,
 * DeepseekV3MLP. */
struct dsv3_swiglu_prob {
    int64_t n_tokens;
    int64_t intermediate_size;
};

struct dsv3_swiglu_io {
    dsv3_tensor gate;     /* in  (n_tokens, intermediate_size) f32 or bf16: x times gate_proj */
    dsv3_tensor up;       /* in  (n_tokens, intermediate_size) like gate: x times up_proj */
    dsv3_weights weights; /* none */
    dsv3_tensor y;        /* out (n_tokens, intermediate_size) like gate */
};

/* ---------------------- 5.2  Attention ---------------------- */

/* rope: rotary embedding with YaRN. r = qk_rope_head_dim. Pair j of a head, j < r/2, is rotated by
 * the angle positions[t] * f_j:
 *
 *   y1 = A (x1 cos - x2 sin),  y2 = A (x2 cos + x1 sin)
 *   e_j = rope_theta^(-2j/r),  f_j = e_j (1 - ramp_j) + e_j / factor * ramp_j
 *   ramp_j = clamp((j - low) / (high - low), 0, 1)
 *   low = max(floor(c(beta_fast)), 0),  high = min(ceil(c(beta_slow)), r - 1)
 *   c(n) = r ln(original_max_position_embeddings / (2 pi n)) / (2 ln rope_theta)
 *   A = g(mscale) / g(mscale_all_dim),  g(m) = 0.1 m ln(factor) + 1, or 1 when factor <= 1
 *
 * Where high equals low, 0.001 is added to high.
 *
 * Source: deepseek-ai/DeepSeek-V3, inference/model.py, precompute_freqs_cis; transformers,
 * modeling_rope_utils.py. */
typedef enum {
    DSV3_INTERLEAVED = 0, /* pair j is elements 2j and 2j + 1: public weights */
    DSV3_HALF = 1         /* pair j is elements j and j + r/2: transformers' q and k */
} dsv3_layout;

struct dsv3_rope_prob {
    int64_t n_tokens;
    int64_t num_heads;
    int64_t qk_rope_head_dim; /* even */
    double rope_theta;
    double factor;
    int64_t original_max_position_embeddings;
    double beta_fast, beta_slow; /* revolutions over the original length */
    double mscale, mscale_all_dim;
    int32_t in_layout, out_layout; /* dsv3_layout of x and of y */
};

struct dsv3_rope_io {
    dsv3_tensor x;         /* in  (n_tokens, num_heads, qk_rope_head_dim) f32 or bf16 */
    dsv3_tensor positions; /* in  (n_tokens) i32, >= 0 */
    dsv3_weights weights;  /* none */
    dsv3_tensor y;         /* out (n_tokens, num_heads, qk_rope_head_dim) like x */
};

/* mla_prefill: causal attention with keys and values of each head. Sequences follow one another:
 * sequence b has the queries cu_seqlens_q[b] to cu_seqlens_q[b + 1] - 1, and the keys and values
 * cu_seqlens_k[b] to cu_seqlens_k[b + 1] - 1.
 *
 *   s_j = softmax_scale q . k_j,  lse = ln sum_j e^s_j,  o = sum_j e^(s_j - lse) v_j
 *
 * Query i of L_q sees the keys j <= L_k - L_q + i of its sequence: the mask is aligned to the end,
 * cached keys come first. With `full` it sees all L_k of them: those of a chunk that lies before
 * every query. merge_state makes such chunks and the new tokens one. A query without a key has
 * o = 0 and lse = -infinity.
 *
 * Source: DeepSeek-V2 report (arXiv 2405.04434) 2.1, eqs. 9-11 with MLA's keys;
 * deepseek-ai/DeepSeek-V3, inference/model.py, MLA, naive; of full sgl-project/sglang,
 * python/sglang/srt/models/deepseek_v2.py, _chunked_prefix_attn_mha. */
struct dsv3_mla_prefill_prob {
    int64_t batch;
    int64_t n_tokens; /* queries of all sequences */
    int64_t n_keys;   /* keys of all sequences */
    int64_t num_attention_heads;
    int64_t qk_nope_head_dim;
    int64_t qk_rope_head_dim;
    int64_t v_head_dim;
    double softmax_scale; /* as in dsv3_mla_decode_prob */
    int32_t full;         /* 0: causal; 1: every query sees every key of its sequence */
};

struct dsv3_mla_prefill_io {
    /* in  (n_tokens, num_attention_heads, qk_nope_head_dim + qk_rope_head_dim) f32 or bf16 */
    dsv3_tensor q;
    /* in  (n_keys, num_attention_heads, qk_nope_head_dim + qk_rope_head_dim) like q */
    dsv3_tensor k;
    dsv3_tensor v;            /* in  (n_keys, num_attention_heads, v_head_dim) like q */
    dsv3_tensor cu_seqlens_q; /* in  (batch + 1) i32: starts with 0, ends with n_tokens */
    dsv3_tensor cu_seqlens_k; /* in  (batch + 1) i32: starts with 0, ends with n_keys */
    dsv3_weights weights;     /* none */
    dsv3_tensor o;            /* out (n_tokens, num_attention_heads, v_head_dim) like q */
    dsv3_tensor lse;          /* out (n_tokens, num_attention_heads) f32, natural logarithm */
};

/* mla_decode: attention of the absorbed form over a paged cache. All heads share one key of
 * kv_lora_rank + qk_rope_head_dim entries; its first kv_lora_rank entries are the value.
 *
 *   s_j = softmax_scale q . k_j,  lse = ln sum_j e^s_j,  o = sum_j e^(s_j - lse) v_j
 *
 * Token j of sequence b is row j % page_size of page block_table[b][j / page_size]. Query i of s_q
 * sees the keys j <= cache_seqlens[b] - s_q + i. A query without a key has o = 0 and
 * lse = -infinity.
 *
 * A port must not use rows past cache_seqlens, nor block_table entries past a sequence's last
 * page: rows may hold NaN, and entries may be out of range.
 *
 * FP8 caches. f8_e4m3: an entry is its code times kv_scale. u8: a row is kv_lora_rank E4M3 codes,
 * then ceil(kv_lora_rank / 128) f32 scales, each of which multiplies its 128 codes, then
 * qk_rope_head_dim bf16 entries as they are, without padding: 656 bytes in DeepSeek-V3.
 *
 * Source: DeepSeek-V2 report (arXiv 2405.04434) 2.1; deepseek-ai/FlashMLA, flash_mla_with_kvcache
 * and tests/quant.py. */
struct dsv3_mla_decode_prob {
    int64_t batch;
    int64_t s_q; /* queries a sequence; the last one sees every key */
    int64_t num_attention_heads;
    int64_t kv_lora_rank;
    int64_t qk_rope_head_dim;
    int64_t qk_nope_head_dim; /* only softmax_scale is made from it */
    int64_t page_size;        /* tokens */
    int64_t kv_len;           /* tokens of the longest sequence, those of this step included */

    /* (qk_nope_head_dim + qk_rope_head_dim)^-1/2 times YaRN's
     * (0.1 mscale_all_dim ln factor + 1)^2 */
    double softmax_scale;
};

struct dsv3_mla_decode_io {
    /* in  (batch, s_q, num_attention_heads, kv_lora_rank + qk_rope_head_dim) f32 or bf16 */
    dsv3_tensor q;
    /* in  (pages, page_size, kv_lora_rank + qk_rope_head_dim) f32, bf16 or f8_e4m3;
     *     (pages, page_size, bytes of a row) u8 */
    dsv3_tensor kv_cache;
    dsv3_tensor block_table;   /* in  (batch, most pages of a sequence + 1) i32 */
    dsv3_tensor cache_seqlens; /* in  (batch) i32 */
    dsv3_weights weights;      /* kv_scale (1) f32, for f8_e4m3 only */
    dsv3_tensor o;             /* out (batch, s_q, num_attention_heads, kv_lora_rank) like q */
    dsv3_tensor lse;           /* out (batch, s_q, num_attention_heads) f32, natural logarithm */
};

/* mla: the whole attention module. It reads the normalised hidden states x of the new tokens of
 * each sequence, whose positions p follow those of the cached tokens:
 *
 *   q = q_b_proj RMSNorm(q_a_proj x), or q_proj x without q_lora_rank
 *   per head q = [q_nope | q_pe], q_pe rotated by p
 *   [c | k_pe] = kv_a_proj_with_mqa x,  c = RMSNorm(c), k_pe rotated by p
 *   per head [k_nope | v] = kv_b_proj c
 *   s_j = scale (q_nope . k_nope_j + q_pe . k_pe_j) over all keys up to the query's own
 *   attn_output = sum_j e^(s_j - lse) v_j for each head,  y = o_proj attn_output
 *   scale = (qk_nope_head_dim + qk_rope_head_dim)^-1/2 g(mscale_all_dim)^2; rotation, g as in rope
 *
 * The cache holds [c | k_pe], one vector for all heads.
 *
 * Either form is legal. Naive: keys and values are expanded. Absorbed: kv_b_proj's upper rows bring
 * q_nope to the latent, attention runs over [c | k_pe] as in mla_decode, values are expanded after
 * it.
 *
 * Before the call the cache holds the past, cache_seqlens[b] - (new tokens of b) tokens.
 * block_table names the pages of the new tokens too, whose rows are undefined. The op returns kv;
 * the caller appends it to the cache.
 *
 * Source: DeepSeek-V2 report (arXiv 2405.04434) 2.1; DeepSeek-V3 report (arXiv 2412.19437) 2.1.1,
 * 4.2; deepseek-ai/DeepSeek-V3, inference/model.py, MLA; transformers, modeling_deepseek_v3.py,
 * DeepseekV3Attention. */
struct dsv3_mla_prob {
    int64_t batch;
    int64_t n_tokens;  /* new ones, of all sequences */
    int64_t kv_len;    /* tokens of the longest sequence, the new ones included */
    int64_t page_size; /* tokens */
    int64_t hidden_size;
    int64_t num_attention_heads;
    int64_t q_lora_rank; /* 0: none */
    int64_t kv_lora_rank;
    int64_t qk_nope_head_dim;
    int64_t qk_rope_head_dim; /* even */
    int64_t v_head_dim;
    /* of the norms of the two latents: 1e-6 in DeepSeek's and HF's code, whatever the model's is */
    double rms_norm_eps;
    double rope_theta;
    double factor;
    int64_t original_max_position_embeddings;
    double beta_fast, beta_slow;
    double mscale, mscale_all_dim;
    /* dsv3_layout of the rotated parts of q and kv, and of the cache; the projections themselves
     * give interleaved pairs */
    int32_t rope_layout;
    /* 1: q_a_layernorm, q and attn_output are outputs too, and each later step is judged from the
     * port's own value of the step before */
    int32_t stages;
};

struct dsv3_mla_io {
    dsv3_tensor hidden_states; /* in  (n_tokens, hidden_size) f32 or bf16 */
    /* in  (batch + 1) i32: sequence b has the new tokens cu_seqlens[b] to cu_seqlens[b + 1] - 1 */
    dsv3_tensor cu_seqlens;
    /* in  (pages, page_size, kv_lora_rank + qk_rope_head_dim) f32 or bf16 */
    dsv3_tensor kv_cache;
    dsv3_tensor block_table;   /* in  (batch, most pages of a sequence + 1) i32, as in mla_decode */
    dsv3_tensor cache_seqlens; /* in  (batch) i32: tokens of each sequence, new ones included */

    /* q_a_proj.weight            (q_lora_rank, hidden_size)
     * q_a_layernorm.weight       (q_lora_rank)
     * q_b_proj.weight            (heads * (qk_nope_head_dim + qk_rope_head_dim), q_lora_rank)
     *   or, without q_lora_rank, only
     *   q_proj.weight            (heads * (qk_nope_head_dim + qk_rope_head_dim), hidden_size)
     * kv_a_proj_with_mqa.weight  (kv_lora_rank + qk_rope_head_dim, hidden_size)
     * kv_a_layernorm.weight      (kv_lora_rank)
     * kv_b_proj.weight           (heads * (qk_nope_head_dim + v_head_dim), kv_lora_rank)
     * o_proj.weight              (hidden_size, heads * v_head_dim)
     * FP8 ones with their weight_scale_inv, as in linear */
    dsv3_weights weights;

    /* out (n_tokens, q_lora_rank) stage: normalised query latent; absent without q_lora_rank */
    dsv3_tensor q_a_layernorm;
    /* out (n_tokens, heads, qk_nope_head_dim + qk_rope_head_dim) stage: q_nope, and q_pe
     * rotated */
    dsv3_tensor q;
    /* out (n_tokens, kv_lora_rank + qk_rope_head_dim) like hidden_states: [c | k_pe], to cache */
    dsv3_tensor kv;
    dsv3_tensor attn_output; /* out (n_tokens, heads * v_head_dim) stage */
    dsv3_tensor y;           /* out (n_tokens, hidden_size) like hidden_states */
};

/* merge_state: attention of the same queries over two sets of keys becomes attention over all of
 * them. Of each query and head, with e the base (2, if lse_base says so):
 *
 *   m = max(lse_a, lse_b),  a = e^(lse_a - m),  b = e^(lse_b - m)
 *   o = (a o_a + b o_b) / (a + b),  lse = m + log(a + b)
 *
 * A part without keys has lse = -infinity; with `empty`, +infinity says the same. Its weight is 0,
 * and a port must not read its o: that may hold NaN. Where both have none, o = 0 and
 * lse = -infinity.
 *
 * Source: the softmax over all keys, as in mla_prefill; vllm-project/vllm,
 * vllm/v1/attention/ops/triton_merge_attn_states.py; sgl-project/sglang, merge_state_v2;
 * flashinfer-ai/flashinfer, include/flashinfer/attention/cascade.cuh (base 2). */
struct dsv3_merge_state_prob {
    int64_t n_tokens; /* queries */
    int64_t num_attention_heads;
    int64_t v_head_dim;
    int32_t lse_base; /* of lse_a, lse_b and lse: 0 e, 1 2 */
    int32_t empty;    /* 0: lse is -infinity without keys; 1: that or +infinity */
};

struct dsv3_merge_state_io {
    dsv3_tensor o_a;      /* in  (n_tokens, num_attention_heads, v_head_dim) f32 or bf16 */
    dsv3_tensor lse_a;    /* in  (n_tokens, num_attention_heads) f32 */
    dsv3_tensor o_b;      /* in  (n_tokens, num_attention_heads, v_head_dim) like o_a */
    dsv3_tensor lse_b;    /* in  (n_tokens, num_attention_heads) f32 */
    dsv3_weights weights; /* none */
    dsv3_tensor o;        /* out (n_tokens, num_attention_heads, v_head_dim) like o_a */
    dsv3_tensor lse;      /* out (n_tokens, num_attention_heads) f32 */
};

/* cache_store: writes the keys of new tokens to a paged cache. Token t goes to slot
 * slot_mapping[t]: row slot % page_size of page slot / page_size. A token whose slot is -1 isn't
 * stored; no slot comes twice. A key is a latent of kv_lora_rank entries, and a rotary part behind
 * it.
 *
 * A row of f32 or bf16 is a copy of the key. FP8 caches are those that mla_decode reads:
 *
 *   f8_e4m3  E4M3(x / kv_scale) of all entries
 *   u8       of each 128 entries of the latent (the last ones may be fewer):
 *              amax = the largest |x|, at least amax_floor;  s = amax / 448, at least scale_floor
 *            E4M3(x / s) of all these, then every s in f32, then the rotary part in bf16, as it is
 *
 * E4M3 rounds to nearest, ties to even, saturating. Of 128 zeros without a floor s is 1.
 *
 * kv_cache_out lies over kv_cache: both are the same memory. The op writes the rows of its tokens;
 * all other bytes stay as they are.
 *
 * Source: vllm-project/vllm, csrc/cache_kernels.cu, concat_and_cache_mla; of u8
 * deepseek-ai/FlashMLA, tests/quant.py: scale_fmt 1 and scale_floor 1e-4 there. */
struct dsv3_cache_store_prob {
    int64_t n_tokens;
    int64_t kv_lora_rank;
    int64_t qk_rope_head_dim;
    int64_t page_size;  /* tokens */
    double amax_floor;  /* 0: none; of u8 only */
    double scale_floor; /* likewise */
    int32_t scale_fmt;  /* of u8, as in quant; 1: ue8m0, s is raised to 2^ceil(log2(s)) */
};

struct dsv3_cache_store_io {
    dsv3_tensor kv;           /* in  (n_tokens, kv_lora_rank + qk_rope_head_dim) f32 or bf16 */
    dsv3_tensor slot_mapping; /* in  (n_tokens) i32 or i64: -1, or below pages * page_size */
    /* in  (pages, page_size, kv_lora_rank + qk_rope_head_dim) like kv, or f8_e4m3;
     *     (pages, page_size, bytes of a row) u8, for kv of bf16 */
    dsv3_tensor kv_cache;
    dsv3_weights weights;     /* kv_scale (1) f32, 2^-60 to 2^60; for f8_e4m3 only */
    dsv3_tensor kv_cache_out; /* out in the memory of kv_cache, of its shape and format */
};

/* ---------------------- 5.3  Mixture of experts ---------------------- */

/* gate: which experts a token goes to, and with what weight.
 *
 * noaux_tc with sigmoid, as in DeepSeek-V3:
 *   s = 1 / (1 + e^-logits),  t = s + e_score_correction_bias
 *   A group is n_routed_experts / n_group neighbouring experts. Its score is the sum of its two
 *   largest t (of one expert: that one). The topk_group best groups stay, and of their experts the
 *   num_experts_per_tok with the largest t are selected.
 *   topk_weight = routed_scaling_factor s / sum of the selected s; not divided unless
 *   norm_topk_prob. A single expert is divided too: its weight is routed_scaling_factor.
 * softmax:               s = e^logits / sum over all experts of e^logits
 * greedy:                t = s, no groups
 * group_limited_greedy:  t = s, the score of a group is its largest t
 *
 * Of equal t, or equal groups, any may be selected. A token's experts may come in any order.
 *
 * Source: DeepSeek-V3 report (arXiv 2412.19437) eqs. 12-16; transformers, modeling_deepseek_v3.py,
 * DeepseekV3TopkRouter, and modeling_deepseek_v2.py, DeepseekV2TopkRouter. */
typedef enum { DSV3_SIGMOID = 0, DSV3_SOFTMAX = 1 } dsv3_scoring_func;
typedef enum { DSV3_NOAUX_TC = 0, DSV3_GREEDY = 1, DSV3_GROUP_LIMITED_GREEDY = 2 } dsv3_topk_method;

struct dsv3_gate_prob {
    int64_t n_tokens;
    int64_t n_routed_experts;
    int64_t n_group;
    int64_t topk_group;
    int64_t num_experts_per_tok;
    double routed_scaling_factor;
    int32_t norm_topk_prob;
    int32_t scoring_func; /* dsv3_scoring_func; config.json has the word */
    int32_t topk_method;  /* dsv3_topk_method; config.json has the word */
};

struct dsv3_gate_io {
    dsv3_tensor logits;      /* in  (n_tokens, n_routed_experts) f32 or bf16 */
    dsv3_weights weights;    /* e_score_correction_bias (n_routed_experts) f32, for noaux_tc only */
    dsv3_tensor topk_idx;    /* out (n_tokens, num_experts_per_tok) i32 */
    dsv3_tensor topk_weight; /* out (n_tokens, num_experts_per_tok) f32, aligned with topk_idx */
};

/* experts: the routed experts of a MoE module. The routing is an input.
 *
 *   y_t = sum_k topk_weight[t][k] FFN_e(x_t), e = topk_idx[t][k]
 *   FFN_e(x) = down_proj(silu(gate_proj x) * up_proj x),  silu(z) = z / (1 + e^-z)
 *
 * The weight multiplies the expert's output. No token is dropped. Each matrix is f32, bf16, or
 * f8_e4m3 with its weight_scale_inv as in linear.
 *
 * FP8 activations too (W8A8): hidden_states are codes whose x_scale multiplies them as in linear,
 * and what down_proj multiplies is quantised again, as in quant, a row for each slot:
 *
 *   act = silu(gate_proj x) * up_proj x
 *   act_scale, act_q = quant(act), by amax_floor and scale_fmt
 *   FFN_e(x) = down_proj (act_scale * act_q)
 *
 * All matrices are f8_e4m3 then. The three stages are made or left out together.
 *
 * Source: DeepSeek-V3 report (arXiv 2412.19437) eq. 12; transformers, modeling_deepseek_v3.py,
 * DeepseekV3Experts; of W8A8 deepseek-ai/DeepSeek-V3, inference/kernel.py, act_quant, fp8_gemm. */
struct dsv3_experts_prob {
    int64_t n_tokens;
    int64_t hidden_size;
    int64_t moe_intermediate_size;
    int64_t n_routed_experts;
    int64_t num_experts_per_tok;
    int32_t stages; /* 1: act is an output too, and y is judged from the port's own act */

    /* Of W8A8, else 0. As in quant. */
    double amax_floor;
    int32_t scale_fmt;
};

struct dsv3_experts_io {
    dsv3_tensor hidden_states; /* in  (n_tokens, hidden_size) f32, bf16 or f8_e4m3 */
    dsv3_tensor topk_idx;      /* in  (n_tokens, num_experts_per_tok) i32, no expert twice */
    dsv3_tensor topk_weight;   /* in  (n_tokens, num_experts_per_tok) f32 */

    /* E = 0, 1, ...:
     * experts.E.gate_proj.weight, experts.E.up_proj.weight  (moe_intermediate_size, hidden_size)
     * experts.E.down_proj.weight                            (hidden_size, moe_intermediate_size)
     * weight_scale_inv is f32, or u8 where hidden_states are f8_e4m3 */
    dsv3_weights weights;

    /* out (n_tokens, num_experts_per_tok, moe_intermediate_size) like hidden_states, or f32 or bf16
     *     where these are f8_e4m3; stage: silu(gate_proj x) * up_proj x */
    dsv3_tensor act;
    dsv3_tensor y; /* out (n_tokens, hidden_size) likewise */

    /* For hidden_states of f8_e4m3 only:
     * in  (n_tokens, ceil(hidden_size/128)) f32 or u8
     * out (n_tokens, num_experts_per_tok, ceil(moe_intermediate_size/128)) f32, stage: as quant's
     *     scale, from act
     * out (n_tokens, num_experts_per_tok, moe_intermediate_size) f8_e4m3, stage: as quant's q, from
     *     act and act_scale */
    dsv3_tensor x_scale;
    dsv3_tensor act_scale;
    dsv3_tensor act_q;
};

/* moe: a whole MoE module: gate, routed experts, shared experts.
 *
 *   logits = gate.weight x, routed as in gate
 *   y = the routed experts as in experts + the shared experts
 *
 * The shared experts are one network of width n_shared_experts * moe_intermediate_size, which every
 * token passes through with weight 1.
 *
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1.2, eqs. 12-16; transformers,
 * modeling_deepseek_v3.py, DeepseekV3MoE. */
struct dsv3_moe_prob {
    int64_t n_tokens;
    int64_t hidden_size;
    int64_t moe_intermediate_size;
    int64_t n_routed_experts;
    int64_t n_shared_experts; /* 0: none */
    int64_t n_group;
    int64_t topk_group;
    int64_t num_experts_per_tok;
    double routed_scaling_factor;
    int32_t norm_topk_prob;
    int32_t scoring_func; /* as in gate */
    int32_t topk_method;
    /* 1: router_logits, act and shared_act are outputs too, and each later step is judged from the
     * port's own value of the step before */
    int32_t stages;
};

struct dsv3_moe_io {
    dsv3_tensor hidden_states; /* in  (n_tokens, hidden_size) f32 or bf16 */

    /* gate.weight                   (n_routed_experts, hidden_size) like hidden_states
     * gate.e_score_correction_bias  (n_routed_experts) f32, for noaux_tc only
     * experts.E.*                   as in experts
     * shared_experts.gate_proj.weight, shared_experts.up_proj.weight,
     * shared_experts.down_proj.weight */
    dsv3_weights weights;

    dsv3_tensor router_logits; /* out (n_tokens, n_routed_experts) f32 stage */
    dsv3_tensor topk_idx;      /* out (n_tokens, num_experts_per_tok) i32, any order */
    dsv3_tensor topk_weight;   /* out (n_tokens, num_experts_per_tok) f32 */
    /* out (n_tokens, num_experts_per_tok, moe_intermediate_size) stage, like hidden_states */
    dsv3_tensor act;
    /* out (n_tokens, n_shared_experts * moe_intermediate_size) stage, like hidden_states */
    dsv3_tensor shared_act;
    dsv3_tensor y; /* out (n_tokens, hidden_size) like hidden_states */
};

/* ---------------------- 5.4  Multi-token prediction ---------------------- */

/* mtp: one depth of multi-token prediction. Row i of a sequence has the state h_i of the depth
 * before (after its last norm) and the embedding of the token that the row is to continue: token
 * i + k at depth k = 1, 2, ...
 *
 *   u_i = eh_proj [RMSNorm(inputs_embeds_i; enorm) | RMSNorm(h_i; hnorm)], the embedding first
 *   r = u + mla(RMSNorm(u; input_layernorm))
 *   z = r + moe(RMSNorm(r; post_attention_layernorm))
 *   y = RMSNorm(z; shared_head.norm)
 *
 * r and z are those of a decoder layer with row i at position i and nothing cached. The shared head
 * reads y, and the next depth takes y as its h.
 *
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.2, eqs. 21-23, which print the state first: the
 * public weights want the embedding first; transformers, modeling_layers.py, MtpLayer. */
struct dsv3_mtp_prob {
    int64_t batch;
    int64_t n_tokens; /* rows of all sequences */
    int64_t hidden_size;
    int64_t num_attention_heads; /* from here on as in mla */
    int64_t q_lora_rank;
    int64_t kv_lora_rank;
    int64_t qk_nope_head_dim;
    int64_t qk_rope_head_dim;
    int64_t v_head_dim;
    int64_t moe_intermediate_size; /* from here on as in moe */
    int64_t n_routed_experts;
    int64_t n_shared_experts;
    int64_t n_group;
    int64_t topk_group;
    int64_t num_experts_per_tok;
    double routed_scaling_factor;
    double rms_norm_eps; /* of every norm but those of the two latents */
    double latent_eps;   /* of those: 1e-6 in DeepSeek's and HF's code, whatever rms_norm_eps is */
    double rope_theta;
    double factor;
    int64_t original_max_position_embeddings;
    double beta_fast, beta_slow;
    double mscale, mscale_all_dim;
    int32_t rope_layout; /* dsv3_layout of the rotated parts of q and kv */
    int32_t norm_topk_prob;
    int32_t scoring_func;
    int32_t topk_method;
    /* 1: stages are outputs too, and each later step is judged from the port's own value of the
     * step before */
    int32_t stages;
};

struct dsv3_mtp_io {
    dsv3_tensor hidden_states; /* in  (n_tokens, hidden_size) f32 or bf16 */
    dsv3_tensor inputs_embeds; /* in  (n_tokens, hidden_size) like hidden_states */
    /* in  (batch + 1) i32: sequence b has the rows cu_seqlens[b] to cu_seqlens[b + 1] - 1 */
    dsv3_tensor cu_seqlens;

    /* like hidden_states:
     * enorm.weight, hnorm.weight, input_layernorm.weight, post_attention_layernorm.weight,
     * shared_head.norm.weight  (hidden_size)
     * eh_proj.weight           (hidden_size, 2 hidden_size)
     * those of mla below self_attn, those of moe below mlp */
    dsv3_weights weights;

    dsv3_tensor eh_proj;         /* out (n_tokens, hidden_size) stage: u */
    dsv3_tensor input_layernorm; /* out (n_tokens, hidden_size) stage */
    dsv3_tensor q_a_layernorm;   /* out these four as in mla, all stages */
    dsv3_tensor q;
    dsv3_tensor kv;
    dsv3_tensor attn_output;
    dsv3_tensor self_attn;                /* out (n_tokens, hidden_size) stage: y of mla */
    dsv3_tensor post_attention_layernorm; /* out (n_tokens, hidden_size) stage */
    dsv3_tensor router_logits;            /* out stage, as in moe */
    dsv3_tensor topk_idx;                 /* out (n_tokens, num_experts_per_tok) i32, any order */
    dsv3_tensor topk_weight;              /* out (n_tokens, num_experts_per_tok) f32 */
    dsv3_tensor act;                      /* out stage, as in moe */
    dsv3_tensor shared_act;               /* out stage, as in moe */
    dsv3_tensor mlp;                      /* out (n_tokens, hidden_size) stage: y of moe */
    dsv3_tensor y;                        /* out (n_tokens, hidden_size) like hidden_states */
};

/* mtp_accept: acceptance of drafted tokens. With q and p divided by their sums:
 *
 *   Draft x of position i is accepted if all drafts before it are and
 *   uniforms[i] < min(1, p_i(x) / q_i(x)). accepted = n, the number of accepted drafts.
 *   next_token is the smallest v with uniforms[n_draft] < F(v). F has the prefix sums of
 *   max(0, p_n - q_n) divided by its sum; of p_n when all drafts are accepted.
 *
 * greedy: x is accepted if x = argmax p_i; next_token = argmax p_n. Of tokens that are equally
 * probable any is the argmax; a draft that is one of several may be accepted or not.
 *
 * Source: Leviathan et al. (arXiv 2211.17192), algorithm 1. */
struct dsv3_mtp_accept_prob {
    int64_t batch;
    int64_t n_draft;
    int64_t vocab_size;
    int32_t greedy; /* 1: draft_probs and uniforms don't count */
};

struct dsv3_mtp_accept_io {
    dsv3_tensor draft_tokens; /* in  (batch, n_draft) i32 */
    dsv3_tensor draft_probs;  /* in  (batch, n_draft, vocab_size) f32, >= 0: q */
    dsv3_tensor target_probs; /* in  (batch, n_draft + 1, vocab_size) f32, >= 0: p */
    dsv3_tensor uniforms;     /* in  (batch, n_draft + 1) f32, 0 <= u < 1; last: next_token's */
    dsv3_weights weights;     /* none */
    dsv3_tensor accepted;     /* out (batch) i32 */
    dsv3_tensor next_token;   /* out (batch) i32 */
};

/* mtp_inputs: what a module of multi-token prediction is trained on, whole sequences shifted to the
 * left. Row i of a sequence of L rows, with k = depth, has
 *
 *   valid[i] = 1 if i + k < L, else 0
 *   mtp_input_ids[i] = input_ids[i + k] if i + k < L, else 0
 *   mtp_labels[i] = labels[i + k] if i + k < L, else 0, or DSV3_IGNORED if tail = 1
 *   mtp_loss_mask[i] = loss_mask[i + k] if i + k < L, else 0
 *
 * The main model's labels are shifted already: labels[i] is the token after input_ids[i]. Without
 * labels they are the ids and the mask is that of the ids, so that both are shifted once more:
 * mtp_labels[i] = input_ids[i + k + 1], mtp_loss_mask[i] = loss_mask[i + k + 1] if i + k + 1 < L.
 * Nothing comes from another sequence. All is copied.
 *
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.2, eqs. 21-24; NVIDIA/Megatron-LM,
 * megatron/core/transformer/multi_token_prediction.py, roll_tensor (tail 0); pytorch/torchtitan,
 * torchtitan/models/deepseek_v3/mtp.py, roll_mtp_sequence (tail 1). */
struct dsv3_mtp_inputs_prob {
    int64_t batch;
    int64_t n_tokens;     /* rows of all sequences */
    int64_t depth;        /* of the module, 1 the first; the main model would have 0 */
    int32_t tail;         /* a label past the end is 0 if this is 0, DSV3_IGNORED if it is 1 */
    int32_t labels_given; /* 1: `labels` is read; 0: it is absent */
};

struct dsv3_mtp_inputs_io {
    dsv3_tensor input_ids; /* in  (n_tokens) i32, >= 0 */
    /* in  (batch + 1) i32: sequence b has the rows cu_seqlens[b] to cu_seqlens[b + 1] - 1 */
    dsv3_tensor cu_seqlens;
    dsv3_tensor labels; /* in  (n_tokens) i32, >= 0 or DSV3_IGNORED; with prob.labels_given only */
    dsv3_tensor loss_mask;     /* in  (n_tokens) f32 */
    dsv3_weights weights;      /* none */
    dsv3_tensor mtp_input_ids; /* out (n_tokens) i32 */
    dsv3_tensor mtp_labels;    /* out (n_tokens) i32 */
    dsv3_tensor mtp_loss_mask; /* out (n_tokens) f32 */
    dsv3_tensor valid;         /* out (n_tokens) i32 */
};

/* ---------------------- 5.5  Losses and load balancing ---------------------- */

/* cross_entropy:
 *
 *   loss[t] = ln sum_j e^logits[t][j] - logits[t][labels[t]], 0 where labels[t] is DSV3_IGNORED
 *   mean = sum of loss / divisor
 *
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.2, eq. 24; transformers, loss/loss_utils.py,
 * ForCausalLMLoss. */
enum { DSV3_IGNORED = -100 };

struct dsv3_cross_entropy_prob {
    int64_t n_tokens;
    int64_t vocab_size;
    /* 0: n_tokens, as the report prints it; 1: the number of labels that are not ignored, as
     * frameworks do */
    int32_t divisor;
};

struct dsv3_cross_entropy_io {
    dsv3_tensor logits;   /* in  (n_tokens, vocab_size) f32 or bf16 */
    dsv3_tensor labels;   /* in  (n_tokens) i32: 0 <= label < vocab_size, or DSV3_IGNORED;
                             not shifted here */
    dsv3_weights weights; /* none */
    dsv3_tensor loss;     /* out (n_tokens) f32 */
    dsv3_tensor mean;     /* out (1) f32, from loss */
};

/* balance_loss: the complementary balance loss of each sequence. A sequence has T tokens;
 * E = n_routed_experts, K = num_experts_per_tok, s = scores.
 *
 *   f_i = E / (K T) times the assignments to i,  P_i = 1/T sum_t s_it / sum_j s_jt
 *   loss = aux_loss_alpha sum_i f_i P_i
 *
 * An empty sequence has loss 0. seq_aux 0: f and P run over the whole batch, T = n_tokens,
 * P_i = 1/T sum_t s_it, and every sequence gets that loss.
 *
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1.2, eqs. 17-20; seq_aux and aux_loss_alpha:
 * config.json. */
struct dsv3_balance_loss_prob {
    int64_t batch; /* sequences */
    int64_t n_tokens;
    int64_t n_routed_experts;
    int64_t num_experts_per_tok;
    double aux_loss_alpha;
    int32_t seq_aux; /* 1: by sequence; 0: the classic loss */
};

struct dsv3_balance_loss_io {
    dsv3_tensor scores;   /* in  (n_tokens, n_routed_experts) f32, >= 0: sigmoids */
    dsv3_tensor topk_idx; /* in  (n_tokens, num_experts_per_tok) i32: the routing */
    /* in  (batch + 1) i32: sequence b has the tokens cu_seqlens[b] <= t < cu_seqlens[b + 1] */
    dsv3_tensor cu_seqlens;
    dsv3_weights weights; /* none */
    dsv3_tensor loss;     /* out (batch) f32 */
};

/* bias_update: one step of balancing without an auxiliary loss.
 *
 *   bias_out = bias + bias_update_speed sign(mean load - load), sign(0) = 0
 *
 * The mean is compared in whole numbers.
 *
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1.2; arXiv 2408.15664, algorithm 1. */
struct dsv3_bias_update_prob {
    int64_t n_routed_experts;
    double bias_update_speed;
};

struct dsv3_bias_update_io {
    dsv3_tensor load;     /* in  (n_routed_experts) i32: assignments, >= 0 */
    dsv3_tensor bias;     /* in  (n_routed_experts) f32: e_score_correction_bias */
    dsv3_weights weights; /* none */
    dsv3_tensor bias_out; /* out (n_routed_experts) f32 */
};

/* ---------------------- 5.6  Quantisation ---------------------- */

/* quant: activations to FP8, tile by tile. A tile is 128 neighbouring entries of a row (the last
 * one of a row may be shorter); its entries share a scale.
 *
 *   amax = the largest |x|, at least amax_floor;  scale = amax / 448
 *   q = E4M3(x / scale), nearest, ties to even, saturating
 *
 * A tile whose amax is 0 (no floor, all entries 0) has scale 1. The value is q * scale.
 *
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 3.3.2; deepseek-ai/DeepSeek-V3,
 * inference/kernel.py, act_quant. */
struct dsv3_quant_prob {
    int64_t n_tokens;
    int64_t in_features;
    double amax_floor; /* 0: none */
    int32_t scale_fmt; /* 0: as above; 1: ue8m0, the scale is raised to 2^ceil(log2(scale)) */
};

struct dsv3_quant_io {
    dsv3_tensor x;        /* in  (n_tokens, in_features) f32 or bf16 */
    dsv3_weights weights; /* none */
    dsv3_tensor scale;    /* out (n_tokens, ceil(in_features/128)) f32 */
    dsv3_tensor q;        /* out (n_tokens, in_features) f8_e4m3, from scale */
};

/* ---------------------- 5.7  Gradients ----------------------
 *
 * grad_z is what a loss changes by with z, in the shape of z: torch calls it z.grad. An op's inputs
 * are those of the op it belongs to, and the gradient by each of its outputs; its outputs are the
 * gradients by the inputs and weights.
 */

/* swiglu_backward: y = silu(gate) * up, as in swiglu.
 *
 *   grad_gate = grad_y * up * silu'(gate),  silu'(z) = s (1 + z (1 - s)),  s = 1 / (1 + e^-z)
 *   grad_up = grad_y * silu(gate)
 *
 * Source: the derivative of swiglu; torch, derivatives.yaml, silu. */
struct dsv3_swiglu_backward_prob {
    int64_t n_tokens;
    int64_t intermediate_size;
};

struct dsv3_swiglu_backward_io {
    dsv3_tensor gate;      /* in  (n_tokens, intermediate_size) f32 or bf16 */
    dsv3_tensor up;        /* in  (n_tokens, intermediate_size) like gate */
    dsv3_tensor grad_y;    /* in  (n_tokens, intermediate_size) like gate */
    dsv3_weights weights;  /* none */
    dsv3_tensor grad_gate; /* out (n_tokens, intermediate_size) like gate */
    dsv3_tensor grad_up;   /* out (n_tokens, intermediate_size) like gate */
};

/* rope_backward: y = x rotated as in rope; a vector of x serves num_heads / num_key_value_heads
 * neighbouring heads of y. g is the sum of grad_y over those:
 *
 *   grad_x1 = A (g1 cos + g2 sin),  grad_x2 = A (g2 cos - g1 sin)
 *
 * The key that all heads of MLA share has num_key_value_heads 1. in_layout is that of x and grad_x,
 * out_layout that of grad_y.
 *
 * Source: the transpose of rope; transformers, modeling_deepseek_v3.py, DeepseekV3Attention: k_rot
 * is expanded to all heads. */
struct dsv3_rope_backward_prob {
    int64_t n_tokens;
    int64_t num_heads;
    int64_t num_key_value_heads; /* divides num_heads */
    int64_t qk_rope_head_dim;    /* from here on as in rope */
    double rope_theta;
    double factor;
    int64_t original_max_position_embeddings;
    double beta_fast, beta_slow;
    double mscale, mscale_all_dim;
    int32_t in_layout;
    int32_t out_layout;
};

struct dsv3_rope_backward_io {
    dsv3_tensor grad_y;    /* in  (n_tokens, num_heads, qk_rope_head_dim) f32 or bf16 */
    dsv3_tensor positions; /* in  (n_tokens) i32, >= 0 */
    dsv3_weights weights;  /* none */
    dsv3_tensor grad_x;    /* out (n_tokens, num_key_value_heads, qk_rope_head_dim) like grad_y */
};

/* cross_entropy_backward: of the mean of cross_entropy. P_t is the softmax of the row logits[t].
 *
 *   grad_logits[t][j] = grad_mean / divisor (P_t[j] - 1) where j is labels[t], else
 *                       grad_mean / divisor P_t[j]
 *
 * A row whose label is DSV3_IGNORED has the gradient 0.
 *
 * Source: the derivative of cross_entropy; torch, aten/src/ATen/native/LossNLL.cpp and
 * SoftMax.cpp. */
struct dsv3_cross_entropy_backward_prob {
    int64_t n_tokens;
    int64_t vocab_size;
    int32_t divisor; /* as in cross_entropy */
};

struct dsv3_cross_entropy_backward_io {
    dsv3_tensor logits;      /* in  (n_tokens, vocab_size) f32 or bf16 */
    dsv3_tensor labels;      /* in  (n_tokens) i32, as in cross_entropy */
    dsv3_tensor grad_mean;   /* in  (1) f32 */
    dsv3_weights weights;    /* none */
    dsv3_tensor grad_logits; /* out (n_tokens, vocab_size) like logits */
};

/* rmsnorm_backward: y = weight x_norm, x_norm = x / sqrt(mean(x^2) + rms_norm_eps), as in rmsnorm;
 * x is what is normalised: with a residual, the sum.
 *
 *   g = weight grad_y,  r = 1 / sqrt(mean(x^2) + rms_norm_eps)
 *   grad_x = r (g - x_norm mean(g x_norm)) (+ grad_residual_out)
 *   grad_weight = sum over tokens of grad_y x_norm
 *
 * Where a residual was added, grad_x is the gradient by both summands.
 *
 * Source: the derivative of rmsnorm; torch, autograd through DeepseekV3RMSNorm. */
struct dsv3_rmsnorm_backward_prob {
    int64_t n_tokens;
    int64_t hidden_size;
    double rms_norm_eps; /* as in rmsnorm */
    int32_t residual;    /* 1: the sum was handed on too, and grad_residual_out is its gradient */
};

struct dsv3_rmsnorm_backward_io {
    dsv3_tensor x;                 /* in  (n_tokens, hidden_size) f32 or bf16 */
    dsv3_tensor grad_y;            /* in  (n_tokens, hidden_size) like x */
    dsv3_tensor grad_residual_out; /* in  (n_tokens, hidden_size) like x; with prob.residual only */
    dsv3_weights weights;          /* weight (hidden_size) f32 or bf16 */
    dsv3_tensor grad_x;            /* out (n_tokens, hidden_size) like x */
    dsv3_tensor grad_weight;       /* out (hidden_size) like weight */
};

/* linear_backward: y = x weight^T, as in linear.
 *
 *   grad_x = grad_y weight
 *   grad_weight = grad_y^T x: the sum over tokens
 *
 * Source: the derivative of linear; torch.nn.Linear. */
struct dsv3_linear_backward_prob {
    int64_t n_tokens;
    int64_t in_features;
    int64_t out_features;
};

struct dsv3_linear_backward_io {
    dsv3_tensor x;           /* in  (n_tokens, in_features) f32 or bf16 */
    dsv3_tensor grad_y;      /* in  (n_tokens, out_features) like x */
    dsv3_weights weights;    /* weight (out_features, in_features) like x */
    dsv3_tensor grad_x;      /* out (n_tokens, in_features) like x */
    dsv3_tensor grad_weight; /* out (out_features, in_features) f32 or bf16 */
};

/* embed_backward: y[t] = weight[input_ids[t]], as in embed.
 *
 *   grad_weight[v] = the sum of grad_y[t] over all t with input_ids[t] = v, 0 where there is none
 *
 * Source: the derivative of embed; torch.nn.Embedding. */
struct dsv3_embed_backward_prob {
    int64_t n_tokens;
    int64_t vocab_size;
    int64_t hidden_size;
};

struct dsv3_embed_backward_io {
    dsv3_tensor input_ids;   /* in  (n_tokens) i32, 0 <= id < vocab_size */
    dsv3_tensor grad_y;      /* in  (n_tokens, hidden_size) f32 or bf16 */
    dsv3_weights weights;    /* none */
    dsv3_tensor grad_weight; /* out (vocab_size, hidden_size) f32 or bf16 */
};

/* gate_backward: the weights of gate, given the choice, which has no gradient. s and the chosen
 * experts' scores t_k = s[topk_idx[k]] as in gate; S is the sum of t.
 *
 *   g_k = grad_topk_weight[k]
 *   with norm_topk_prob:  grad_t_k = routed_scaling_factor / S (g_k - sum_j g_j t_j / S)
 *   without:              grad_t_k = routed_scaling_factor g_k
 *   sigmoid:  grad_logits of a chosen expert = grad_t s (1 - s), of another 0
 *   softmax:  grad_logits[e] = s_e (grad_s_e - sum over e of grad_s s), grad_s 0 where not chosen
 *
 * e_score_correction_bias takes part in the choice alone: it has no gradient, and isn't read.
 *
 * Source: the derivative of gate; torch, autograd through DeepseekV3TopkRouter. */
struct dsv3_gate_backward_prob {
    int64_t n_tokens;
    int64_t n_routed_experts;
    int64_t num_experts_per_tok;
    double routed_scaling_factor;
    int32_t norm_topk_prob;
    int32_t scoring_func; /* as in gate */
    int32_t topk_method;  /* as in gate: noaux_tc has the bias */
};

struct dsv3_gate_backward_io {
    dsv3_tensor logits;           /* in  (n_tokens, n_routed_experts) f32 or bf16 */
    dsv3_tensor topk_idx;         /* in  (n_tokens, num_experts_per_tok) i32, no expert twice */
    dsv3_tensor grad_topk_weight; /* in  (n_tokens, num_experts_per_tok) f32 */
    dsv3_weights weights;    /* e_score_correction_bias (n_routed_experts) f32, for noaux_tc only */
    dsv3_tensor grad_logits; /* out (n_tokens, n_routed_experts) like logits */
};

/* balance_loss_backward: of each sequence's loss, as in balance_loss; counts have no gradient.
 * f, T as there; token t of sequence b has S_t = sum_j s_tj.
 *
 *   grad_scores[t][i] = grad_loss[b] aux_loss_alpha / (T S_t) (f_i - sum_j f_j s_tj / S_t)
 *
 * of every expert, chosen or not. seq_aux 0: grad_scores[t][i] = aux_loss_alpha f_i / T times the
 * sum of grad_loss, since every sequence has the loss of the whole batch.
 *
 * Source: the derivative of balance_loss; DeepSeek-V3 report (arXiv 2412.19437) 2.1.2. */
struct dsv3_balance_loss_backward_prob {
    int64_t batch;
    int64_t n_tokens;
    int64_t n_routed_experts;
    int64_t num_experts_per_tok;
    double aux_loss_alpha;
    int32_t seq_aux; /* as in balance_loss */
};

struct dsv3_balance_loss_backward_io {
    dsv3_tensor scores;      /* in  (n_tokens, n_routed_experts) f32, >= 0: sigmoids */
    dsv3_tensor topk_idx;    /* in  (n_tokens, num_experts_per_tok) i32: the routing */
    dsv3_tensor cu_seqlens;  /* in  (batch + 1) i32, as in balance_loss */
    dsv3_tensor grad_loss;   /* in  (batch) f32 */
    dsv3_weights weights;    /* none */
    dsv3_tensor grad_scores; /* out (n_tokens, n_routed_experts) f32 */
};

/* experts_backward: y_t = sum_k w_tk down_e a_tk with a_tk = silu(g_tk) * u_tk, g_tk = gate_e x_t,
 * u_tk = up_e x_t, as in experts; e = topk_idx[t][k], w = topk_weight, x = hidden_states.
 *
 *   grad_topk_weight[t][k] = <grad_y[t], down_e a_tk>
 *   grad_a_tk = w_tk down_e^T grad_y[t];  grad_g_tk, grad_u_tk as in swiglu_backward
 *   grad_hidden_states[t] = sum_k (gate_e^T grad_g_tk + up_e^T grad_u_tk)
 *   grad_gate_proj[e] = the sum over all (t, k) that chose e of grad_g_tk x_t^T
 *   grad_up_proj[e]   = likewise of grad_u_tk x_t^T
 *   grad_down_proj[e] = likewise of w_tk grad_y[t] a_tk^T
 *
 * The last three are 0 for an expert that nothing chose.
 *
 * Source: the derivative of experts; torch, autograd through DeepseekV3Experts. */
struct dsv3_experts_backward_prob {
    int64_t n_tokens;
    int64_t hidden_size;
    int64_t moe_intermediate_size;
    int64_t n_routed_experts;
    int64_t num_experts_per_tok;
};

struct dsv3_experts_backward_io {
    dsv3_tensor hidden_states; /* in  (n_tokens, hidden_size) f32 or bf16 */
    dsv3_tensor topk_idx;      /* in  (n_tokens, num_experts_per_tok) i32, no expert twice */
    dsv3_tensor topk_weight;   /* in  (n_tokens, num_experts_per_tok) f32 */
    dsv3_tensor grad_y;        /* in  (n_tokens, hidden_size) like hidden_states */

    /* like hidden_states:
     * experts.E.gate_proj.weight, experts.E.up_proj.weight  (moe_intermediate_size, hidden_size)
     * experts.E.down_proj.weight                            (hidden_size, moe_intermediate_size) */
    dsv3_weights weights;

    dsv3_tensor grad_hidden_states; /* out (n_tokens, hidden_size) like hidden_states */
    dsv3_tensor grad_topk_weight;   /* out (n_tokens, num_experts_per_tok) f32 */
    /* out (n_routed_experts, moe_intermediate_size, hidden_size) f32 or bf16, these two alike */
    dsv3_tensor grad_gate_proj;
    dsv3_tensor grad_up_proj;
    /* out (n_routed_experts, hidden_size, moe_intermediate_size) like grad_gate_proj */
    dsv3_tensor grad_down_proj;
};

/* mla_prefill_backward: o and lse as in mla_prefill; P_ij = e^(s_ij - lse_i) over the keys j that
 * query i sees.
 *
 *   dP_ij = grad_o_i . v_j,  D_i = grad_o_i . o_i (= sum_j P_ij dP_ij)
 *   dS_ij = P_ij (dP_ij - D_i)
 *   grad_q_i = softmax_scale sum_j dS_ij k_j,  grad_k_j = softmax_scale sum_i dS_ij q_i
 *   grad_v_j = sum_i P_ij grad_o_i
 *
 * A query without a key has grad_q = 0 and adds nothing. o and lse are what mla_prefill makes of q,
 * k and v; a port may read them or make its own.
 *
 * Source: the derivative of mla_prefill; Dao et al. (arXiv 2205.14135), appendix B.2, 2307.08691,
 * algorithm 2. */
struct dsv3_mla_prefill_backward_prob {
    int64_t batch; /* all as in mla_prefill */
    int64_t n_tokens;
    int64_t n_keys;
    int64_t num_attention_heads;
    int64_t qk_nope_head_dim;
    int64_t qk_rope_head_dim;
    int64_t v_head_dim;
    double softmax_scale;
};

struct dsv3_mla_prefill_backward_io {
    dsv3_tensor q; /* in  these five as in mla_prefill */
    dsv3_tensor k;
    dsv3_tensor v;
    dsv3_tensor cu_seqlens_q;
    dsv3_tensor cu_seqlens_k;
    dsv3_tensor o;        /* in  (n_tokens, num_attention_heads, v_head_dim) like q */
    dsv3_tensor lse;      /* in  (n_tokens, num_attention_heads) f32; -infinity without a key */
    dsv3_tensor grad_o;   /* in  (n_tokens, num_attention_heads, v_head_dim) like q */
    dsv3_weights weights; /* none */
    dsv3_tensor grad_q;   /* out in the shape of q, like q */
    dsv3_tensor grad_k;   /* out in the shape of k, like q */
    dsv3_tensor grad_v;   /* out in the shape of v, like q */
};

#ifdef __cplusplus
}
#endif

#endif
