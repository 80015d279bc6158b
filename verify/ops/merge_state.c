/* merge_state: rows only. The formula is in ref/merge_state.c. */
#include "rows.h"

#include "case/rng.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_merge_state_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {16, 3, 11, 1}, "queries"},
    {FIELD(num_attention_heads), FIELD_SIZE, 1, 1024, {128, 2, 4, 1}, "heads"},
    {FIELD(v_head_dim), FIELD_SIZE, 1, 8192, {128, 2, 12, 1}, "width of o"},
    {FIELD(lse_base), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "base of each lse: 0 e, 1 2"},
    {FIELD(empty), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "without keys lse is: 0 -infinity, 1 that or +infinity"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_merge_state_io, name)
static const tensor_row tensors[] = {
    {"o_a", TENSOR_IN, IO(o_a), "bf16 f32", "n_tokens num_attention_heads v_head_dim", NULL,
     "attention over some keys"},
    {"lse_a", TENSOR_IN, IO(lse_a), "f32", "n_tokens num_attention_heads", NULL, "its log sum e^scores"},
    {"o_b", TENSOR_IN, IO(o_b), "=o_a", "n_tokens num_attention_heads v_head_dim", NULL, "attention over other keys"},
    {"lse_b", TENSOR_IN, IO(lse_b), "f32", "n_tokens num_attention_heads", NULL, "its log sum e^scores"},
    {"o", TENSOR_OUT, IO(o), "=o_a", "n_tokens num_attention_heads v_head_dim", NULL, "attention over all of them"},
    {"lse", TENSOR_OUT, IO(lse), "f32", "n_tokens num_attention_heads", NULL, "its log sum e^scores"},
    {.name = NULL},
};

static const dsv3_merge_state_prob *prob_of(const struct problem *p)
{
    return (const dsv3_merge_state_prob *)(const void *)p->prob.bytes;
}

static bool is_lse(const tensor_row *row)
{
    return row->name[0] == 'l';
}

static bool is_a(const tensor_row *row)
{
    return is(row, "o_a") || is(row, "lse_a");
}

/* The query and head that an element belongs to, as one number. */
static int64_t row_of(const struct problem *p, const tensor_row *row, int64_t i)
{
    return is_lse(row) ? i : i / prob_of(p)->v_head_dim;
}

/* A draw that both parts of a row have. */
static uint64_t shared(const struct problem *p, int64_t r)
{
    return rng_bits(rng_key(p->seed, "merge"), (uint64_t)r);
}

/* A natural lse in the case's base. */
static double in_base(const struct problem *p, double lse)
{
    return prob_of(p)->lse_base ? lse * 1.4426950408889634 : lse;
}

/* lse of some hundreds of keys, close to each other. */
static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const g = rng_gaussian(bits);
    (void)i;
    return is_lse(row) ? in_base(p, 6 + 1.5 * g) : g;
}

/* Parts as large as each other, and even whole numbers: o is their mean. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is_lse(row)) return (double)(rng_bits(shared(p, i), 1) % 17) - 8;
    return 2 * (double)rng_whole(bits, -8, 8);
}

enum { BOTH, ONLY_A, ONLY_B, NEITHER, KINDS };

/* Which parts of a row have keys. */
static int64_t kind_of(int64_t r)
{
    return (r + r / 7) % KINDS;
}

/* Without keys in a part, or in both: its o is NaN. */
static double empty_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const r = row_of(p, row, i), kind = kind_of(r);
    bool const there = kind == BOTH || kind == (is_a(row) ? ONLY_A : ONLY_B);
    if (there) return real_value(p, row, i, bits);
    if (!is_lse(row)) return (double)NAN;
    return prob_of(p)->empty && (r & 1) ? HUGE_VAL : -HUGE_VAL;
}

/* By row: far apart, both far below or above 0, e^-x near the least numbers, equal, one bit apart. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const g = rng_gaussian(bits);
    int64_t const kind = row_of(p, row, i) % 7;
    bool const a = is_a(row);
    if (!is_lse(row)) return kind == 0 ? ldexp(g, a ? 60 : -60) : kind == 1 ? ldexp(g, a ? -30 : 30) : 1 + g / 64;
    switch (kind) {
    case 0: return in_base(p, a ? -20 : 20);
    case 1: return in_base(p, 9000 + g);
    case 2: return in_base(p, -9000 + g);
    case 3: return in_base(p, a ? 5 : -82 + g);
    case 4: return in_base(p, a ? 90 + g : -15);
    case 5: return 3;
    default: return a ? 1 : 1 + 0x1p-23;
    }
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal o, lse near 6"},
    {"exact", exact_value, "the two lse are equal, o are even whole numbers: o is their mean"},
    {"empty", empty_value, "rows in which a, b, both or none have keys; o without keys is NaN"},
    {"adversarial", adversarial_value, "lse far apart, far from 0, equal, one bit apart; parts of very different size"},
    {.name = NULL},
};

static double work(const void *prob)
{
    const dsv3_merge_state_prob *const p = prob;
    return 8 * (double)p->n_tokens * (double)p->num_attention_heads * (double)p->v_head_dim;
}

const op op_merge_state = {
    .name = "merge_state",
    .summary = "two attentions over different keys become one over all of them: o and lse",
    .source =
        "vllm-project/vllm, vllm/v1/attention/ops/triton_merge_attn_states.py; sgl-project/sglang, merge_state_v2",
    .prob_size = sizeof(dsv3_merge_state_prob),
    .io_size = sizeof(dsv3_merge_state_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .work = work,
};
