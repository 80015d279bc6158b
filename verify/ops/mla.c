/* mla: rows only. The formula is in ref/mla.c. */
#include "rows.h"

#include "case/paged_cache.h"
#include "case/rng.h"
#include "case/weight_values.h"
#include "case/trained.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_mla_prob, name)
static const field_row fields[] = {
    {FIELD(batch), FIELD_SIZE, 1, 4096, {1, 1, 3, 1}, "sequences"},
    {FIELD(n_tokens),
     FIELD_SIZE,
     1,
     65536,
     {2, 2, 6, 1},
     "new tokens, as many in each sequence unless q_lens is given"},
    {FIELD(kv_len), FIELD_SIZE, 1, 1048576, {70, 3, 11, 1}, "tokens of the longest sequence, new ones included"},
    {FIELD(page_size), FIELD_SIZE, 1, 4096, {64, 2, 4, 1}, "tokens a page"},
    {FIELD(hidden_size), FIELD_SIZE, 1, 65536, {7168, 4, 64, 1}, "width of a hidden state"},
    ROWS_ATTENTION,
    {FIELD(rms_norm_eps), FIELD_REAL, 0, 1, {1e-6, 1e-6, 1e-2, 1e-6}, "of the norms of the two latents"},
    ROWS_YARN,
    {FIELD(mscale_all_dim), FIELD_REAL, 0, 100, {1, 1, 1, 1}, "YaRN: amplitude, denominator, and the softmax scale"},
    {FIELD(rope_layout), FIELD_FLAG, 0, 1, {0, 0, 1, 0}, "rotated parts: 0 interleaved (2j, 2j+1), 1 half (j, j+r/2)"},
    {FIELD(stages), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "1: stages are written, and what follows is made of them"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_mla_io, name)
#define FIRST    "kv_a_proj_with_mqa.weight"
static const tensor_row tensors[] = {
    {"hidden_states", TENSOR_IN, IO(hidden_states), "bf16 f32", "n_tokens hidden_size", NULL, "normalised input"},
    {"cu_seqlens", TENSOR_IN, IO(cu_seqlens), "i32", "batch_and_1", NULL, "where each sequence's new tokens begin"},
    {"kv_cache", TENSOR_IN, IO(kv_cache), "=hidden_states", "pages page_size latent", NULL, "the past"},
    {"block_table", TENSOR_IN, IO(block_table), "i32", "batch table_width", NULL, "pages of each sequence"},
    {"cache_seqlens", TENSOR_IN, IO(cache_seqlens), "i32", "batch", NULL, "tokens of each sequence, new ones included"},
    {FIRST, TENSOR_WEIGHT, 0, "=hidden_states bf16 f32 f8_e4m3", "latent hidden_size", NULL,
     "to the latent and the shared key", NULL, "weights"},
    ROW_SCALES("kv_a_proj_with_mqa", "latent_blocks hidden_blocks", FP8, NULL),
    {"kv_a_layernorm.weight", TENSOR_WEIGHT, 0, "=hidden_states", "kv_lora_rank", NULL, "gain of the latent's norm"},
    ROWS_MATRIX_WHEN("!q_lora_rank", "q_proj", "q_width hidden_size", "q_blocks hidden_blocks",
                     "queries, without a query latent"),
    ROWS_MATRIX_WHEN("q_lora_rank", "q_a_proj", "q_lora_rank hidden_size", "q_lora_blocks hidden_blocks",
                     "to the query latent"),
    {"q_a_layernorm.weight", TENSOR_WEIGHT, 0, "=hidden_states", "q_lora_rank", "q_lora_rank",
     "gain of the query latent's norm"},
    ROWS_MATRIX_WHEN("q_lora_rank", "q_b_proj", "q_width q_lora_rank", "q_blocks q_lora_blocks",
                     "queries from the query latent"),
    ROWS_MATRIX("kv_b_proj", "kv_b_width kv_lora_rank", "kv_b_blocks kv_lora_blocks",
                "keys and values of each head from the latent"),
    ROWS_MATRIX("o_proj", "hidden_size o_width", "hidden_blocks o_blocks", "output"),
    {"q_a_layernorm", TENSOR_OUT, IO(q_a_layernorm), "=hidden_states", "n_tokens q_lora_rank", "stages q_lora_rank",
     "normalised query latent"},
    {"q", TENSOR_OUT, IO(q), "=hidden_states", "n_tokens num_attention_heads qk_head_dim", "stages", "rotated queries"},
    {"kv", TENSOR_OUT, IO(kv), "=hidden_states", "n_tokens latent", NULL, "what is cached"},
    {"attn_output", TENSOR_OUT, IO(attn_output), "=hidden_states", "n_tokens o_width", "stages",
     "weighted sums of values, heads side by side"},
    {"y", TENSOR_OUT, IO(y), "=hidden_states", "n_tokens hidden_size", NULL, "the block's output"},
    {.name = NULL},
};

/* ---- sizes ---- */

static paging paging_of_prob(const dsv3_mla_prob *p)
{
    return (paging){p->batch, p->page_size, p->kv_len, NULL, 0};
}

#define SIZE(name, value)                                                                                              \
    static int64_t name(const void *prob)                                                                              \
    {                                                                                                                  \
        const dsv3_mla_prob *const p = prob;                                                                           \
        return value;                                                                                                  \
    }
SIZE(batch_and_1, p->batch + 1)
SIZE(latent, p->kv_lora_rank + p->qk_rope_head_dim)
SIZE(qk_head_dim, p->qk_nope_head_dim + p->qk_rope_head_dim)
SIZE(q_width, p->num_attention_heads *qk_head_dim(p))
SIZE(kv_b_width, p->num_attention_heads *(p->qk_nope_head_dim + p->v_head_dim))
SIZE(o_width, p->num_attention_heads * p->v_head_dim)
SIZE(latent_blocks, blocks(latent(p)))
SIZE(hidden_blocks, blocks(p->hidden_size))
SIZE(q_blocks, blocks(q_width(p)))
SIZE(q_lora_blocks, blocks(p->q_lora_rank))
SIZE(kv_b_blocks, blocks(kv_b_width(p)))
SIZE(kv_lora_blocks, blocks(p->kv_lora_rank))
SIZE(o_blocks, blocks(o_width(p)))

static int64_t pages(const void *prob)
{
    paging const g = paging_of_prob(prob);
    return paging_pages(&g);
}

static int64_t table_width(const void *prob)
{
    paging const g = paging_of_prob(prob);
    return paging_table_width(&g);
}

static const derived_row derived[] = {
    DERIVED(batch_and_1),    DERIVED(latent),        DERIVED(qk_head_dim), DERIVED(q_width),
    DERIVED(kv_b_width),     DERIVED(o_width),       DERIVED(pages),       DERIVED(table_width),
    DERIVED(latent_blocks),  DERIVED(hidden_blocks), DERIVED(q_blocks),    DERIVED(q_lora_blocks),
    DERIVED(kv_lora_blocks), DERIVED(kv_b_blocks),   DERIVED(o_blocks),    {.name = NULL}};

static const list_row lists[] = {
    {"q_lens", "batch", NULL, "n_tokens", "new tokens of each sequence, as in 3+1+5"},
    {"kv_lens", "batch", "kv_len", NULL, "tokens of each sequence, new ones included, as in 3+8+9"},
    {.name = NULL}};

/* ---- fills ---- */

static const dsv3_mla_prob *prob_of(const struct problem *p)
{
    return (const dsv3_mla_prob *)(const void *)p->prob.bytes;
}

static paging paging_of(const struct problem *p)
{
    paging g = paging_of_prob(prob_of(p));
    g.lengths = p->lists[1] ? p->list[1] : NULL;
    g.seed = p->seed;
    return g;
}

static int64_t new_tokens(const struct problem *p, int64_t b)
{
    return p->lists[0] ? p->list[0][b] : prob_of(p)->n_tokens / prob_of(p)->batch;
}

static double index_value(const struct problem *p, const tensor_row *row, int64_t i, int64_t dead)
{
    paging const g = paging_of(p);
    int64_t sum = 0;
    if (is(row, "cache_seqlens")) return (double)paging_length(&g, i);
    if (is(row, "block_table"))
        return (double)paging_entry(&g, i / paging_table_width(&g), i % paging_table_width(&g), dead);
    for (int64_t b = 0; b < i; b++) sum += new_tokens(p, b);
    return (double)sum;
}

static bool is_index(const tensor_row *row)
{
    return is(row, "block_table") || is(row, "cache_seqlens") || is(row, "cu_seqlens");
}

/* Is slot i of the cache one of the past? */
static bool is_past(const struct problem *p, int64_t slot)
{
    paging const g = paging_of(p);
    int64_t b = 0;
    int64_t const token = paging_token(&g, slot, &b);
    return token >= 0 && token < paging_length(&g, b) - new_tokens(p, b);
}

/* Inputs of the matrix whose weight or scale this is. */
static int64_t fan_in(const dsv3_mla_prob *p, const char *name)
{
    if (!strncmp(name, "q_b", 3)) return p->q_lora_rank;
    if (!strncmp(name, "kv_b", 4)) return p->kv_lora_rank;
    if (!strncmp(name, "o_", 2)) return p->num_attention_heads * p->v_head_dim;
    return p->hidden_size;
}

static weight_law law(const struct problem *p, const tensor_row *row)
{
    bool const fp8 = problem_tensor(p, FIRST)->dtype == DSV3_F8_E4M3;
    return weight_law_of(row->name, fp8, fan_in(prob_of(p), row->name));
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is_index(row)) return index_value(p, row, i, 0);
    return row->kind == TENSOR_WEIGHT ? weight_value(p, row, bits) : rng_gaussian(bits);
}

static double nan_unused_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is_index(row)) return index_value(p, row, i, 2147480000);
    bool const unused = is(row, "kv_cache") && !is_past(p, i / latent(prob_of(p)));
    return unused ? (double)NAN : real_value(p, row, i, bits);
}

/* Tokens of different kinds: tiny (eps shows), large, one large entry, all alike. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const g = rng_gaussian(bits);
    int64_t const width = prob_of(p)->hidden_size, t = i / width, c = i % width;
    if (!is(row, "hidden_states")) return real_value(p, row, i, bits);
    switch ((t + (int64_t)(p->seed % 4)) % 4) {
    case 0: return 0x1p-8 * g;
    case 1: return c == t % width ? 64 : g / 16;
    case 2: return 16 * g;
    default: return 0.7 + g / 64;
    }
}

/* Shared keys of 64 times the size make scores beyond +-89: e^score overflows. */
static double large_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    const dsv3_mla_prob *const m = prob_of(p);
    double const v = real_value(p, row, i, bits);
    bool const shared = is(row, "kv_cache") && i % latent(m) >= m->kv_lora_rank;
    return shared || is(row, "hidden_states") ? 64 * v : v;
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal; what is past and slots that are not hold the same kind of numbers"},
    {"nan_unused", nan_unused_value, "as real; NaN where the cache holds no past, page 2147480000 in dead entries"},
    {"adversarial", adversarial_value, "tiny, spiked, large and nearly constant hidden states"},
    {"large", large_value, "hidden states and shared keys 64 times as large: e^score overflows"},
    FILL_TRAINED,
    {.name = NULL},
};

static const char *rule(const struct problem *p)
{
    const dsv3_mla_prob *const m = prob_of(p);
    dsv3_dtype const x = problem_tensor(p, "hidden_states")->dtype, w = problem_tensor(p, FIRST)->dtype;
    if (m->qk_rope_head_dim % 2) return "qk_rope_head_dim is even: its elements are pairs";
    if (m->beta_fast < m->beta_slow) return "beta_fast is at least beta_slow";
    if (w == DSV3_F32 && x == DSV3_BF16) return "weights of f32 need hidden states of f32: no public model mixes them";
    if (!p->lists[0] && m->n_tokens % m->batch) return "batch divides n_tokens, unless q_lens is given";
    for (int64_t b = 0; b < m->batch; b++)
        if (new_tokens(p, b) > (p->lists[1] ? p->list[1][b] : m->kv_len))
            return "kv_len counts the new tokens too: no sequence has fewer tokens than new ones";
    return NULL;
}

/* The projections, and attention in the naive form. */
static double work(const void *prob)
{
    const dsv3_mla_prob *const p = prob;
    double const h = (double)p->hidden_size, tokens = (double)p->n_tokens, c = (double)p->kv_lora_rank;
    double const q = p->q_lora_rank ? (double)p->q_lora_rank * (h + (double)q_width(p)) : h * (double)q_width(p);
    double const keys = (double)p->batch * (double)p->kv_len * c * (double)kv_b_width(p);
    return tokens * (q + h * (double)latent(p) + h * (double)o_width(p) + (double)p->kv_len * (double)kv_b_width(p)) +
           keys;
}

const op op_mla = {
    .name = "mla",
    .summary = "the attention block: projections, norms, rotation, attention with a paged past, output",
    .source = "DeepSeek-V2 report (arXiv 2405.04434) 2.1; transformers, DeepseekV3Attention",
    .prob_size = sizeof(dsv3_mla_prob),
    .io_size = sizeof(dsv3_mla_io),
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
};
