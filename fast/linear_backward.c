/* grad_x = grad_y W and grad_weight = grad_y^T x: weighted sums of rows, of W's and of x's. */
#include "ctx.h"
#include "fast.h"
#include "matrix.h"

/* out[r] = sum over k of factor[r][k] row[k] */
typedef struct {
    const float *factor; /* (rows, n) */
    const stored_row *row;
    int64_t rows, n, columns;
    const dsv3_tensor *out;
} sums;

/* TILE rows of SPAN columns. */
static void make_tile(const void *job, int64_t part, int worker)
{
    (void)worker;
    const sums *const s = job;
    int64_t const across = (s->columns + SPAN - 1) / SPAN, r = part / across * TILE, from = part % across * SPAN;
    int64_t const columns = s->columns - from < SPAN ? s->columns - from : SPAN;
    int const m = s->rows - r < TILE ? (int)(s->rows - r) : TILE;
    const float *factor[TILE];
    float sum[TILE][SPAN];
    for (int i = 0; i < TILE; i++) factor[i] = s->factor + (r + (i < m ? i : m - 1)) * s->n;
    sum_rows(m, factor, s->row, s->n, from, columns, sum);
    for (int i = 0; i < m; i++) store_row(s->out, (r + i) * s->out->stride[0] + from, sum[i], columns);
}

/* Rows of binary32, and rows as they are stored. */
typedef struct {
    float *number, *turned; /* grad_y (n_tokens, out_features), and its transpose */
    stored_row *row;        /* (most of both) */
} room;

static bool take_room(dsv3_ctx *ctx, const dsv3_linear_backward_prob *p, room *m)
{
    int64_t const rows = p->n_tokens > p->out_features ? p->n_tokens : p->out_features;
    m->number = ctx_take(ctx, p->n_tokens * p->out_features, sizeof *m->number);
    m->turned = ctx_take(ctx, p->n_tokens * p->out_features, sizeof *m->turned);
    m->row = ctx_take(ctx, rows, sizeof *m->row);
    return m->number && m->turned && m->row;
}

static void load_gradients(const dsv3_linear_backward_prob *p, const dsv3_tensor *grad_y, const room *m)
{
    for (int64_t t = 0; t < p->n_tokens; t++) {
        stored_row const row = row_of(grad_y, t * grad_y->stride[0]);
        float *const to = m->number + t * p->out_features;
        load_row(&row, p->out_features, to);
        for (int64_t o = 0; o < p->out_features; o++) m->turned[o * p->n_tokens + t] = to[o];
    }
}

static void make_sums(dsv3_ctx *ctx, sums s, const dsv3_tensor *rows, stored_row *row)
{
    for (int64_t k = 0; k < s.n; k++) row[k] = row_of(rows, k * rows->stride[0]);
    s.row = row;
    ctx_run(ctx, make_tile, &s, (s.rows + TILE - 1) / TILE * ((s.columns + SPAN - 1) / SPAN));
}

dsv3_status fast_linear_backward(dsv3_ctx *ctx, const dsv3_linear_backward_prob *p, const dsv3_linear_backward_io *io)
{
    const dsv3_tensor *const weight = dsv3_find(&io->weights, "weight");
    if (!is_float(&io->x) || !is_float(&io->grad_y) || !is_float(weight)) return DSV3_UNSUPPORTED;
    size_t const mark = ctx_mark(ctx);
    room m;
    bool const there = take_room(ctx, p, &m);
    if (there) {
        load_gradients(p, &io->grad_y, &m);
        make_sums(ctx, (sums){m.number, NULL, p->n_tokens, p->out_features, p->in_features, &io->grad_x}, weight,
                  m.row);
        make_sums(ctx, (sums){m.turned, NULL, p->out_features, p->n_tokens, p->in_features, &io->grad_weight}, &io->x,
                  m.row);
    }
    ctx_back(ctx, mark);
    return there ? DSV3_OK : DSV3_NO_MEMORY;
}

const char *fast_linear_backward_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn fused splits=1; flush none";
}
