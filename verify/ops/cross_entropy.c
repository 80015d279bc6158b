/* cross_entropy: rows only. The formula is in ref/cross_entropy.c. */
#include "rows.h"

#include "case/token_logits.h"
#include "case/trained.h"

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

static const fill_row fills[] = {
    {"real", token_real, "near-normal logits, every fourth label ignored"},
    {"exact", token_exact, "one logit 0, the others -1024 to -4096: losses are whole numbers"},
    {"equal", token_equal, "rows of equal logits"},
    {"adversarial", token_adversarial,
     "by row: the label above all, another above all, +-10^4, +-30, subnormal logits"},
    {"large", token_large, "as real, a row near 120, -120, 720 or -760: e^logit overflows or vanishes"},
    FILL_TRAINED,
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
