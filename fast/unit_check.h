/*
 * Whether a matrix unit computes what its model says: a few products of tiles, by name. Numbers are such that no sum but 0
 * lies within a rounding of 2^-126, where it matters whether a unit flushes before it rounds.
 */
#ifndef UNIT_CHECK_H
#define UNIT_CHECK_H

#include "bf16_model.h"

#include <stdbool.h>

/* sum += a b, as tile_model() has it. */
typedef void unit_step(const uint16_t a[16][32], const uint16_t b[16][32], float sum[16][16]);

typedef struct {
    const char *fault;
    uint16_t (*number)(uint32_t random); /* entries of a and b; a sum is one of them times that one again */
} unit_trial;

static inline uint16_t any_normal(uint32_t random)
{
    return (uint16_t)((random & 0x807f) | (120 + (random >> 16 & 15)) << 7);
}

/* 1, and odd and even quarters of the last place of 2: sums of products that lie between two numbers. */
static inline uint16_t half_places(uint32_t random)
{
    static const uint16_t numbers[] = {0x3f80, 0x3980, 0x39c0,
                                       0x3f80, 0x3900, 0x3f81}; /* 1, 2^-12, 3 2^-13, 1, 2^-13 */
    return (uint16_t)(numbers[random % 6] | (random >> 16 & 0x8000));
}

/* Subnormal ones, and those whose products are: multiples of 2^-147 below 2^-124. */
static inline uint16_t around_subnormal(uint32_t random)
{
    static const uint16_t numbers[] = {0x0001, 0x007f, 0x2000, 0x2040, 0x1f80, 0x3f80};
    return (uint16_t)(numbers[random % 6] | (random >> 16 & 0x8000));
}

static inline uint16_t around_infinity(uint32_t random)
{
    static const uint16_t numbers[] = {0x3f80, 0x7f7f, 0x0000, 0x5f80, 0x7f80, 0x7fc0};
    return (uint16_t)(numbers[random % 64 < 60 ? random % 3 : 3 + random % 3] | (random >> 16 & 0x8000));
}

static const unit_trial unit_trials[] = {{"it adds or rounds in another way", any_normal},
                                         {"it doesn't round ties to even", half_places},
                                         {"to it subnormal numbers aren't 0", around_subnormal},
                                         {"it has other infinities or NaN", around_infinity}};

/* Any NaN is as good as another, and so is either 0. */
static inline bool same_sums(const float a[16][16], const float b[16][16])
{
    for (int i = 0; i < 256; i++) {
        float const x = a[i / 16][i % 16], y = b[i / 16][i % 16];
        if (x != y && (x == x || y == y)) return false;
    }
    return true;
}

/* What a unit does otherwise; NULL: nothing was found. */
static inline const char *fault_of(unit_step *step)
{
    uint32_t random = 1;
    for (size_t trial = 0; trial < sizeof unit_trials / sizeof *unit_trials; trial++)
        for (int round = 0; round < 4; round++) {
            uint16_t a[16][32], b[16][32];
            float sum[16][16], expected[16][16];
            for (int i = 0; i < 512; i++) {
                a[i / 32][i % 32] = unit_trials[trial].number(random = random * 1664525 + 1013904223);
                b[i / 32][i % 32] = unit_trials[trial].number(random = random * 1664525 + 1013904223);
            }
            for (int i = 0; i < 256; i++)
                expected[i / 16][i % 16] = sum[i / 16][i % 16] =
                    of_bf16(a[i / 16][i % 16]) * of_bf16(b[i / 16][i % 16]);
            step(a, b, sum);
            tile_model(a, b, 16, expected);
            if (!same_sums(sum, expected)) return unit_trials[trial].fault;
        }
    return NULL;
}

#endif
