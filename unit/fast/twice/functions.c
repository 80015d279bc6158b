/* See functions.h. Compiled twice. */
#include "functions.h"

#include "../../../fast/elementwise.h"

#include <string.h>

static vec number(const uint32_t *in, int i)
{
    vec v;
    memcpy(&v, in + i * WIDTH, sizeof v);
    return v;
}

static void give(uint32_t out[WORDS], int i, vec v)
{
    memcpy(out + i * WIDTH, &v, sizeof v);
}

static pairs pair(const uint32_t in[WORDS], int i)
{
    pairs p;
    memcpy(&p, in + i * WIDTH, sizeof p);
    return p;
}

static void give_pairs(uint32_t out[WORDS], int i, pairs p)
{
    memcpy(out + i * WIDTH, &p, sizeof p);
}

/* Bits of a number from 2^low to 2^high. */
static vec between(const uint32_t in[WORDS], int i, int low, int high)
{
    uint32_t bits[WIDTH];
    for (int l = 0; l < WIDTH; l++) {
        uint32_t const word = in[i * WIDTH + l],
                       exponent = (uint32_t)(127 + low) + (word >> 23) % (uint32_t)(high - low);
        bits[l] = exponent << 23 | (word & 0x7fffff);
    }
    return number(bits, 0);
}

static void above(const uint32_t in[WORDS], uint32_t out[WORDS])
{
    out[0] = vec_above(number(in, 0), number(in, 1)), out[1] = vec_above(number(in, 0), number(in, 0));
}

static void not_below(const uint32_t in[WORDS], uint32_t out[WORDS])
{
    out[0] = vec_not_below(number(in, 0), number(in, 1)), out[1] = vec_not_below(number(in, 0), number(in, 0));
}

static void transpose(const uint32_t in[WORDS], uint32_t out[WORDS])
{
    vec v[WIDTH];
    for (int i = 0; i < WIDTH; i++) v[i] = number(in, i);
    vec_transpose(v);
    for (int i = 0; i < WIDTH; i++) give(out, i, v[i]);
}

static void part_and_join(const uint32_t in[WORDS], uint32_t out[WORDS])
{
    vec v[4];
    vec_part(number(in, 0), number(in, 1), &v[0], &v[1]);
    vec_join(number(in, 0), number(in, 1), &v[2], &v[3]);
    for (int i = 0; i < 4; i++) give(out, i, v[i]);
}

static void times_power(const uint32_t in[WORDS], uint32_t out[WORDS])
{
    give(out, 0, vec_times_power(between(in, 0, -1, 1), between(in, 1, 23, 24), (lanes)in[2 * WIDTH]));
}

static void weight(const uint32_t in[WORDS], uint32_t out[WORDS])
{
    give(out, 0, vec_weight(vec_sub(vec_of(0), vec_abs(number(in, 0)))));
    give(out, 1, vec_weight(vec_sub(vec_of(0), between(in, 1, -30, 7))));
}

static void exponential(const uint32_t in[WORDS], uint32_t out[WORDS])
{
    give(out, 0, vec_exp(number(in, 0)));
    give(out, 1, vec_exp(between(in, 1, -30, 7)));
}

static void quotient(const uint32_t in[WORDS], uint32_t out[WORDS])
{
    vec const b = between(in, 1, -1, 30);
    give(out, 0, vec_quotient(number(in, 0), b, vec_div(vec_of(1), b)));
    give(out, 1, vec_quotient(between(in, 2, -80, 80), b, vec_div(vec_of(1), b)));
}

static void round_pairs(const uint32_t in[WORDS], uint32_t out[WORDS])
{
    give_pairs(out, 0, rounded_pairs(number(in, 0), number(in, 1)));
    give_pairs(out, 1, rounded_pairs(between(in, 2, -3, 3), between(in, 3, -127, -120)));
}

static void weave_pairs(const uint32_t in[WORDS], uint32_t out[WORDS])
{
    pairs low, high;
    weave(pair(in, 0), pair(in, 1), &low, &high);
    give_pairs(out, 0, low), give_pairs(out, 1, high);
}

static void unweave_pairs(const uint32_t in[WORDS], uint32_t out[WORDS])
{
    vec a, b;
    unweave(number(in, 0), number(in, 1), &a, &b);
    give(out, 0, a), give(out, 1, b);
}

/* All lengths, from an odd address. */
static void load_rows(const uint32_t in[WORDS], uint32_t out[WORDS])
{
    static const dsv3_dtype formats[] = {DSV3_BF16, DSV3_F8_E4M3};
    for (int i = 0; i < 2; i++) {
        pairs p[2];
        load_pairs((const uint16_t *)(in + 1) + 1, formats[i], in[0] % 70, p);
        for (int h = 0; h < 2; h++) give_pairs(out, 2 * i + h, p[h]);
    }
}

static void store_rows(const uint32_t in[WORDS], uint32_t out[WORDS])
{
    store_pairs((uint16_t *)out + 1, first_paired(in[0] % 33), pair(in, 1));
}

static void dot(const uint32_t in[WORDS], uint32_t out[WORDS])
{
    give(out, 0, vec_dot(pair(in, 0), pair(in, 1), number(in, 2)));
}

const twice FUNCTIONS[] = {
    {"vec_above", above, 0},
    {"vec_not_below", not_below, 0},
    {"vec_transpose", transpose, 0},
    {"vec_part, vec_join", part_and_join, 0},
    {"vec_times_power", times_power, 0},
    {"vec_weight", weight, 1},
    {"vec_exp", exponential, 1},
    {"vec_quotient", quotient, 1},
    {"rounded_pairs", round_pairs, 0},
    {"weave", weave_pairs, 0},
    {"unweave", unweave_pairs, 0},
    {"load_pairs", load_rows, 0},
    {"store_pairs", store_rows, 0},
    {"vec_dot", dot, 1},
    {0},
};
