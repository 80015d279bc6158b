/*
 * The gradients of causal attention, a head of a sequence at a time and keys in blocks: squares of P and dS have a row a key,
 * sixteen queries side by side, so that all five products are weighted sums of rows.
 */
#include "ctx.h"
#include "elementwise.h"
#include "fast.h"
#include "matrix.h"

#include <stdbool.h>

enum { KEYS = 64 }; /* of a block */

/* One head of one sequence, in binary32, and what is made of it. */
typedef struct {
    int64_t n, len, width, columns, across; /* queries, keys; entries of a query, of a value; n rounded up */
    float *q, *k, *v, *g;                   /* (n, width), (len, width), (len, columns), grad_o (n, columns) */
    float *q_turned, *g_turned;             /* (width, across), (columns, across) */
    float *D, *lse;                         /* (across) */
    float *P, *dS;                          /* (KEYS, across) */
    float *by_query;                        /* (across, KEYS): dS */
    float *grad_q;                          /* (across, width rounded up): sums of the blocks before */
    stored_row *q_row, *g_row, *k_row;      /* (n), (n), (len) */
    stored_row *q_line, *g_line;            /* (width), (columns): of what is turned */
    float scale;
    int tile; /* rows that are made together: 1 where some number isn't finite, since 0 times that is NaN */
} head;

typedef struct {
    const dsv3_mla_prefill_backward_prob *p;
    const dsv3_mla_prefill_backward_io *io;
    worker_pieces room;
} gradients;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t round_up(int64_t n)
{
    return (n + WIDTH - 1) / WIDTH * WIDTH;
}

static const int32_t *starts_of(const dsv3_tensor *cu, int64_t b)
{
    return (const int32_t *)cu->data + b * cu->stride[0];
}

/* ---- memory ---- */

/* Takes n elements from *at on, on lines of their own. */
static void *carve(char **at, int64_t n, size_t size)
{
    void *const piece = *at;
    *at += ((size_t)n * size + 63) / 64 * 64;
    return piece;
}

/* Sizes are set. Returns the bytes that it takes. */
static int64_t lay_out(head *h, char *memory)
{
    char *at = memory;
    int64_t const n = h->n, len = h->len, width = h->width, columns = h->columns, across = h->across;
    h->q = carve(&at, n * width, sizeof *h->q), h->k = carve(&at, len * width, sizeof *h->k);
    h->v = carve(&at, len * columns, sizeof *h->v), h->g = carve(&at, n * columns, sizeof *h->g);
    h->q_turned = carve(&at, width * across, sizeof *h->q_turned);
    h->g_turned = carve(&at, columns * across, sizeof *h->g_turned);
    h->D = carve(&at, across, sizeof *h->D), h->lse = carve(&at, across, sizeof *h->lse);
    h->P = carve(&at, KEYS * across, sizeof *h->P), h->dS = carve(&at, KEYS * across, sizeof *h->dS);
    h->by_query = carve(&at, across * KEYS, sizeof *h->by_query);
    h->grad_q = carve(&at, across * round_up(width), sizeof *h->grad_q);
    h->q_row = carve(&at, n, sizeof *h->q_row), h->g_row = carve(&at, n, sizeof *h->g_row);
    h->k_row = carve(&at, len, sizeof *h->k_row);
    h->q_line = carve(&at, width, sizeof *h->q_line), h->g_line = carve(&at, columns, sizeof *h->g_line);
    return at - memory;
}

static head sized_head(const dsv3_mla_prefill_backward_prob *p, int64_t n, int64_t len)
{
    return (head){.n = n,
                  .len = len,
                  .width = p->qk_nope_head_dim + p->qk_rope_head_dim,
                  .columns = p->v_head_dim,
                  .across = round_up(n),
                  .scale = (float)p->softmax_scale,
                  .tile = TILE};
}

/* ---- what is read ---- */

/* Rows of a tensor's head become binary32, and rows for sums; false: a number isn't finite. */
static bool read_rows(const dsv3_tensor *t, int64_t first, int64_t n, int64_t at, int64_t width, float *to,
                      stored_row *row)
{
    bool finite = true;
    for (int64_t i = 0; i < n; i++) {
        stored_row const from = row_of(t, (first + i) * t->stride[0] + at * t->stride[1]);
        finite &= row_is_finite(&from, width);
        load_row(&from, width, to + i * width);
        if (row) row[i] = (stored_row){to + i * width, DSV3_F32, NULL};
    }
    return finite;
}

/* (n, width) becomes (width, across), 0 past n. */
static void turn(const float *from, int64_t n, int64_t width, int64_t across, float *to, stored_row *line)
{
    for (int64_t i = 0; i < n; i += WIDTH)
        for (int64_t c = 0; c < width; c += WIDTH) {
            vec v[WIDTH];
            for (int64_t k = 0; k < WIDTH; k++)
                v[k] = i + k < n ? load_lanes(from + (i + k) * width, DSV3_F32, c, first_lanes(width - c)) : vec_of(0);
            vec_transpose(v);
            for (int64_t k = 0; k < WIDTH && c + k < width; k++) vec_store(to + (c + k) * across + i, v[k]);
        }
    for (int64_t c = 0; c < width; c++) line[c] = (stored_row){to + c * across, DSV3_F32, NULL};
}

/* D = grad_o . o: sixteen lanes and a tree. */
static void find_D(const head *h, const dsv3_tensor *o, int64_t first, int64_t at)
{
    for (int64_t i = 0; i < h->n; i++) {
        int64_t const from = (first + i) * o->stride[0] + at * o->stride[1];
        vec sum = vec_of(0);
        for (int64_t c = 0; c < h->columns; c += WIDTH) {
            lanes const of = first_lanes(h->columns - c);
            sum = vec_fma(load_lanes(h->g + i * h->columns, DSV3_F32, c, of),
                          load_lanes(o->data, o->dtype, from + c, of), sum);
        }
        h->D[i] = vec_sum(sum);
    }
}

static void read_head(head *h, const dsv3_mla_prefill_backward_io *io, int64_t b, int64_t at)
{
    int64_t const q = *starts_of(&io->cu_seqlens_q, b), k = *starts_of(&io->cu_seqlens_k, b);
    bool finite = read_rows(&io->q, q, h->n, at, h->width, h->q, h->q_row);
    finite &= read_rows(&io->k, k, h->len, at, h->width, h->k, h->k_row);
    finite &= read_rows(&io->v, k, h->len, at, h->columns, h->v, NULL);
    finite &= read_rows(&io->grad_o, q, h->n, at, h->columns, h->g, h->g_row);
    h->tile = finite ? TILE : 1;
    turn(h->q, h->n, h->width, h->across, h->q_turned, h->q_line);
    turn(h->g, h->n, h->columns, h->across, h->g_turned, h->g_line);
    find_D(h, &io->o, q, at);
    for (int64_t i = 0; i < h->n; i++) h->lse[i] = ((const float *)io->lse.data)[(q + i) * io->lse.stride[0] + at];
    for (int64_t i = h->n; i < h->across; i++) h->D[i] = h->lse[i] = 0;
    memset(h->grad_q, 0, (size_t)(h->across * round_up(h->width)) * sizeof *h->grad_q);
}

/* ---- P and dS of a block of keys ---- */

/* The first query that sees key j; n or more: none does. */
static int64_t first_query(const head *h, int64_t j)
{
    int64_t const first = j - (h->len - h->n);
    return first > 0 ? first : 0;
}

/* Of sixteen queries from i on those that are there and see the key. */
static lanes seeing(const head *h, int64_t j, int64_t i)
{
    int64_t const first = first_query(h, j) - i;
    lanes const there = first_lanes(h->n - i);
    return first <= 0 ? there : (lanes)(there & ~first_lanes(first));
}

/* TILE pointers to rows from `row` on, the last of `rows` again past those. */
static void find_rows(const float *first, int64_t pitch, int64_t row, int64_t rows, const float *out[TILE])
{
    for (int64_t i = 0; i < TILE; i++) out[i] = first + least(row + i, rows - 1) * pitch;
}

/* Of keys j to j + m - 1, with queries i to i + SPAN - 1. */
static void differentiate(const head *h, int64_t j, int m, int64_t i, int64_t block)
{
    const float *k[TILE], *v[TILE];
    float score[TILE][SPAN], by_P[TILE][SPAN];
    int64_t const some = least(h->across - i, SPAN);
    find_rows(h->k, h->width, j, h->len, k), find_rows(h->v, h->columns, j, h->len, v);
    sum_rows(m, k, h->q_line, h->width, i, some, score);
    sum_rows(m, v, h->g_line, h->columns, i, some, by_P);
    for (int r = 0; r < m; r++)
        for (int64_t c = 0; c < some; c += WIDTH) {
            lanes const sees = seeing(h, j + r, i + c);
            vec const scaled = vec_mul(vec_load(score[r] + c), vec_of(h->scale));
            vec const P = vec_weight(vec_sub(scaled, vec_load(h->lse + i + c)));
            vec const dS = vec_mul(P, vec_sub(vec_load(by_P[r] + c), vec_load(h->D + i + c)));
            int64_t const to = (j + r - block) * h->across + i + c;
            vec_store(h->P + to, vec_choose(sees, P, vec_of(0)));
            vec_store(h->dS + to, vec_choose(sees, dS, vec_of(0)));
        }
}

static void differentiate_block(const head *h, int64_t block, int64_t end)
{
    for (int64_t j = block; j < end; j += TILE)
        for (int64_t i = first_query(h, j) / WIDTH * WIDTH; i < h->n; i += SPAN)
            differentiate(h, j, (int)least(end - j, TILE), i, block);
}

/* ---- sums ---- */

/* factor times the sum over queries from `from` on of weight (row, i) x_i, of keys j to j + m - 1. */
static void sum_queries(const head *h, const float *weight, int64_t j, int m, int64_t block, const stored_row *x,
                        int64_t width, float factor, const dsv3_tensor *out, int64_t at)
{
    int64_t const from = least(first_query(h, j), h->n);
    const float *w[TILE];
    float sum[TILE][SPAN];
    find_rows(weight + from, h->across, j - block, j - block + m, w);
    for (int64_t c = 0; c < width; c += SPAN) {
        int64_t const some = least(width - c, SPAN);
        sum_rows(m, w, x + from, h->n - from, c, some, sum);
        for (int r = 0; r < m; r++) {
            for (int64_t s = 0; s < some; s += WIDTH)
                vec_store(sum[r] + s, vec_mul(vec_load(sum[r] + s), vec_of(factor)));
            store_row(out, at + r * out->stride[0] + c, sum[r], some);
        }
    }
}

static void sum_block(const head *h, const dsv3_mla_prefill_backward_io *io, int64_t first, int64_t at, int64_t block,
                      int64_t end)
{
    const dsv3_tensor *const k = &io->grad_k, *const v = &io->grad_v;
    for (int64_t j = block; j < end; j += h->tile) {
        int const m = (int)least(end - j, h->tile);
        sum_queries(h, h->dS, j, m, block, h->q_row, h->width, h->scale, k,
                    (first + j) * k->stride[0] + at * k->stride[1]);
        sum_queries(h, h->P, j, m, block, h->g_row, h->columns, 1, v, (first + j) * v->stride[0] + at * v->stride[1]);
    }
}

/* dS of the block, a row a query. */
static void turn_block(const head *h, int64_t block, int64_t end)
{
    for (int64_t i = first_query(h, block) / WIDTH * WIDTH; i < h->n; i += WIDTH)
        for (int64_t j = 0; j < end - block; j += WIDTH) {
            vec v[WIDTH];
            for (int64_t k = 0; k < WIDTH; k++) v[k] = vec_load(h->dS + (j + k) * h->across + i);
            vec_transpose(v);
            for (int64_t k = 0; k < WIDTH; k++) vec_store(h->by_query + (i + k) * KEYS + j, v[k]);
        }
}

/* The block's part of grad_q. */
static void add_block(const head *h, int64_t block, int64_t end)
{
    int64_t const pitch = round_up(h->width);
    for (int64_t i = first_query(h, block) / TILE * TILE; i < h->n; i += h->tile) {
        int const m = (int)least(h->n - i, h->tile);
        int64_t const keys = least(end, h->len - h->n + i + m) - block;
        const float *w[TILE];
        float sum[TILE][SPAN];
        if (keys <= 0) continue;
        find_rows(h->by_query, KEYS, i, h->n, w);
        for (int64_t c = 0; c < h->width; c += SPAN) {
            int64_t const some = least(h->width - c, SPAN);
            sum_rows(m, w, h->k_row + block, keys, c, some, sum);
            for (int r = 0; r < m; r++)
                for (int64_t s = 0; s < some; s += WIDTH) {
                    float *const to = h->grad_q + (i + r) * pitch + c + s;
                    vec_store(to, vec_add(vec_load(to), vec_load(sum[r] + s)));
                }
        }
    }
}

static void store_grad_q(const head *h, const dsv3_tensor *out, int64_t first, int64_t at)
{
    int64_t const pitch = round_up(h->width);
    for (int64_t i = 0; i < h->n; i++) {
        float *const row = h->grad_q + i * pitch;
        for (int64_t c = 0; c < pitch; c += WIDTH) vec_store(row + c, vec_mul(vec_load(row + c), vec_of(h->scale)));
        store_row(out, (first + i) * out->stride[0] + at * out->stride[1], row, h->width);
    }
}

/* ---- the op ---- */

static int64_t length_of(const dsv3_tensor *cu, int64_t b)
{
    return *starts_of(cu, b + 1) - *starts_of(cu, b);
}

static void make_head(const void *job, int64_t part, int worker)
{
    const gradients *const g = job;
    const dsv3_mla_prefill_backward_io *const io = g->io;
    int64_t const b = part / g->p->num_attention_heads, at = part % g->p->num_attention_heads;
    int64_t const first = *starts_of(&io->cu_seqlens_k, b);
    head h = sized_head(g->p, length_of(&io->cu_seqlens_q, b), length_of(&io->cu_seqlens_k, b));
    lay_out(&h, piece_of(&g->room, worker));
    read_head(&h, io, b, at);
    for (int64_t block = 0; block < h.len; block += KEYS) {
        int64_t const end = least(block + KEYS, h.len);
        differentiate_block(&h, block, end);
        sum_block(&h, io, first, at, block, end);
        turn_block(&h, block, end);
        add_block(&h, block, end);
    }
    store_grad_q(&h, &io->grad_q, *starts_of(&io->cu_seqlens_q, b), at);
}

static bool take_room(dsv3_ctx *ctx, gradients *g)
{
    int64_t n = 0, len = 0;
    for (int64_t b = 0; b < g->p->batch; b++) {
        int64_t const queries = length_of(&g->io->cu_seqlens_q, b), keys = length_of(&g->io->cu_seqlens_k, b);
        n = queries > n ? queries : n, len = keys > len ? keys : len;
    }
    head h = sized_head(g->p, n, len);
    g->room = ctx_take_each(ctx, lay_out(&h, NULL), 1);
    return g->room.memory;
}

dsv3_status fast_mla_prefill_backward(dsv3_ctx *ctx, const dsv3_mla_prefill_backward_prob *p,
                                      const dsv3_mla_prefill_backward_io *io)
{
    if (!is_float(&io->q) || !is_float(&io->k) || !is_float(&io->v) || !is_float(&io->grad_o)) return DSV3_UNSUPPORTED;
    size_t const mark = ctx_mark(ctx);
    gradients g = {.p = p, .io = io};
    bool const there = take_room(ctx, &g);
    if (there) ctx_run(ctx, make_head, &g, p->batch * p->num_attention_heads);
    ctx_back(ctx, mark);
    return there ? DSV3_OK : DSV3_NO_MEMORY;
}

const char *fast_mla_prefill_backward_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn fused; div ieee; exp 2 0; log 2 0; rescales 0; scaled scores; parts 1; flush none; scores f32 "
           "must; "
           "o output must; lse f32 must; P f32 must; P_v f32 must; dP f32 must; D f32 must; dS f32 must";
}
