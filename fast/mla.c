/*
 * Multi-head latent attention in the absorbed form: queries are brought to the latent, attention runs over what is cached,
 * values are expanded after it. What is between the steps is binary32, unless it is a stage: that is stored, and read again.
 */
#include "attention.h"
#include "attention_squares.h"
#include "expansion.h"
#include "fast.h"
#include "matrix.h"
#include "norm.h"
#include "rope.h"

#include <math.h>

typedef struct {
    const dsv3_mla_prob *p;
    const dsv3_mla_io *io;
    rope rope;
    matrix q_a_proj, q_b_proj, kv_a_proj, kv_b_proj, o_proj; /* q_b_proj: q_proj without a query latent */
    const dsv3_tensor *q_norm, *kv_norm;
    int64_t n, heads, qk, latent; /* new tokens; entries of a query head, of what is cached */
    bool squares;                 /* attention goes in BF16: queries are rounded to that, as keys are */
    bool pairs;                   /* and kv_b_proj is BF16 or codes, which are decoded as pairs */
    float scale;
    int64_t *position;                 /* (n) */
    dsv3_tensor q_latent, attn_output; /* (n, q_lora_rank), (n, heads v_head_dim): in the format of hidden_states */
    float *q_a, *q, *kv;               /* (n, q_lora_rank), (n, heads, qk), (n, latent) */
    float *absorbed, *o_latent, *o;    /* (n, heads, latent), (n, heads, kv_lora_rank), (n, heads, v_head_dim) */
    worker_pieces rows;                /* (TILE, whole chunks of kv_lora_rank) */
} block;

/* ---- queries and keys ---- */

/* n numbers of a stage go to its tensor and come back, if it is wanted. */
static void keep(const dsv3_tensor *stage, int64_t from, float *v, int64_t n)
{
    if (!stage->data) return;
    stored_row const kept = row_of(stage, from);
    store_row(stage, from, v, n);
    load_row(&kept, n, v);
}

/* To BF16 and back. */
static void round_row(float *v, int64_t n)
{
    for (int64_t c = 0; c < n; c += BLOCK) {
        uint16_t half[BLOCK];
        dsv3_tensor const rounded = {half, DSV3_BF16, 0, {0}, {0}};
        stored_row const row = row_of(&rounded, 0);
        int64_t const some = n - c < BLOCK ? n - c : BLOCK;
        store_row(&rounded, 0, v + c, some);
        load_row(&row, some, v + c);
    }
}

static void normalise_latent(const void *job, int64_t t, int worker)
{
    (void)worker;
    const block *const a = job;
    const dsv3_tensor *const stage = &a->io->q_a_layernorm;
    int64_t const rank = a->p->q_lora_rank;
    float *const latent = a->q_a + t * rank;
    normalise(a->q_norm, a->p->rms_norm_eps, latent, latent, rank);
    store_row(&a->q_latent, t * rank, latent, rank);
    if (stage->data) store_row(stage, t * stage->stride[0], latent, rank);
}

static void rotate_in_place(const block *a, const float *cosine, const float *sine, float *pe)
{
    float rotated[WIDEST_ROPE];
    rotate(&a->rope, cosine, sine, pe, DSV3_F32, rotated, DSV3_F32);
    memcpy(pe, rotated, (size_t)a->p->qk_rope_head_dim * sizeof *pe);
}

/* Rotates a token's queries and shared key, normalises its latent; [c | k_pe] goes to io->kv. */
static void finish_token(const void *job, int64_t t, int worker)
{
    (void)worker;
    const block *const a = job;
    float cosine[WIDEST_ROPE / 2], sine[WIDEST_ROPE / 2], *const kv = a->kv + t * a->latent;
    const dsv3_tensor *const q = &a->io->q;
    rope_table(&a->rope, (double)a->position[t], cosine, sine);
    for (int64_t h = 0; h < a->heads; h++) {
        float *const of_head = a->q + (t * a->heads + h) * a->qk;
        rotate_in_place(a, cosine, sine, of_head + a->p->qk_nope_head_dim);
        if (a->squares) round_row(of_head, a->qk);
        keep(q, t * q->stride[0] + h * q->stride[1], of_head, a->qk);
    }
    normalise(a->kv_norm, a->p->rms_norm_eps, kv, kv, a->p->kv_lora_rank);
    rotate_in_place(a, cosine, sine, kv + a->p->kv_lora_rank);
    keep(&a->io->kv, t * a->io->kv.stride[0], kv, a->latent);
}

/* 0: no memory. */
static int project(dsv3_ctx *ctx, const block *a)
{
    int64_t const rank = a->p->q_lora_rank;
    row_list const x = rows_of(&a->io->hidden_states), q = {a->q, DSV3_F32, a->heads * a->qk, NULL};
    row_list const q_a = {a->q_a, DSV3_F32, rank, NULL}, kv = {a->kv, DSV3_F32, a->latent, NULL};
    if (rank && !multiply(ctx, &a->q_a_proj, x, a->n, q_a)) return 0;
    if (rank) ctx_run(ctx, normalise_latent, a, a->n);
    if (!multiply(ctx, &a->q_b_proj, rank ? rows_of(&a->q_latent) : x, a->n, q)) return 0;
    if (!multiply(ctx, &a->kv_a_proj, x, a->n, kv)) return 0;
    ctx_run(ctx, finish_token, a, a->n);
    return 1;
}

/* ---- to the latent and back ---- */

/* Row d of head h in kv_b_proj: of its keys, then of its values. */
static stored_row expansion_row(const block *a, int64_t h, int64_t d)
{
    return matrix_row(&a->kv_b_proj, h * (a->p->qk_nope_head_dim + a->p->v_head_dim) + d);
}

/* Row d of n in a head's keys or values, which begin at `first`; behind the last one those of the next head. */
static stored_row row_or_next(const block *a, int64_t h, int64_t first, int64_t n, int64_t d)
{
    bool const next = d >= n && h + 1 < a->heads;
    int64_t const at = next ? d - n : d;
    return expansion_row(a, h + next, first + (at < n ? at : n - 1));
}

/* Row i of a tile of tokens t, t + 1, ..., of which there are `rows`: the last ones are the first. */
static int64_t token_of(int64_t t, int64_t i, int64_t rows)
{
    return t + (i < rows ? i : 0);
}

/* q_absorbed = W_k^T q_nope, then q_pe; tokens t to t + rows - 1 of head h. */
static void absorb_tile(const block *a, int64_t h, int64_t t, int rows, const stored_row *w)
{
    int64_t const nope = a->p->qk_nope_head_dim, rank = a->p->kv_lora_rank;
    const float *q[TILE];
    for (int i = 0; i < TILE; i++) q[i] = a->q + ((t + (i < rows ? i : 0)) * a->heads + h) * a->qk;
    for (int64_t c = 0; c < rank; c += SPAN) {
        int64_t const columns = rank - c < SPAN ? rank - c : SPAN;
        float sum[TILE][SPAN];
        sum_rows(rows, q, w, nope, c, columns, sum);
        for (int i = 0; i < rows; i++)
            memcpy(a->absorbed + ((t + i) * a->heads + h) * a->latent + c, sum[i], (size_t)columns * sizeof **sum);
    }
    for (int i = 0; i < rows; i++)
        memcpy(a->absorbed + ((t + i) * a->heads + h) * a->latent + rank, q[i] + nope,
               (size_t)a->p->qk_rope_head_dim * sizeof **q);
}

enum { MOST_NOPE = 1024 };

/* The same of queries in BF16. */
static void absorb_pairs(const block *a, int64_t h, int64_t t, int64_t rows, const stored_row *w, int worker)
{
    int64_t const nope = a->p->qk_nope_head_dim, rank = a->p->kv_lora_rank;
    uint16_t half[TILE][MOST_NOPE];
    const uint16_t *q[TILE];
    float *to[TILE];
    for (int i = 0; i < TILE; i++) {
        int64_t const row = token_of(t, i, rows) * a->heads + h;
        dsv3_tensor const rounded = {half[i], DSV3_BF16, 0, {0}, {0}};
        if (i < rows) store_row(&rounded, 0, a->q + row * a->qk, nope);
        q[i] = half[i < rows ? i : 0], to[i] = a->absorbed + row * a->latent;
    }
    absorb_rows((int)rows, q, w, nope, rank, piece_of(&a->rows, worker), to);
    for (int64_t i = 0; i < rows; i++)
        memcpy(to[i] + rank, a->q + ((t + i) * a->heads + h) * a->qk + nope,
               (size_t)a->p->qk_rope_head_dim * sizeof **to);
}

static void absorb_head_pairs(const void *job, int64_t h, int worker)
{
    const block *const a = job;
    int64_t const nope = a->p->qk_nope_head_dim;
    stored_row w[MOST_NOPE + AHEAD];
    for (int64_t d = 0; d < nope + AHEAD; d++) w[d] = row_or_next(a, h, 0, nope, d);
    for (int64_t t = 0; t < a->n; t += TILE) absorb_pairs(a, h, t, a->n - t < TILE ? a->n - t : TILE, w, worker);
}

static void absorb_head(const void *job, int64_t h, int worker)
{
    (void)worker;
    const block *const a = job;
    stored_row w[MOST_NOPE];
    for (int64_t d = 0; d < a->p->qk_nope_head_dim; d++) w[d] = expansion_row(a, h, d);
    for (int64_t t = 0; t < a->n; t += TILE) absorb_tile(a, h, t, a->n - t < TILE ? (int)(a->n - t) : TILE, w);
}

/* o = W_v o_latent. */
static void expand_head(const void *job, int64_t h, int worker)
{
    (void)worker;
    const block *const a = job;
    int64_t const nope = a->p->qk_nope_head_dim, v = a->p->v_head_dim, rank = a->p->kv_lora_rank;
    for (int64_t d = 0; d < v; d += TILE) {
        stored_row w[TILE];
        for (int j = 0; j < TILE; j++) w[j] = expansion_row(a, h, nope + (d + j < v ? d + j : v - 1));
        for (int64_t t = 0; t < a->n; t += TILE) {
            int const rows = a->n - t < TILE ? (int)(a->n - t) : TILE;
            const float *x[TILE];
            float tile[TILE][TILE];
            for (int i = 0; i < TILE; i++) x[i] = a->o_latent + ((t + (i < rows ? i : 0)) * a->heads + h) * rank;
            dot_rows(rows, x, w, rank, tile);
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < TILE && d + j < v; j++) a->o[((t + i) * a->heads + h) * v + d + j] = tile[i][j];
        }
    }
}

/* The same of tokens t to t + rows - 1, from whole chunks of o_latent and decoded pairs. */
static void expand_pairs(const block *a, int64_t h, int64_t t, int64_t rows, int worker)
{
    int64_t const nope = a->p->qk_nope_head_dim, v = a->p->v_head_dim, rank = a->p->kv_lora_rank;
    float *const parted = piece_of(&a->rows, worker);
    const float *x[TILE];
    float out[TILE][SIDE];
    for (int i = 0; i < TILE; i++) x[i] = parted + token_of(0, i, rows) * whole_chunks(rank);
    for (int64_t i = 0; i < rows; i++)
        part_row(a->o_latent + ((t + i) * a->heads + h) * rank, rank, parted + i * whole_chunks(rank));
    stored_row w[SIDE + AHEAD];
    for (int j = 0; j < AHEAD; j++) w[SIDE + j] = row_or_next(a, h, nope, v, j);
    for (int64_t d = 0; d < v; d += SIDE) {
        memmove(w, w + SIDE, AHEAD * sizeof *w);
        for (int j = AHEAD; j < AHEAD + SIDE; j++) w[j] = row_or_next(a, h, nope, v, d + j);
        expand_rows((int)rows, x, w, rank, out);
        for (int64_t i = 0; i < rows; i++)
            memcpy(a->o + ((t + i) * a->heads + h) * v + d, out[i],
                   (size_t)(v - d < SIDE ? v - d : SIDE) * sizeof **out);
    }
}

static void expand_head_pairs(const void *job, int64_t h, int worker)
{
    const block *const a = job;
    for (int64_t t = 0; t < a->n; t += TILE) expand_pairs(a, h, t, a->n - t < TILE ? a->n - t : TILE, worker);
}

/* ---- attention ---- */

typedef struct {
    const block *a;
    int64_t b, first, past;
    float *key; /* (tokens of the sequence, latent) */
} cached;

static void load_key(const void *job, int64_t j, int worker)
{
    (void)worker;
    const cached *const s = job;
    const dsv3_mla_io *const io = s->a->io;
    float *const to = s->key + j * s->a->latent;
    if (j >= s->past) {
        memcpy(to, s->a->kv + (s->first + j - s->past) * s->a->latent, (size_t)s->a->latent * sizeof *to);
        return;
    }
    stored_row const row = paged_row(&io->kv_cache, &io->block_table, s->a->p->page_size, s->b, j);
    load_row(&row, s->a->latent, to);
}

static int attend_sequence(dsv3_ctx *ctx, const block *a, int64_t b)
{
    const int32_t *const begin = a->io->cu_seqlens.data;
    int64_t const first = begin[b], n = begin[b + 1] - first, rows = n * a->heads;
    int64_t const len = ((const int32_t *)a->io->cache_seqlens.data)[b];
    cached const s = {a, b, first, len - n, ctx_take(ctx, len * a->latent, sizeof(float))};
    stored_row *const key = ctx_take(ctx, len, sizeof *key);
    int64_t *const seen = ctx_take(ctx, rows, sizeof *seen);
    if (!s.key || !key || !seen) return 0;
    ctx_run(ctx, load_key, &s, len);
    for (int64_t j = 0; j < len; j++) key[j] = (stored_row){s.key + j * a->latent, DSV3_F32, NULL};
    for (int64_t r = 0; r < rows; r++) seen[r] = s.past + r / a->heads + 1;
    attention_group const group = {.rows = rows,
                                   .q = a->absorbed + first * a->heads * a->latent,
                                   .q_stride = a->latent,
                                   .width = a->latent,
                                   .key = key,
                                   .value = key,
                                   .len = len,
                                   .columns = a->p->kv_lora_rank,
                                   .scale = a->scale,
                                   .seen = seen,
                                   .o = a->o_latent + first * a->heads * a->p->kv_lora_rank};
    return attend(ctx, &group);
}

/* ---- attention in BF16 ---- */

typedef struct {
    const block *a;
    int64_t b, first, past;
    dsv3_tensor q, fresh; /* (new tokens, heads, latent), (new tokens, latent): BF16 */
    stored_row *key;      /* (tokens of the sequence) */
} halves;

/* The queries of a new token, and its key. */
static void store_token(const void *job, int64_t t, int worker)
{
    (void)worker;
    const halves *const s = job;
    int64_t const wide = s->a->heads * s->a->latent, latent = s->a->latent;
    store_row(&s->q, t * wide, s->a->absorbed + (s->first + t) * wide, wide);
    store_row(&s->fresh, t * latent, s->a->kv + (s->first + t) * latent, latent);
}

static void find_key(const void *job, int64_t j, int worker)
{
    (void)worker;
    const halves *const s = job;
    const dsv3_mla_io *const io = s->a->io;
    s->key[j] = j < s->past ? paged_row(&io->kv_cache, &io->block_table, s->a->p->page_size, s->b, j)
                            : row_of(&s->fresh, (j - s->past) * s->a->latent);
}

static int attend_halves(dsv3_ctx *ctx, const block *a, int64_t b)
{
    const int32_t *const begin = a->io->cu_seqlens.data;
    int64_t const first = begin[b], n = begin[b + 1] - first, rank = a->p->kv_lora_rank;
    int64_t const len = ((const int32_t *)a->io->cache_seqlens.data)[b];
    halves const s = {.a = a,
                      .b = b,
                      .first = first,
                      .past = len - n,
                      .q = tensor_in(ctx, DSV3_BF16, n, a->heads * a->latent),
                      .fresh = tensor_in(ctx, DSV3_BF16, n, a->latent),
                      .key = ctx_take(ctx, len, sizeof *s.key)};
    float *const lse = ctx_take(ctx, n * a->heads, sizeof *lse);
    if (!s.q.data || !s.fresh.data || !s.key || !lse) return 0;
    ctx_run(ctx, store_token, &s, n);
    ctx_run(ctx, find_key, &s, len);
    float *const o = a->o_latent + first * a->heads * rank;
    square_group const group = {.tokens = n,
                                .heads = a->heads,
                                .q = {s.q.data, DSV3_BF16, a->heads * a->latent, a->latent},
                                .o = {o, DSV3_F32, a->heads * rank, rank},
                                .lse = lse,
                                .lse_token = a->heads,
                                .lse_head = 1,
                                .key = {s.key, NULL, 0},
                                .value = {s.key, NULL, 0},
                                .len = len,
                                .width = a->latent,
                                .columns = rank,
                                .scale = a->scale};
    return attend_squares(ctx, &group, 1);
}

static void find_positions(const block *a)
{
    const int32_t *const begin = a->io->cu_seqlens.data, *const lengths = a->io->cache_seqlens.data;
    for (int64_t b = 0; b < a->p->batch; b++)
        for (int64_t t = begin[b]; t < begin[b + 1]; t++) a->position[t] = lengths[b] - begin[b + 1] + t;
}

/* ---- the op ---- */

static dsv3_rope_prob rope_of(const dsv3_mla_prob *p)
{
    return (dsv3_rope_prob){.qk_rope_head_dim = p->qk_rope_head_dim,
                            .rope_theta = p->rope_theta,
                            .factor = p->factor,
                            .original_max_position_embeddings = p->original_max_position_embeddings,
                            .beta_fast = p->beta_fast,
                            .beta_slow = p->beta_slow,
                            .mscale = p->mscale,
                            .mscale_all_dim = p->mscale_all_dim,
                            .in_layout = DSV3_INTERLEAVED,
                            .out_layout = p->rope_layout};
}

static void find_weights(block *a)
{
    const dsv3_weights *const w = &a->io->weights;
    a->q_a_proj = find_matrix(w, "q_a_proj");
    a->q_b_proj = find_matrix(w, a->p->q_lora_rank ? "q_b_proj" : "q_proj");
    a->kv_a_proj = find_matrix(w, "kv_a_proj_with_mqa");
    a->kv_b_proj = find_matrix(w, "kv_b_proj");
    a->o_proj = find_matrix(w, "o_proj");
    a->q_norm = dsv3_find(w, "q_a_layernorm.weight");
    a->kv_norm = dsv3_find(w, "kv_a_layernorm.weight");
}

static int supported(const block *a)
{
    int const q = a->p->q_lora_rank ? usable(&a->q_a_proj) && is_float(a->q_norm) : 1;
    int const fits = a->p->qk_rope_head_dim <= WIDEST_ROPE && a->p->qk_nope_head_dim <= MOST_NOPE;
    return q && fits && usable(&a->q_b_proj) && usable(&a->kv_a_proj) && usable(&a->kv_b_proj) && usable(&a->o_proj) &&
           is_float(a->kv_norm) && is_float(&a->io->hidden_states) && is_float(&a->io->kv_cache);
}

static int find_memory(dsv3_ctx *ctx, block *a)
{
    const dsv3_mla_prob *const p = a->p;
    int64_t const rows = a->n * a->heads;
    a->position = ctx_take(ctx, a->n, sizeof *a->position);
    a->q_a = ctx_take(ctx, a->n * p->q_lora_rank, sizeof(float));
    a->q_latent = tensor_in(ctx, a->io->hidden_states.dtype, a->n, p->q_lora_rank);
    a->attn_output = tensor_in(ctx, a->io->hidden_states.dtype, a->n, a->heads * p->v_head_dim);
    a->q = ctx_take(ctx, rows * a->qk, sizeof(float));
    a->kv = ctx_take(ctx, a->n * a->latent, sizeof(float));
    a->absorbed = ctx_take(ctx, rows * a->latent, sizeof(float));
    a->o_latent = ctx_take(ctx, rows * p->kv_lora_rank, sizeof(float));
    a->o = ctx_take(ctx, rows * p->v_head_dim, sizeof(float));
    a->rows = ctx_take_each(ctx, TILE * whole_chunks(p->kv_lora_rank), sizeof(float));
    return a->rows.memory && a->position && a->q_a && a->q_latent.data && a->attn_output.data && a->q && a->kv &&
           a->absorbed && a->o_latent && a->o;
}

static void keep_output(const void *job, int64_t t, int worker)
{
    (void)worker;
    const block *const a = job;
    int64_t const width = a->heads * a->p->v_head_dim;
    const dsv3_tensor *const stage = &a->io->attn_output;
    store_row(&a->attn_output, t * width, a->o + t * width, width);
    if (stage->data) store_row(stage, t * stage->stride[0], a->o + t * width, width);
}

static int run(dsv3_ctx *ctx, block *a)
{
    if (!find_memory(ctx, a)) return 0;
    find_positions(a);
    if (!project(ctx, a)) return 0;
    ctx_run(ctx, a->pairs ? absorb_head_pairs : absorb_head, a, a->heads);
    for (int64_t b = 0; b < a->p->batch; b++) {
        size_t const mark = ctx_mark(ctx);
        int const done = a->squares ? attend_halves(ctx, a, b) : attend_sequence(ctx, a, b);
        ctx_back(ctx, mark);
        if (!done) return 0;
    }
    ctx_run(ctx, a->pairs ? expand_head_pairs : expand_head, a, a->heads);
    ctx_run(ctx, keep_output, a, a->n);
    return multiply(ctx, &a->o_proj, rows_of(&a->attn_output), a->n, rows_of(&a->io->y));
}

/* Keys in BF16: those that are cached, and the new ones, whose format is that of hidden_states. */
static bool has_halves(const dsv3_mla_io *io)
{
    return io->hidden_states.dtype == DSV3_BF16 && io->kv_cache.dtype == DSV3_BF16;
}

dsv3_status fast_mla(dsv3_ctx *ctx, const dsv3_mla_prob *p, const dsv3_mla_io *io)
{
    block a = {.p = p, .io = io, .n = p->n_tokens, .heads = p->num_attention_heads};
    a.qk = p->qk_nope_head_dim + p->qk_rope_head_dim;
    a.latent = p->kv_lora_rank + p->qk_rope_head_dim;
    double const g = mscale(p->factor, p->mscale_all_dim);
    a.scale = (float)(g * g / sqrt((double)a.qk));
    a.squares = ctx_path(ctx) != PATH_FMA && has_halves(io);
    find_weights(&a);
    if (!supported(&a)) return DSV3_UNSUPPORTED;
    a.pairs = a.squares && a.kv_b_proj.weight->dtype != DSV3_F32;
    dsv3_rope_prob const rotation = rope_of(p);
    a.rope = rope_make(&rotation);
    size_t const mark = ctx_mark(ctx);
    int const done = run(ctx, &a);
    ctx_back(ctx, mark);
    return done ? DSV3_OK : DSV3_NO_MEMORY;
}

#define STEPS                                                                                                          \
    "rsqrt recip; div ieee; exp 2 0; scaled scores; parts 1; angle f64; sincos 3; form absorbed; "                     \
    "q_a_proj f32 must; x_norm f32 must; q_a_layernorm output must; q_b_proj f32 must; cos_sin f32 must; "             \
    "kv_a_proj_with_mqa f32 must; scores f32 must; o_latent f32 must; attn_output output must; "
#define IN_BINARY32 "acc 24 rn fused; rescales 0; q f32 must; q_absorbed f32 must; P f32 must; "
#define IN_BF16     "acc 24 rn fused; rescales 4; q bf16 must; q_absorbed bf16 must; P bf16 must; "

const char *fast_mla_numerics(const void *prob, const void *io)
{
    (void)prob;
    dsv3_dtype const x = ((const dsv3_mla_io *)io)->hidden_states.dtype;
    if (!by_pairs(x) && !by_amx(x)) return STEPS IN_BINARY32 "flush none; weight f32 must";
    return has_halves(io) ? STEPS IN_BF16 "flush daz; weight f32 may" : STEPS IN_BINARY32 "flush daz; weight f32 may";
}
