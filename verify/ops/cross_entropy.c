/* cross_entropy: rows only. The formula is in ref/cross_entropy.c. */
#include "rows.h"

#include "case/large_scores.h"
#include "case/rng.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_cross_entropy_prob, name)
static const field_row fields[] = {
    {FIELD(n_tokens), FIELD_SIZE, 1, 65536, {4, 2, 40, 1}, "rows of logits"},
    {FIELD(vocab_size), FIELD_SIZE, 1, 1 << 20, {129280, 8, 97, 1}, "width of a row"},
    {FIELD(divisor), FIELD_FLAG, 0, 1, {0, 0, 1, 0}, "of the mean: 0 n_tokens, 1 the labels that are not ignored"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_cross_entropy_io, name)
static const tensor_row tensors[] = {
    {"logits", TENSOR_IN, IO(logits), "f32 bf16", "n_tokens vocab_size", NULL, "x times lm_head"},
    {"labels", TENSOR_IN, IO(labels), "i32", "n_tokens", NULL, "the right token, or -100: ignored"},
    {"loss", TENSOR_OUT, IO(loss), "f32", "n_tokens", NULL, "ln of the sum of e^logits, less the label's"},
    {"mean", TENSOR_OUT, IO(mean), "f32", "one", NULL, "sum of loss / divisor"},
    {.name = NULL},
};

static int64_t one(const void *prob)
{
    (void)prob;
    return 1;
}

static const derived_row derived[] = {{"one", one}, {.name = NULL}};

static const dsv3_cross_entropy_prob *prob_of(const struct problem *p)
{
    return (const dsv3_cross_entropy_prob *)(const void *)p->prob.bytes;
}

static bool is_label(const tensor_row *row)
{
    return row->name[1] == 'a';
}

/* A token; every fourth label, never the first, is ignored. */
static double label_value(const struct problem *p, int64_t t, uint64_t bits)
{
    return t % 4 == 2 ? DSV3_IGNORED : (double)rng_whole(bits, 0, prob_of(p)->vocab_size - 1);
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return is_label(row) ? label_value(p, i, bits) : rng_gaussian(bits) / 2;
}

/* The token whose logit stands out. */
static int64_t favourite(const struct problem *p, int64_t t)
{
    return rng_whole(rng_bits(rng_key(p->seed, "favourite"), (uint64_t)t), 0, prob_of(p)->vocab_size - 1);
}

/* One logit is 0, the others are whole thousands below: the loss is 0, or whole thousands. No label is ignored. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const width = prob_of(p)->vocab_size;
    int64_t const away = i % 2 && width > 1 ? rng_whole(bits, 1, width - 1) : 0;
    if (is_label(row)) return (double)((favourite(p, i) + away) % width);
    return i % width == favourite(p, i / width) ? 0 : -1024 * (double)rng_whole(bits, 1, 4);
}

/* All logits of a row are the same: the loss is ln vocab_size. */
static double equal_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return is_label(row) ? label_value(p, i, bits) : (double)(i / prob_of(p)->vocab_size % 7) / 4;
}

/* By row: the label's logit far above, another one far above, large logits of both signs, subnormal ones. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const width = prob_of(p)->vocab_size, t = is_label(row) ? i : i / width;
    int64_t const kind = (t + (int64_t)(p->seed % 5)) % 5;
    double const g = rng_gaussian(bits);
    if (is_label(row)) return kind == 0 ? (double)favourite(p, i) : t % 7 == 4 ? DSV3_IGNORED : label_value(p, 0, bits);
    bool const out = i % width == favourite(p, t);
    switch (kind) {
    case 0: return out ? 24 : g;
    case 1: return out ? 40 : g;
    case 2: return 2500 * g;
    case 3: return 20 * g;
    default: return ldexp(g, -135);
    }
}

static double large_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const near = is_label(row) ? 0 : large_score(p->seed, i / prob_of(p)->vocab_size);
    return near + real_value(p, row, i, bits);
}

static const fill_row fills[] = {
    {"real", real_value, "near-normal logits, every fourth label ignored"},
    {"exact", exact_value, "one logit 0, the others -1024 to -4096: losses are whole numbers"},
    {"equal", equal_value, "rows of equal logits"},
    {"adversarial", adversarial_value,
     "by row: the label above all, another above all, +-10^4, +-80, subnormal logits"},
    {"large", large_value, "as real, a row near 120, -120, 720 or -760: e^logit overflows or vanishes"},
    {.name = NULL},
};

static double work(const void *prob)
{
    const dsv3_cross_entropy_prob *const p = prob;
    return 10 * (double)p->n_tokens * (double)p->vocab_size;
}

const op op_cross_entropy = {
    .name = "cross_entropy",
    .summary = "loss = ln of the sum of e^logits, less the label's logit; its mean",
    .source = "DeepSeek-V3 report (arXiv 2412.19437) 2.2; transformers, loss/loss_utils.py, ForCausalLMLoss",
    .prob_size = sizeof(dsv3_cross_entropy_prob),
    .io_size = sizeof(dsv3_cross_entropy_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .derived = derived,
    .fills = fills,
    .work = work,
    .staged = true,
};
