/* grad_x = grad_y W and grad_weight = grad_y^T x: weighted sums of rows, of W's and of x's. */
#include "ctx.h"
#include "fast.h"
#include "matrix.h"
#include "panel.h"

#include <stdbool.h>

enum { ROWS = 16 }; /* of a part */

/* The rows of a tensor become a panel's. */
typedef struct {
    const dsv3_tensor *from;
    panel to;
} copy;

static void copy_row(const void *job, int64_t r, int worker)
{
    (void)worker;
    const copy *const c = job;
    stored_row const row = row_of(c->from, r * c->from->stride[0]);
    load_row(&row, c->from->shape[1], panel_row(&c->to, r));
}

/* False: no memory. */
static bool read_panel(dsv3_ctx *ctx, const dsv3_tensor *from, panel *to)
{
    *to = take_panel(ctx, from->shape[0], from->shape[1]);
    copy const c = {from, *to};
    if (to->data) ctx_run(ctx, copy_row, &c, from->shape[0]);
    return to->data;
}

/* out[r] = sum over k < n of factor(r, k) row[k]; factor(r, k) stands at r * across + k * along. */
typedef struct {
    const float *factor;
    int64_t across, along;
    const panel *row;
    int64_t n;
    const dsv3_tensor *out;
} sums;

/* TILE rows of SPAN columns. */
static void make_tile(const sums *s, int64_t r, int64_t from)
{
    int64_t const rows = s->out->shape[0] - r, columns = s->out->shape[1] - from;
    _Alignas(64) float sum[TILE][SPAN];
    const float *factor[TILE];
    float *const out[TILE] = {sum[0], sum[1], sum[2], sum[3]};
    for (int64_t i = 0; i < TILE; i++) factor[i] = s->factor + (r + (i < rows ? i : rows - 1)) * s->across;
    panel_sums(factor, s->along, s->row->data + from, s->row->pitch, s->n, out);
    for (int64_t i = 0; i < TILE && i < rows; i++)
        store_row(s->out, (r + i) * s->out->stride[0] + from, sum[i], columns < SPAN ? columns : SPAN);
}

static void make_part(const void *job, int64_t part, int worker)
{
    (void)worker;
    const sums *const s = job;
    int64_t const strips = (s->out->shape[1] + SPAN - 1) / SPAN, first = part / strips * ROWS;
    for (int64_t r = first; r < first + ROWS && r < s->out->shape[0]; r += TILE) make_tile(s, r, part % strips * SPAN);
}

static void make_sums(dsv3_ctx *ctx, const sums *s)
{
    int64_t const strips = (s->out->shape[1] + SPAN - 1) / SPAN;
    ctx_run(ctx, make_part, s, (s->out->shape[0] + ROWS - 1) / ROWS * strips);
}

dsv3_status fast_linear_backward(dsv3_ctx *ctx, const dsv3_linear_backward_prob *p, const dsv3_linear_backward_io *io)
{
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    if (!is_float(&io->x) || !is_float(&io->grad_y) || !is_float(weight)) return DSV3_UNSUPPORTED;
    size_t const mark = ctx_mark(ctx);
    panel x, grad_y, w;
    bool const there =
        read_panel(ctx, &io->x, &x) && read_panel(ctx, &io->grad_y, &grad_y) && read_panel(ctx, weight, &w);
    if (there) {
        make_sums(ctx, &(sums){grad_y.data, grad_y.pitch, 1, &w, p->out_features, &io->grad_x});
        make_sums(ctx, &(sums){grad_y.data, 1, grad_y.pitch, &x, p->n_tokens, &io->grad_weight});
    }
    ctx_back(ctx, mark);
    return there ? DSV3_OK : DSV3_NO_MEMORY;
}

const char *fast_linear_backward_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn fused splits=1; flush none";
}
