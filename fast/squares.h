/*
 * Squares of sums by pairs: what the matrix unit makes of its tiles, by vdpbf16ps. A pair of a row meets sixteen pairs at
 * once; a sum is one chain, the odd number of a pair first.
 */
#ifndef SQUARES_H
#define SQUARES_H

#include "unit.h"
#include "vec.h"

enum { EIGHT = 8 }; /* rows whose sums are in registers */

/* Eight rows with `wide` tiles of pairs: to[t][i] = row i times b[t], or that is added to it. */
static inline __attribute__((always_inline)) void eight_by(int wide, tile_rows a, const tile *const b[], int64_t steps,
                                                           bool fresh, float (*const to[])[SIDE])
{
    vec sum[EIGHT][2];
    UNROLL_EIGHT for (int i = 0; i < EIGHT; i++) UNROLL for (int t = 0; t < wide; t++) sum[i][t] = vec_of(0);
    for (int64_t s = 0; s < steps; s++, a.data += a.step)
        for (int k = 0; k < SIDE; k += 2) {
            pairs v[2][2];
            UNROLL for (int t = 0; t < wide; t++) load_pairs(b[t][s].at[k], DSV3_BF16, CHUNK, v[t]);
            UNROLL for (int h = 0; h < 2; h++) UNROLL_EIGHT for (int i = 0; i < EIGHT; i++)
            {
                pairs const one = pairs_of((const uint16_t *)(const void *)(a.data + i * a.pitch) + 2 * (k + h));
                UNROLL for (int t = 0; t < wide; t++) sum[i][t] = vec_dot(one, v[t][h], sum[i][t]);
            }
        }
    UNROLL_EIGHT for (int i = 0; i < EIGHT; i++) UNROLL for (int t = 0; t < wide; t++)
        vec_store(to[t][i], fresh ? sum[i][t] : vec_add(vec_load(to[t][i]), sum[i][t]));
}

/* c and next NULL: only one tile of pairs. */
static inline void dot_eight(tile_rows a, const tile *b, const tile *c, int64_t steps, bool fresh, float (*to)[SIDE],
                             float (*next)[SIDE])
{
    const tile *const both[2] = {b, c};
    float(*const sums[2])[SIDE] = {to, next};
    c ? eight_by(2, a, both, steps, fresh, sums) : eight_by(1, a, both, steps, fresh, sums);
}

#endif
