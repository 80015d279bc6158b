/* mla_prefill: rows only. The formula is in ref/mla_prefill.c. */
#include "rows.h"

#include "case/ragged_attention.h"
#include "case/trained.h"

#define FIELD(name) #name, offsetof(dsv3_mla_prefill_prob, name)
static const field_row fields[] = {
    {FIELD(batch), FIELD_SIZE, 1, 256, {1, 1, 3, 1}, "sequences"},
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {24, 2, 11, 1}, "queries of all sequences"},
    {FIELD(n_keys), FIELD_SIZE, 1, 1048576, {40, 2, 37, 1}, "keys of all sequences"},
    {FIELD(num_attention_heads), FIELD_SIZE, 1, 1024, {128, 2, 4, 1}, "heads"},
    {FIELD(qk_nope_head_dim), FIELD_SIZE, 1, 1024, {128, 2, 8, 1}, "part of a key without position"},
    {FIELD(qk_rope_head_dim), FIELD_SIZE, 2, 1024, {64, 2, 8, 2}, "rotary part of a key"},
    {FIELD(v_head_dim), FIELD_SIZE, 1, 8192, {128, 2, 12, 1}, "width of a value"},
    {FIELD(softmax_scale), FIELD_REAL, 1e-6, 1e6, {0.1352337788608801, 0.5, 0.3647822717625651, 1}, "multiplies q . k"},
    {FIELD(full), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "0: causal; 1: queries see every key", SINCE(mtp_inputs)},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_mla_prefill_io, name)
static const tensor_row tensors[] = {
    {"q", TENSOR_IN, IO(q), "bf16 f32", "n_tokens num_attention_heads key_width", NULL, "queries"},
    {"k", TENSOR_IN, IO(k), "=q", "n_keys num_attention_heads key_width", NULL, "keys of each head"},
    {"v", TENSOR_IN, IO(v), "=q", "n_keys num_attention_heads v_head_dim", NULL, "values of each head"},
    {"cu_seqlens_q", TENSOR_IN, IO(cu_seqlens_q), "i32", "starts", NULL, "first query of each sequence, and n_tokens"},
    {"cu_seqlens_k", TENSOR_IN, IO(cu_seqlens_k), "i32", "starts", NULL, "first key of each sequence, and n_keys"},
    {"o", TENSOR_OUT, IO(o), "=q", "n_tokens num_attention_heads v_head_dim", NULL, "weighted sums of values"},
    {"lse", TENSOR_OUT, IO(lse), "f32", "n_tokens num_attention_heads", NULL, "ln sum e^scores"},
    {.name = NULL},
};

static const derived_row derived[] = {{"key_width", ragged_key_width}, {"starts", ragged_starts}, {.name = NULL}};

static const list_row lists[] = {{"q_lens", "batch", NULL, "n_tokens", "queries of each sequence, as in 3+1+5"},
                                 {"kv_lens", "batch", NULL, "n_keys", "keys of each sequence, as in 3+8+5"},
                                 {.name = NULL}};

static const fill_row fills[] = {
    {"real", ragged_real, "near-normal"},
    {"exact", ragged_exact, "head h selects 2^(h mod 8) keys, the others vanish: o is a mean of whole numbers"},
    {"onehot", ragged_onehot, "each query selects one key: o is its value"},
    {"uniform", ragged_uniform, "each query selects as many keys as a power of two allows, all with the same score"},
    {"adversarial", ragged_adversarial,
     "by head: one key above equal ones, periodic, large, and equal scores; values near 1"},
    {"large", ragged_large,
     "one key scores near 94, -106, 98 or -112, others are far below: e^score overflows or vanishes"},
    FILL_TRAINED,
    {.name = NULL},
};

static double work(const void *prob)
{
    const dsv3_mla_prefill_prob *const p = prob;
    double const scores = (double)p->n_tokens * (double)p->num_attention_heads * (double)p->n_keys / (double)p->batch;
    return scores * (double)(ragged_key_width(p) + p->v_head_dim);
}

const op op_mla_prefill = {
    .name = "mla_prefill",
    .summary = "multi-head latent attention over keys and values of each head, causal or full, ragged: o and lse",
    .source = "DeepSeek-V2 report (arXiv 2405.04434) 2.1; deepseek-ai/DeepSeek-V3, inference/model.py, MLA, naive",
    .prob_size = sizeof(dsv3_mla_prefill_prob),
    .io_size = sizeof(dsv3_mla_prefill_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .derived = derived,
    .fills = fills,
    .rule = ragged_rule,
    .work = work,
    .lists = lists,
};
