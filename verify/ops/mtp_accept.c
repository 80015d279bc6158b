/* mtp_accept: rows only. The formula is in ref/mtp_accept.c. */
#include "rows.h"

#include "case/rng.h"

#include <math.h>

#define FIELD(name) #name, offsetof(dsv3_mtp_accept_prob, name)
static const field_row fields[] = {
    {FIELD(batch), FIELD_SIZE, 1, 65536, {4, 8, 60, 1}, "sequences"},
    {FIELD(n_draft), FIELD_SIZE, 1, 16, {1, 2, 3, 1}, "drafted tokens of a sequence"},
    {FIELD(vocab_size), FIELD_SIZE, 1, 1048576, {129280, 8, 97, 1}, "tokens of the vocabulary"},
    {FIELD(greedy), FIELD_FLAG, 0, 1, {0, 0, 0, 0}, "1: argmax decides; 0: draws"},
    {.name = NULL},
};

#define IO(name) offsetof(dsv3_mtp_accept_io, name)
static const tensor_row tensors[] = {
    {"draft_tokens", TENSOR_IN, IO(draft_tokens), "i32", "batch n_draft", NULL, "drafts, drawn from draft_probs"},
    {"draft_probs", TENSOR_IN, IO(draft_probs), "f32", "batch n_draft vocab_size", NULL, "q"},
    {"target_probs", TENSOR_IN, IO(target_probs), "f32", "batch positions vocab_size", NULL, "p"},
    {"uniforms", TENSOR_IN, IO(uniforms), "f32", "batch positions", NULL, "one a draft, and one for next_token"},
    {"accepted", TENSOR_OUT, IO(accepted), "i32", "batch", NULL, "drafts accepted"},
    {"next_token", TENSOR_OUT, IO(next_token), "i32", "batch", NULL, "the token after them"},
    {.name = NULL},
};

static int64_t positions(const void *prob)
{
    return ((const dsv3_mtp_accept_prob *)prob)->n_draft + 1;
}

static const derived_row derived[] = {{"positions", positions}, {.name = NULL}};

static const dsv3_mtp_accept_prob *prob_of(const struct problem *p)
{
    return (const dsv3_mtp_accept_prob *)(const void *)p->prob.bytes;
}

/* A position of a sequence. p and q of it rank the tokens alike: rank 0 is somewhere, the others follow it. */
typedef struct {
    int64_t b, i;
} place;

/* The place that element k of a tensor belongs to, of so many elements a position. */
static place place_of(const struct problem *p, const tensor_row *row, int64_t k, int64_t width)
{
    const dsv3_mtp_accept_prob *const m = prob_of(p);
    bool const target = is(row, "target_probs") || is(row, "uniforms");
    int64_t const rows = m->n_draft + target;
    return (place){k / width / rows, k / width % rows};
}

static uint64_t draw(const struct problem *p, const char *name, place at)
{
    return rng_bits(rng_key(p->seed, name), (uint64_t)(at.b * (prob_of(p)->n_draft + 1) + at.i));
}

static int64_t first_token(const struct problem *p, place at)
{
    return rng_whole(draw(p, "first", at), 0, prob_of(p)->vocab_size - 1);
}

static int64_t rank_of(const struct problem *p, place at, int64_t token)
{
    int64_t const n = prob_of(p)->vocab_size;
    return (token + n - first_token(p, at)) % n;
}

static int64_t token_of(const struct problem *p, place at, int64_t rank)
{
    return (rank + first_token(p, at)) % prob_of(p)->vocab_size;
}

/* ---- two families of distributions over ranks ---- */

/* Weights c / ((k + c) (k + c + 1)), which add up to V / (V + c): p is sharper than q at even places, blunter at
 * odd ones. */
static double sharpness(place at, bool target)
{
    return target == ((at.b + at.i) % 2 == 0) ? 1 : 3;
}

static double smooth(const struct problem *p, place at, bool target, int64_t rank)
{
    double const v = (double)prob_of(p)->vocab_size, c = sharpness(at, target), k = (double)rank;
    return c * (v + c) / v / ((k + c) * (k + c + 1));
}

/* A rank drawn from q. */
static int64_t smooth_draft(const struct problem *p, place at)
{
    double const u = (double)(draw(p, "draft", at) >> 40) * 0x1p-24, c = sharpness(at, false);
    double const rank = floor(c / (1 - u)) - c, last = (double)prob_of(p)->vocab_size - 1;
    return (int64_t)fmin(rank, last);
}

/* Whole eighths for the first four ranks; the last rank of a smaller vocabulary takes the rest. */
static double eighths(const struct problem *p, place at, const int weight[2][4], int64_t rank)
{
    const int *const w = weight[(at.b + at.i) % 2];
    int sum = 0;
    if (rank > 3) return 0;
    for (int64_t k = 0; k < rank; k++) sum += w[k];
    return (rank == prob_of(p)->vocab_size - 1 ? 8 - sum : w[rank]) / 8.0;
}

static int64_t eighths_draft(const struct problem *p, place at)
{
    int64_t const n = prob_of(p)->vocab_size;
    return rng_whole(draw(p, "draft", at), 0, (n < 4 ? n : 4) - 1);
}

/* ---- fills ---- */

static double any_uniform(uint64_t bits)
{
    return (double)(bits >> 40) * 0x1p-24;
}

static double real_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const n = prob_of(p)->vocab_size;
    if (is(row, "uniforms")) return any_uniform(bits);
    if (is(row, "draft_tokens")) {
        place const at = place_of(p, row, i, 1);
        return (double)token_of(p, at, smooth_draft(p, at));
    }
    place const at = place_of(p, row, i, n);
    return smooth(p, at, is(row, "target_probs"), rank_of(p, at, i % n));
}

/* Distributions of whole eighths; no threshold of theirs is an odd 64th. */
static double coarse(const struct problem *p, const tensor_row *row, int64_t i, const int target[2][4], double uniform)
{
    static const int draft[2][4] = {{2, 4, 1, 1}, {4, 2, 1, 1}};
    int64_t const n = prob_of(p)->vocab_size;
    if (is(row, "uniforms")) return uniform;
    if (is(row, "draft_tokens")) {
        place const at = place_of(p, row, i, 1);
        return (double)token_of(p, at, eighths_draft(p, at));
    }
    place const at = place_of(p, row, i, n);
    return eighths(p, at, is(row, "target_probs") ? target : draft, rank_of(p, at, i % n));
}

static double exact_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    static const int target[2][4] = {{4, 2, 1, 1}, {1, 1, 2, 4}};
    return coarse(p, row, i, target, (double)(2 * rng_whole(bits, 0, 31) + 1) / 64);
}

static double tie_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    static const int target[2][4] = {{2, 2, 2, 2}, {3, 3, 1, 1}};
    return coarse(p, row, i, target, (double)rng_whole(bits, 0, 7) / 8);
}

/* Each uniform a few last bits from p(x) / q(x). */
static double neartie_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    place const at = place_of(p, row, i, 1);
    if (!is(row, "uniforms") || at.i == prob_of(p)->n_draft) return real_value(p, row, i, bits);
    int64_t const rank = smooth_draft(p, at);
    double const ratio = smooth(p, at, true, rank) / smooth(p, at, false, rank);
    double const u = ratio * (1 + (double)rng_whole(bits, -6, 6) * 0x1p-24);
    return u < 1 - 0x1p-20 ? u : any_uniform(bits);
}

/* q is sure of its draft, as a draft by argmax is. */
static double onehot_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const n = prob_of(p)->vocab_size;
    place const at = place_of(p, row, i, n);
    if (!is(row, "draft_probs")) return real_value(p, row, i, bits);
    return rank_of(p, at, i % n) == smooth_draft(p, at);
}

/* By sequence: a draft that p excludes, with u = 0; q like p; p and q sure of one token, u near 1; p almost 1, the
 * rest below 2^-120. */
static double adversarial_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const n = prob_of(p)->vocab_size;
    bool const whole = is(row, "draft_probs") || is(row, "target_probs"), target = is(row, "target_probs");
    place const at = place_of(p, row, i, whole ? n : 1);
    int64_t const kind = (at.b + (int64_t)(p->seed % 4)) % 4, rank = whole ? rank_of(p, at, i % n) : 0, last = n - 1;
    if (is(row, "uniforms"))
        return kind == 0 && at.i < prob_of(p)->n_draft ? 0 : kind == 2 ? 1 - 0x1p-24 : any_uniform(bits);
    if (is(row, "draft_tokens")) return (double)token_of(p, at, kind == 0 ? last : kind == 1 ? smooth_draft(p, at) : 0);
    switch (kind) {
    case 0: return target ? rank == 0 : (rank == 0 ? 0.5 : 0) + (rank == last ? 0.5 : 0);
    case 1: return smooth(p, at, true, rank);
    case 2: return rank == 0;
    default: return rank == 0 ? 1 : (target ? 3 : 1) * 0x1p-140 * (double)(rank % 5);
    }
}

static const fill_row fills[] = {
    {"real", real_value, "weights that fall like 1/k^2, p sharper than q by turns; drafts drawn from q"},
    {"exact", exact_value, "whole eighths, uniforms of odd 64ths: every decision is certain"},
    {"tie", tie_value, "whole eighths, uniforms of eighths: many decisions are ties, and so is the argmax"},
    {"neartie", neartie_value, "as real, each uniform a few last bits from p(x) / q(x)"},
    {"onehot", onehot_value, "as real, q is 1 at the draft"},
    {"adversarial", adversarial_value,
     "by sequence: drafts that p excludes and u = 0, p = q, sure distributions and u near 1, subnormal tails"},
    {.name = NULL},
};

static double work(const void *prob)
{
    const dsv3_mtp_accept_prob *const p = prob;
    return 20 * (double)p->batch * (double)p->n_draft * (double)p->vocab_size;
}

const op op_mtp_accept = {
    .name = "mtp_accept",
    .summary = "which drafted tokens are accepted, and the token after them",
    .source = "Leviathan et al. (arXiv 2211.17192), algorithm 1; DeepSeek-V3 report (arXiv 2412.19437) 5.4.3",
    .prob_size = sizeof(dsv3_mtp_accept_prob),
    .io_size = sizeof(dsv3_mtp_accept_io),
    .weights_offset = IO(weights),
    .fields = fields,
    .tensors = tensors,
    .derived = derived,
    .fills = fills,
    .work = work,
    .staged = true,
};
