/* Weighted sums of rows of binary32 in memory of our own, where every row has room for whole spans. */
#ifndef PANEL_H
#define PANEL_H

#include "ctx.h"
#include "rows.h"

/* Rows that begin `pitch` numbers apart, a multiple of SPAN. What lies behind a row's last column is anything. */
typedef struct {
    float *data;
    int64_t pitch;
} panel;

panel take_panel(dsv3_ctx *ctx, int64_t rows, int64_t columns); /* data NULL: no memory */

static inline float *panel_row(const panel *p, int64_t row)
{
    return p->data + row * p->pitch;
}

/* out[i][c] = sum over k < n of factor[i][k * step] rows[k * pitch + c] for i < TILE, c < SPAN: one chain of fused sums.
 * acc 24 rn fused splits=1 */
void panel_sums(const float *const factor[TILE], int64_t step, const float *rows, int64_t pitch, int64_t n,
                float *const out[TILE]);

#endif
