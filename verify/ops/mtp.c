/* mtp: rows only. The formula is in ref/mtp.c. */
#include "rows.h"

#include "case/rng.h"
#include "case/weight_values.h"
#include "case/trained.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_mtp_prob, name)
static const field_row fields[] = {
    {FIELD(batch), FIELD_SIZE, 1, 4096, {1, 1, 3, 1}, "sequences"},
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {2, 2, 6, 1}, "rows, as many in each sequence unless q_lens is given"},
    {FIELD(hidden_size), FIELD_SIZE, 1, 65536, {7168, 4, 64, 1}, "width of a hidden state"},
    ROWS_ATTENTION,
    {FIELD(moe_intermediate_size), FIELD_SIZE, 1, 65536, {2048, 2, 20, 1}, "width of an expert"},
    {FIELD(n_routed_experts), FIELD_SIZE, 1, 256, {256, 8, 16, 1}, "experts"},
    {FIELD(n_shared_experts), FIELD_SIZE, 0, 64, {1, 1, 2, 1}, "experts of every token; 0: none"},
    ROWS_ROUTING,
    {FIELD(rms_norm_eps), FIELD_REAL, 0, 1, {1e-6, 1e-6, 1e-2, 1e-6}, "of every norm but those of the two latents"},
    {FIELD(latent_eps), FIELD_REAL, 0, 1, {1e-6, 1e-6, 1e-6, 1e-6}, "of the norms of the two latents"},
    ROWS_YARN,
    {FIELD(mscale_all_dim), FIELD_REAL, 0, 100, {1, 1, 1, 1}, "YaRN: amplitude, denominator, and the softmax scale"},
    {FIELD(rope_layout), FIELD_FLAG, 0, 1, {0, 0, 1, 0}, "rotated parts: 0 interleaved (2j, 2j+1), 1 half (j, j+r/2)"},
    ROWS_SCORING,
    {FIELD(stages), FIELD_FLAG, 0, 1, {1, 0, 1, 0}, "1: stages are written, and what follows is made of them"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_mtp_io, name)
#define FIRST    "self_attn.kv_a_proj_with_mqa.weight"
#define WEIGHT(name, width, when, help)                                                                                \
    {                                                                                                                  \
        name ".weight", TENSOR_WEIGHT, 0, "=hidden_states", width, when, help                                          \
    }
#define STAGE(name, dtypes, shape, when, help)                                                                         \
    {                                                                                                                  \
#name, TENSOR_OUT, IO(name), dtypes, shape, "stages" when, help                                                \
    }
static const tensor_row tensors[] = {
    {"hidden_states", TENSOR_IN, IO(hidden_states), "bf16 f32", "n_tokens hidden_size", NULL,
     "state of the depth before, after its last norm"},
    {"inputs_embeds", TENSOR_IN, IO(inputs_embeds), "=hidden_states", "n_tokens hidden_size", NULL,
     "embedding of the token that each row is to continue"},
    {"cu_seqlens", TENSOR_IN, IO(cu_seqlens), "i32", "batch_and_1", NULL, "where each sequence's rows begin"},
    WEIGHT("enorm", "hidden_size", NULL, "gain of the embedding's norm"),
    WEIGHT("hnorm", "hidden_size", NULL, "gain of the state's norm"),
    WEIGHT("eh_proj", "hidden_size two_hidden", NULL, "the first half of its columns acts on the embedding"),
    WEIGHT("input_layernorm", "hidden_size", NULL, "gain of the attention block's norm"),
    {FIRST, TENSOR_WEIGHT, 0, "=hidden_states bf16 f32 f8_e4m3", "latent hidden_size", NULL,
     "to the latent and the shared key", NULL, "weights"},
    ROW_SCALES("self_attn.kv_a_proj_with_mqa", "latent_blocks hidden_blocks", FP8, NULL),
    WEIGHT("self_attn.kv_a_layernorm", "kv_lora_rank", NULL, "gain of the latent's norm"),
    ROWS_MATRIX_WHEN("!q_lora_rank", "self_attn.q_proj", "q_width hidden_size", "q_blocks hidden_blocks",
                     "queries, without a query latent"),
    ROWS_MATRIX_WHEN("q_lora_rank", "self_attn.q_a_proj", "q_lora_rank hidden_size", "q_lora_blocks hidden_blocks",
                     "to the query latent"),
    WEIGHT("self_attn.q_a_layernorm", "q_lora_rank", "q_lora_rank", "gain of the query latent's norm"),
    ROWS_MATRIX_WHEN("q_lora_rank", "self_attn.q_b_proj", "q_width q_lora_rank", "q_blocks q_lora_blocks",
                     "queries from the query latent"),
    ROWS_MATRIX("self_attn.kv_b_proj", "kv_b_width kv_lora_rank", "kv_b_blocks kv_lora_blocks",
                "keys and values of each head from the latent"),
    ROWS_MATRIX("self_attn.o_proj", "hidden_size o_width", "hidden_blocks o_blocks", "output of the attention block"),
    WEIGHT("post_attention_layernorm", "hidden_size", NULL, "gain of the MoE layer's norm"),
    WEIGHT("mlp.gate", "n_routed_experts hidden_size", NULL, "makes the logits"),
    {"mlp.gate.e_score_correction_bias", TENSOR_WEIGHT, 0, "f32", "n_routed_experts", "topk_method=0",
     "added to the scores for the choice"},
    ROWS_EXPERT_MATRIX("mlp.experts.#.gate_proj", "moe_intermediate_size hidden_size", "expert_blocks hidden_blocks",
                       "one an expert"),
    ROWS_EXPERT_MATRIX("mlp.experts.#.up_proj", "moe_intermediate_size hidden_size", "expert_blocks hidden_blocks",
                       "likewise"),
    ROWS_EXPERT_MATRIX("mlp.experts.#.down_proj", "hidden_size moe_intermediate_size", "hidden_blocks expert_blocks",
                       "likewise"),
    ROWS_SHARED_EXPERTS("mlp."),
    WEIGHT("shared_head.norm", "hidden_size", NULL, "gain of the last norm"),
    STAGE(eh_proj, "=hidden_states", "n_tokens hidden_size", "", "the layer's input"),
    STAGE(input_layernorm, "=hidden_states", "n_tokens hidden_size", "", "the attention block's input"),
    STAGE(q_a_layernorm, "=hidden_states", "n_tokens q_lora_rank", " q_lora_rank", "normalised query latent"),
    STAGE(q, "=hidden_states", "n_tokens num_attention_heads qk_head_dim", "", "rotated queries"),
    STAGE(kv, "=hidden_states", "n_tokens latent", "", "what an engine caches"),
    STAGE(attn_output, "=hidden_states", "n_tokens o_width", "", "weighted sums of values, heads side by side"),
    STAGE(self_attn, "=hidden_states", "n_tokens hidden_size", "", "the attention block's output"),
    STAGE(post_attention_layernorm, "=hidden_states", "n_tokens hidden_size", "", "the MoE layer's input"),
    STAGE(router_logits, "f32", "n_tokens n_routed_experts", "", "mlp.gate.weight x"),
    ROWS_CHOSEN,
    STAGE(act, "=hidden_states", "n_tokens num_experts_per_tok moe_intermediate_size", "",
          "silu(gate_proj x) * up_proj x of each expert chosen"),
    STAGE(shared_act, "=hidden_states", "n_tokens shared_width", " n_shared_experts", "the same of the shared experts"),
    STAGE(mlp, "=hidden_states", "n_tokens hidden_size", "", "the MoE layer's output"),
    {"y", TENSOR_OUT, IO(y), "=hidden_states", "n_tokens hidden_size", NULL,
     "what the shared head reads, and the next depth takes"},
    {.name = NULL},
};

/* ---- sizes ---- */

#define SIZE(name, value)                                                                                              \
    static int64_t name(const void *prob)                                                                              \
    {                                                                                                                  \
        const dsv3_mtp_prob *const p = prob;                                                                           \
        return value;                                                                                                  \
    }
SIZE(batch_and_1, p->batch + 1)
SIZE(two_hidden, 2 * p->hidden_size)
SIZE(latent, p->kv_lora_rank + p->qk_rope_head_dim)
SIZE(qk_head_dim, p->qk_nope_head_dim + p->qk_rope_head_dim)
SIZE(q_width, p->num_attention_heads *qk_head_dim(p))
SIZE(kv_b_width, p->num_attention_heads *(p->qk_nope_head_dim + p->v_head_dim))
SIZE(o_width, p->num_attention_heads * p->v_head_dim)
SIZE(shared_width, p->n_shared_experts * p->moe_intermediate_size)
SIZE(latent_blocks, blocks(latent(p)))
SIZE(hidden_blocks, blocks(p->hidden_size))
SIZE(q_blocks, blocks(q_width(p)))
SIZE(q_lora_blocks, blocks(p->q_lora_rank))
SIZE(kv_b_blocks, blocks(kv_b_width(p)))
SIZE(kv_lora_blocks, blocks(p->kv_lora_rank))
SIZE(o_blocks, blocks(o_width(p)))
SIZE(expert_blocks, blocks(p->moe_intermediate_size))
SIZE(shared_blocks, blocks(shared_width(p)))

static const derived_row derived[] = {DERIVED(batch_and_1),   DERIVED(two_hidden),     DERIVED(latent),
                                      DERIVED(qk_head_dim),   DERIVED(q_width),        DERIVED(kv_b_width),
                                      DERIVED(o_width),       DERIVED(shared_width),   DERIVED(latent_blocks),
                                      DERIVED(hidden_blocks), DERIVED(q_blocks),       DERIVED(q_lora_blocks),
                                      DERIVED(kv_b_blocks),   DERIVED(kv_lora_blocks), DERIVED(o_blocks),
                                      DERIVED(expert_blocks), DERIVED(shared_blocks),  {.name = NULL}};

static const list_row lists[] = {{"q_lens", "batch", NULL, "n_tokens", "rows of each sequence, as in 3+1+5"},
                                 {.name = NULL}};

/* ---- fills ---- */

static const dsv3_mtp_prob *prob_of(const struct problem *p)
{
    return (const dsv3_mtp_prob *)(const void *)p->prob.bytes;
}

static double begins(const struct problem *p, int64_t b)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < b; i++) sum += p->lists[0] ? p->list[0][i] : prob_of(p)->n_tokens / prob_of(p)->batch;
    return (double)sum;
}

/* Inputs of the matrix whose weight or scale this is. */
static int64_t fan_in(const dsv3_mtp_prob *p, const char *name)
{
    if (strstr(name, "q_b_proj")) return p->q_lora_rank;
    if (strstr(name, "kv_b_proj")) return p->kv_lora_rank;
    if (strstr(name, "o_proj")) return o_width(p);
    if (strstr(name, "eh_proj")) return two_hidden(p);
    if (!strstr(name, "down_proj")) return p->hidden_size;
    return strstr(name, "shared") ? shared_width(p) : p->moe_intermediate_size;
}

static weight_law law(const struct problem *p, const tensor_row *row)
{
    bool const scaled =
        problem_tensor(p, FIRST)->dtype == DSV3_F8_E4M3 && !is(row, "eh_proj.weight") && !is(row, "mlp.gate.weight");
    return weight_law_of(row->name, scaled, fan_in(prob_of(p), row->name));
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is(row, "cu_seqlens")) return begins(p, i);
    if (row->kind != TENSOR_WEIGHT) return rng_gaussian(bits);
    if (is(row, "mlp.gate.e_score_correction_bias")) return rng_gaussian(bits) / 8;
    return weight_value(p, row, bits);
}

/* Rows of different kinds: tiny (eps shows), large, one large entry, all alike; of the embedding another kind than
 * of the state. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const g = rng_gaussian(bits);
    int64_t const width = prob_of(p)->hidden_size, t = i / width, c = i % width;
    bool const embedding = is(row, "inputs_embeds");
    if (!embedding && !is(row, "hidden_states")) return real_value(p, row, i, bits);
    switch ((t + embedding + (int64_t)(p->seed % 4)) % 4) {
    case 0: return 0x1p-8 * g;
    case 1: return c == t % width ? 64 : g / 16;
    case 2: return 16 * g;
    default: return 0.7 + g / 64;
    }
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal states and embeddings"},
    {"adversarial", adversarial_value, "tiny, spiked, large and nearly constant rows"},
    FILL_TRAINED,
    {.name = NULL},
};

static const char *rule(const struct problem *p)
{
    const dsv3_mtp_prob *const m = prob_of(p);
    dsv3_dtype const x = problem_tensor(p, "hidden_states")->dtype, w = problem_tensor(p, FIRST)->dtype;
    if (m->qk_rope_head_dim % 2) return "qk_rope_head_dim is even: its elements are pairs";
    if (m->beta_fast < m->beta_slow) return "beta_fast is at least beta_slow";
    if (m->n_routed_experts % m->n_group) return "n_group divides n_routed_experts";
    if (m->topk_group > m->n_group) return "topk_group is at most n_group";
    if (m->topk_group * (m->n_routed_experts / m->n_group) < m->num_experts_per_tok)
        return "the topk_group groups kept hold at least num_experts_per_tok experts";
    if (w == DSV3_F32 && x == DSV3_BF16) return "weights of f32 need hidden states of f32: no public model mixes them";
    if (!p->lists[0] && m->n_tokens % m->batch) return "batch divides n_tokens, unless q_lens is given";
    return NULL;
}

/* The projections, and attention in the naive form. */
static double work(const void *prob)
{
    const dsv3_mtp_prob *const p = prob;
    double const h = (double)p->hidden_size, n = (double)p->n_tokens, expand = (double)kv_b_width(p);
    double const q = p->q_lora_rank ? (double)p->q_lora_rank * (h + (double)q_width(p)) : h * (double)q_width(p);
    double const experts = (double)p->num_experts_per_tok + (double)p->n_shared_experts;
    double const attention =
        q + h * (double)latent(p) + h * (double)o_width(p) + expand * ((double)p->kv_lora_rank + n);
    return n * (2 * h * h + attention + 3 * experts * h * (double)p->moe_intermediate_size +
                h * (double)p->n_routed_experts);
}

const op op_mtp = {
    .name = "mtp",
    .summary = "one depth of multi-token prediction: norms, eh_proj, a decoder layer, the shared head's norm",
    .source = "DeepSeek-V3 report (arXiv 2412.19437) 2.2; transformers, MtpLayer",
    .prob_size = sizeof(dsv3_mtp_prob),
    .io_size = sizeof(dsv3_mtp_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .derived = derived,
    .fills = fills,
    .rule = rule,
    .work = work,
    .lists = lists,
    .law = law,
    .staged = true,
    .choice = "topk_idx",
};
