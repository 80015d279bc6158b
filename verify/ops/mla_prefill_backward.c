/* mla_prefill_backward: rows, and the inputs that follow from others. The formula is in ref/mla_prefill_backward.c. */
#include "rows.h"

#include "case/ragged_attention.h"
#include "case/rng.h"

#include <math.h>
#include <stdlib.h>

#define FIELD(name) #name, offsetof(dsv3_mla_prefill_backward_prob, name)
static const field_row fields[] = {
    {FIELD(batch), FIELD_SIZE, 1, 256, {1, 1, 3, 1}, "sequences"},
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {24, 2, 11, 1}, "queries of all sequences"},
    {FIELD(n_keys), FIELD_SIZE, 1, 1048576, {40, 2, 37, 1}, "keys of all sequences"},
    {FIELD(num_attention_heads), FIELD_SIZE, 1, 1024, {128, 2, 4, 1}, "heads"},
    {FIELD(qk_nope_head_dim), FIELD_SIZE, 1, 1024, {128, 2, 8, 1}, "part of a key without position"},
    {FIELD(qk_rope_head_dim), FIELD_SIZE, 2, 1024, {64, 2, 8, 2}, "rotary part of a key"},
    {FIELD(v_head_dim), FIELD_SIZE, 1, 8192, {128, 2, 12, 1}, "width of a value"},
    {FIELD(softmax_scale), FIELD_REAL, 1e-6, 1e6, {0.1352337788608801, 0.5, 0.3647822717625651, 1}, "multiplies q . k"},
    {.name = NULL},
};
_Static_assert(sizeof(dsv3_mla_prefill_backward_prob) == offsetof(dsv3_mla_prefill_prob, full) &&
                   offsetof(dsv3_mla_prefill_backward_prob, softmax_scale) ==
                       offsetof(dsv3_mla_prefill_prob, softmax_scale),
               "the problem of mla_prefill where that is causal, of which it makes o and lse");

#define IO(name) offsetof(dsv3_mla_prefill_backward_io, name)
#define QUERIES  "n_tokens num_attention_heads key_width"
#define KEYS     "n_keys num_attention_heads key_width"
#define VALUES   "n_keys num_attention_heads v_head_dim"
#define MEANS    "n_tokens num_attention_heads v_head_dim"
static const tensor_row tensors[] = {
    {"q", TENSOR_IN, IO(q), "bf16 f32", QUERIES, NULL, "queries"},
    {"k", TENSOR_IN, IO(k), "=q", KEYS, NULL, "keys of each head"},
    {"v", TENSOR_IN, IO(v), "=q", VALUES, NULL, "values of each head"},
    {"cu_seqlens_q", TENSOR_IN, IO(cu_seqlens_q), "i32", "starts", NULL, "first query of each sequence, and n_tokens"},
    {"cu_seqlens_k", TENSOR_IN, IO(cu_seqlens_k), "i32", "starts", NULL, "first key of each sequence, and n_keys"},
    {"o", TENSOR_IN, IO(o), "=q", MEANS, NULL, "o of mla_prefill, to nearest"},
    {"lse", TENSOR_IN, IO(lse), "f32", "n_tokens num_attention_heads", NULL, "lse of mla_prefill, to nearest"},
    {"grad_o", TENSOR_IN, IO(grad_o), "=q", MEANS, NULL, "gradient by o"},
    {"grad_q", TENSOR_OUT, IO(grad_q), "=q", QUERIES, NULL, "gradient by q"},
    {"grad_k", TENSOR_OUT, IO(grad_k), "=q", KEYS, NULL, "gradient by k"},
    {"grad_v", TENSOR_OUT, IO(grad_v), "=q", VALUES, NULL, "gradient by v"},
    {.name = NULL},
};

static const derived_row derived[] = {{"key_width", ragged_key_width}, {"starts", ragged_starts}, {.name = NULL}};

static const list_row lists[] = {{"q_lens", "batch", NULL, "n_tokens", "queries of each sequence, as in 3+1+5"},
                                 {"kv_lens", "batch", NULL, "n_keys", "keys of each sequence, as in 3+8+5"},
                                 {.name = NULL}};

/* ---- o and lse ---- */

/* A binary64 number whose nearest value in a coarser format is that of hi + lo: where lo isn't 0 its last bit is 1. */
static double to_odd(double hi, double lo)
{
    uint64_t bits;
    memcpy(&bits, &hi, sizeof bits);
    return lo == 0 || bits & 1 ? hi : nextafter(hi, lo > 0 ? INFINITY : -INFINITY);
}

static void store_nearest(const dsv3_tensor *t, const ref_value *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++) ref_encode(t->dtype, t->data, i, to_odd(v[i].hi, v[i].lo));
}

/* By the formula of mla_prefill; the tensors are compact. */
static bool fill_forward(const void *prob, const dsv3_mla_prefill_backward_io *io)
{
    int64_t const rows = io->lse.shape[0] * io->lse.shape[1], n = rows * io->o.shape[2];
    dsv3_mla_prefill_io const forward = {.q = io->q,
                                         .k = io->k,
                                         .v = io->v,
                                         .cu_seqlens_q = io->cu_seqlens_q,
                                         .cu_seqlens_k = io->cu_seqlens_k,
                                         .o = io->o,
                                         .lse = io->lse};
    dsv3_mla_prefill_prob causal = {.full = 0};
    memcpy(&causal, prob, sizeof(dsv3_mla_prefill_backward_prob));
    ref_reading const exact = {.declared = NULL};
    ref_value *const value = calloc((size_t)(rows + n), sizeof *value);
    bool const good = value && ref_dd.mla_prefill(&exact, &causal, &forward, (ref_value *const[]){value, value + n});
    if (good) store_nearest(&io->o, value, n), store_nearest(&io->lse, value + n, rows);
    free(value);
    return good;
}

static bool derive(const struct problem *p, void *const data[])
{
    void *const io = problem_bind(p, data);
    bool const good = io && fill_forward(p->prob.bytes, io);
    free(io);
    return good;
}

/* ---- fills ---- */

/* Each query's scores are shifted by 96, or by -96. */
static double shifted_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const width = ragged_key_width(p->prob.bytes);
    bool const last = i % width == width - 1;
    double const shift = 96 / ((const dsv3_mla_prefill_prob *)(const void *)p->prob.bytes)->softmax_scale;
    if (is(row, "q") && last) return i / width % 2 ? shift : -shift;
    return is(row, "k") && last ? 1 + rng_gaussian(bits) / 64 : ragged_real(p, row, i, bits);
}

/* Where scores of several tens leave one key all the weight dS is 0, and rounding errors are all that a port has. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const v = ragged_adversarial(p, row, i, bits);
    return is(row, "q") && fabs(v) == fabs(8 * rng_gaussian(bits)) ? v / 8 : v;
}

static const fill_row fills[] = {
    {"real", ragged_real, "near-normal"},
    {"exact", ragged_exact, "head h selects 2^(h mod 8) keys, the others vanish; whole values and gradients"},
    {"onehot", ragged_onehot, "each query selects one key: dS is 0, grad_v a sum of whole numbers"},
    {"uniform", ragged_uniform, "each query selects as many keys as a power of two allows, all with the same score"},
    {"adversarial", adversarial_value,
     "by head: one key above equal ones, periodic, near-normal, and equal scores; values and gradients near 1"},
    {"shifted", shifted_value, "as real, a query's scores near 96 or -96: e^score overflows or is subnormal"},
    {.name = NULL},
};

static double work(const void *prob)
{
    const dsv3_mla_prefill_backward_prob *const p = prob;
    double const scores = (double)p->n_tokens * (double)p->num_attention_heads * (double)p->n_keys / (double)p->batch;
    return scores * (double)(3 * ragged_key_width(p) + 2 * p->v_head_dim);
}

const op op_mla_prefill_backward = {
    .name = "mla_prefill_backward",
    .summary = "gradients of causal multi-head attention by queries, keys and values, ragged",
    .source =
        "derivative of mla_prefill; Dao et al. (arXiv 2205.14135), appendix B.2; Dao (arXiv 2307.08691), algorithm 2",
    .prob_size = sizeof(dsv3_mla_prefill_backward_prob),
    .io_size = sizeof(dsv3_mla_prefill_backward_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .derived = derived,
    .derive = derive,
    .fills = fills,
    .rule = ragged_rule,
    .work = work,
    .lists = lists,
};
