/* See token_logits.h. */
#include "token_logits.h"

#include "large_scores.h"
#include "rng.h"

#include <math.h>

static int64_t width_of(const struct problem *p)
{
    return problem_tensor(p, "logits")->shape[1];
}

static bool is_grad(const tensor_row *row)
{
    return row->name[0] == 'g';
}

static bool is_label(const tensor_row *row)
{
    return row->name[1] == 'a';
}

/* A token; every fourth label, never the first, is ignored. */
static double label_value(const struct problem *p, int64_t t, uint64_t bits)
{
    return t % 4 == 2 ? DSV3_IGNORED : (double)rng_whole(bits, 0, width_of(p) - 1);
}

double token_real(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is_grad(row)) return rng_gaussian(bits);
    return is_label(row) ? label_value(p, i, bits) : rng_gaussian(bits) / 2;
}

/* The token whose logit stands out. */
static int64_t favourite(const struct problem *p, int64_t t)
{
    return rng_whole(rng_bits(rng_key(p->seed, "favourite"), (uint64_t)t), 0, width_of(p) - 1);
}

/* One logit is 0, the others are whole thousands below: the loss is 0, or whole thousands. No label is ignored. */
double token_exact(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const width = width_of(p);
    if (is_grad(row)) return ldexp(bits & 1 ? 1 : -1, (int)rng_whole(bits, -4, 4));
    int64_t const away = i % 2 && width > 1 ? rng_whole(bits, 1, width - 1) : 0;
    if (is_label(row)) return (double)((favourite(p, i) + away) % width);
    return i % width == favourite(p, i / width) ? 0 : -1024 * (double)rng_whole(bits, 1, 4);
}

/* All logits of a row are the same: the loss is ln vocab_size. */
double token_equal(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    if (is_grad(row)) return rng_gaussian(bits);
    return is_label(row) ? label_value(p, i, bits) : (double)(i / width_of(p) % 7) / 4;
}

/* By row: the label's logit far above, another one far above, large logits of both signs, subnormal ones. */
double token_adversarial(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    int64_t const width = width_of(p), t = is_label(row) ? i : i / width;
    int64_t const kind = (t + (int64_t)(p->seed % 5)) % 5;
    double const g = rng_gaussian(bits);
    if (is_grad(row)) return ldexp(g, (int)rng_whole(bits, -8, 60));
    if (is_label(row)) return kind == 0 ? (double)favourite(p, i) : t % 7 == 4 ? DSV3_IGNORED : label_value(p, 0, bits);
    bool const out = i % width == favourite(p, t);
    switch (kind) {
    case 0: return out ? 24 : g;
    case 1: return out ? 40 : g;
    case 2: return 2500 * g;
    case 3: return 8 * g;
    default: return ldexp(g, -135);
    }
}

double token_large(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits)
{
    double const near = is_label(row) || is_grad(row) ? 0 : large_score(p->seed, i / width_of(p));
    return near + token_real(p, row, i, bits);
}
