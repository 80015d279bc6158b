/* See panel.h. */
#include "panel.h"

#include "vec.h"

enum { SPANS = SPAN / WIDTH };

panel take_panel(dsv3_ctx *ctx, int64_t rows, int64_t columns)
{
    int64_t const pitch = (columns + SPAN - 1) / SPAN * SPAN;
    return (panel){ctx_take(ctx, rows * pitch, sizeof(float)), pitch};
}

void panel_sums(const float *const factor[TILE], int64_t step, const float *rows, int64_t pitch, int64_t n,
                float *const out[TILE])
{
    vec sum[TILE][SPANS];
    UNROLL for (int i = 0; i < TILE; i++) UNROLL for (int c = 0; c < SPANS; c++) sum[i][c] = vec_of(0);
    const float *const f0 = factor[0], *const f1 = factor[1], *const f2 = factor[2], *const f3 = factor[3];
    for (int64_t k = 0; k < n; k++, rows += pitch) {
        float const f[TILE] = {f0[k * step], f1[k * step], f2[k * step], f3[k * step]};
        vec row[SPANS];
        UNROLL for (int c = 0; c < SPANS; c++) row[c] = vec_load(rows + c * WIDTH);
        UNROLL for (int i = 0; i < TILE; i++) UNROLL for (int c = 0; c < SPANS; c++) sum[i][c] =
            vec_fma(vec_of(f[i]), row[c], sum[i][c]);
    }
    UNROLL for (int i = 0; i < TILE; i++) UNROLL for (int c = 0; c < SPANS; c++)
        vec_store(out[i] + c * WIDTH, sum[i][c]);
}
