/* bias_update: rows only. The formula is in ref/bias_update.c. */
#include "rows.h"

#include "case/rng.h"

#define FIELD(name) #name, offsetof(dsv3_bias_update_prob, name)
static const field_row fields[] = {
    {FIELD(n_routed_experts), FIELD_SIZE, 1, 65536, {256, 8, 16, 1}, "experts"},
    {FIELD(bias_update_speed), FIELD_REAL, 0, 1e6, {0.001, 0.001, 0.003, 0.001}, "the size of the step"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_bias_update_io, name)
static const tensor_row tensors[] = {
    {"load", TENSOR_IN, IO(load), "i32", "n_routed_experts", NULL, "assignments of each expert"},
    {"bias", TENSOR_IN, IO(bias), "f32", "n_routed_experts", NULL, "e_score_correction_bias"},
    {"bias_out", TENSOR_OUT, IO(bias_out), "f32", "n_routed_experts", NULL, "the bias after the step"},
    {.name = NULL},
};

static const dsv3_bias_update_prob *prob_of(const struct problem *p)
{
    return (const dsv3_bias_update_prob *)(const void *)p->prob.bytes;
}

static bool is_load(const tensor_row *row)
{
    return !strcmp(row->name, "load");
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)p, (void)i;
    return is_load(row) ? (double)rng_whole(bits, 0, 4096) : rng_gaussian(bits) / 8;
}

/* Biases so large that the step is added and rounded, whatever the step was rounded to. */
static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    (void)p, (void)i;
    return is_load(row) ? (double)rng_whole(bits, 0, 3) : (double)rng_whole(bits, 4, 7);
}

/* Pairs of experts as far above the mean as below it: by turns 0, 1, 0 and 2. One that has no partner has the mean. */
static double around(const struct problem *p, int64_t i, double mean)
{
    static const double off[] = {0, 1, 0, 2};
    bool const alone = i + 1 == prob_of(p)->n_routed_experts && i % 2 == 0;
    double const d = alone ? 0 : off[(uint64_t)(i / 2) % 4];
    return i % 2 ? mean - d : mean + d;
}

static double balanced_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    return is_load(row) ? around(p, i, 64) : rng_gaussian(bits) / 8;
}

/* Loads whose differences binary32 loses; biases by turns of any size, subnormal, and what one step back has left. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const g = rng_gaussian(bits);
    if (is_load(row)) return around(p, i, 2e9);
    switch ((i + (int64_t)(p->seed % 4)) % 4) {
    case 0: return g * 0x1p20;
    case 1: return g * 0x1p-130;
    case 2: return g < 0 ? -prob_of(p)->bias_update_speed : prob_of(p)->bias_update_speed;
    default: return 4 + g / 16;
    }
}

static const fill_row fills[] = {
    {"real", real_value, "loads of 0 to 4096, biases of both signs"},
    {"exact", exact_value, "loads of 0 to 3, whole biases: the step is rounded once"},
    {"balanced", balanced_value, "half of the experts have the mean load, the others are 1 or 2 off"},
    {"adversarial", adversarial_value,
     "loads near 2 * 10^9 that differ by 1 or 2; large, subnormal and cancelling biases"},
    {.name = NULL},
};

static double work(const void *prob)
{
    return 2 * (double)((const dsv3_bias_update_prob *)prob)->n_routed_experts;
}

const op op_bias_update = {
    .name = "bias_update",
    .summary = "one step of the balancing without auxiliary loss",
    .source = "DeepSeek-V3 report (arXiv 2412.19437) 2.1.2; arXiv 2408.15664, algorithm 1",
    .prob_size = sizeof(dsv3_bias_update_prob),
    .io_size = sizeof(dsv3_bias_update_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .fills = fills,
    .work = work,
};
