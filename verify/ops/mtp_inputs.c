/* mtp_inputs: rows only. The formula is in ref/mtp_inputs.c. */
#include "rows.h"

#include "case/rng.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_mtp_inputs_prob, name)
static const field_row fields[] = {
    {FIELD(batch), FIELD_SIZE, 1, 4096, {2, 1, 3, 1}, "sequences"},
    {FIELD(n_tokens), FIELD_SIZE, 1, 1048576, {64, 4, 17, 1}, "rows of all sequences"},
    {FIELD(depth), FIELD_SIZE, 1, 1048576, {1, 1, 2, 1}, "of the module, 1 the first: how far ids are shifted"},
    {FIELD(tail), FIELD_FLAG, 0, 1, {0, 0, 1, 0}, "labels past the end: 0 are 0, 1 are -100"},
    {FIELD(labels_given), FIELD_FLAG, 0, 1, {1, 1, 1, 0}, "1: labels is read; 0: the ids are shifted once more"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_mtp_inputs_io, name)
static const tensor_row tensors[] = {
    {"input_ids", TENSOR_IN, IO(input_ids), "i32", "n_tokens", NULL, "tokens"},
    {"cu_seqlens", TENSOR_IN, IO(cu_seqlens), "i32", "boundaries", NULL, "where sequences begin, and the end"},
    {"labels", TENSOR_IN, IO(labels), "i32", "n_tokens", "labels_given", "the token after each, or -100: ignored"},
    {"loss_mask", TENSOR_IN, IO(loss_mask), "f32", "n_tokens", NULL, "what a label's loss is multiplied with"},
    {"mtp_input_ids", TENSOR_OUT, IO(mtp_input_ids), "i32", "n_tokens", NULL, "tokens to embed"},
    {"mtp_labels", TENSOR_OUT, IO(mtp_labels), "i32", "n_tokens", NULL, "tokens to predict"},
    {"mtp_loss_mask", TENSOR_OUT, IO(mtp_loss_mask), "f32", "n_tokens", NULL, "what a label's loss is multiplied with"},
    {"valid", TENSOR_OUT, IO(valid), "i32", "n_tokens", NULL, "1: the token to embed is of the sequence; 0"},
    {.name = NULL},
};

static int64_t boundaries(const void *prob)
{
    return ((const dsv3_mtp_inputs_prob *)prob)->batch + 1;
}

static const derived_row derived[] = {{"boundaries", boundaries}, {.name = NULL}};

static const list_row lists[] = {{"seq_lens", "batch", NULL, "n_tokens", "rows of each sequence, as in 3+0+4"},
                                 {.name = NULL}};

/* The first row of sequence b; without a list all are as long, or one longer than others. */
static double start_of(const struct problem *p, int64_t b)
{
    const dsv3_mtp_inputs_prob *const d = (const dsv3_mtp_inputs_prob *)(const void *)p->prob.bytes;
    int64_t sum = 0;
    if (!p->lists[0]) return (double)(d->n_tokens * b / d->batch);
    for (int64_t i = 0; i < b; i++) sum += p->list[0][i];
    return (double)sum;
}

enum { VOCABULARY = 129280 };

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is(row, "cu_seqlens")) return start_of(p, i);
    if (is(row, "loss_mask")) return bits % 4 ? 1 : 0;
    if (is(row, "labels") && bits % 5 == 0) return DSV3_IGNORED;
    return (double)rng_whole(bits, 0, VOCABULARY - 1);
}

/* Numbers that count: wherever one comes from, it says so. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)bits;
    if (is(row, "cu_seqlens")) return start_of(p, i);
    if (is(row, "loss_mask")) return (double)(i + 1);
    return (double)(i + (is(row, "labels") ? 3000001 : 1000001));
}

/* The largest and the least ids; masks of every exponent and sign, zeros of both. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const g = rng_gaussian(bits);
    if (is(row, "cu_seqlens")) return start_of(p, i);
    if (is(row, "loss_mask")) return i % 5 == 3 ? copysign(0, g) : ldexp(g, (int)rng_whole(bits << 24, -147, 125));
    double const near = (double)rng_whole(bits, 0, 3);
    if (is(row, "labels") && i % 3 == 2) return DSV3_IGNORED;
    return i % 2 ? near : 0x7fffffff - near;
}

static const fill_row fills[] = {
    {"real", real_value, "any ids of V3's vocabulary, every fifth label ignored, masks of 0 and 1"},
    {"exact", exact_value, "ids, labels and masks that count rows"},
    {"adversarial", adversarial_value, "least and largest ids; masks of every exponent, subnormals, both zeros"},
    {.name = NULL},
};

static double work(const void *prob)
{
    return 4 * (double)((const dsv3_mtp_inputs_prob *)prob)->n_tokens;
}

const op op_mtp_inputs = {
    .name = "mtp_inputs",
    .summary = "ids, labels and mask of a module of multi-token prediction: sequences shifted to the left",
    .source = "DeepSeek-V3 report (arXiv 2412.19437) 2.2; NVIDIA/Megatron-LM, multi_token_prediction.py, roll_tensor",
    .prob_size = sizeof(dsv3_mtp_inputs_prob),
    .io_size = sizeof(dsv3_mtp_inputs_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .derived = derived,
    .fills = fills,
    .work = work,
    .lists = lists,
};
