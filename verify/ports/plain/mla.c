/* Multi-head latent attention in the naive form: its formula in binary32, one operation after another. What is between
 * the steps stays in binary32, unless it is a stage that the caller asked for: that is stored, and read again. */
#include "plain.h"

typedef struct {
    const dsv3_mla_prob *p;
    const dsv3_mla_io *io;
    dsv3_rope_prob rope;
    matrix q_a, q_b, kv_a, kv_b, out; /* q_b: q_proj without a query latent */
    const dsv3_tensor *q_norm, *kv_norm;
    int64_t heads, qk, latent, expanded; /* entries of a query head, of what is cached, of a head's key and value */
    float scale;
    float *x, *q_latent, *pe;       /* of one token */
    float *q, *o;                   /* of all new tokens */
    float *expansion, *key, *score; /* of one head: (kv_len, expanded); one latent; (kv_len) */
} attention;

static void make_query(const attention *a, int64_t t)
{
    const dsv3_mla_prob *const p = a->p;
    float *const q = a->q + t * a->heads * a->qk;
    const float *from = a->x;
    if (p->q_lora_rank) {
        multiply(&a->q_a, a->x, a->q_latent);
        normalise(a->q_norm, p->rms_norm_eps, a->q_latent, p->q_lora_rank);
        round_trip(&a->io->q_a_layernorm, t * a->io->q_a_layernorm.stride[0], a->q_latent, p->q_lora_rank);
        from = a->q_latent;
    }
    multiply(&a->q_b, from, q);
}

static void rotate_query(const attention *a, int64_t t, double position)
{
    float *const q = a->q + t * a->heads * a->qk;
    for (int64_t h = 0; h < a->heads; h++) {
        float *const pe = q + h * a->qk + a->p->qk_nope_head_dim;
        rotate(&a->rope, position, pe, a->pe);
        memcpy(pe, a->pe, (size_t)a->p->qk_rope_head_dim * sizeof *pe);
        round_trip(&a->io->q, t * a->io->q.stride[0] + h * a->io->q.stride[1], q + h * a->qk, a->qk);
    }
}

/* Latent and shared key of a new token, to io->kv. */
static void make_key(const attention *a, int64_t t, double position)
{
    int64_t const c = a->p->kv_lora_rank, r = a->p->qk_rope_head_dim;
    multiply(&a->kv_a, a->x, a->key);
    normalise(a->kv_norm, a->p->rms_norm_eps, a->key, c);
    rotate(&a->rope, position, a->key + c, a->pe);
    for (int64_t i = 0; i < c; i++) store(&a->io->kv, t, i, a->key[i]);
    for (int64_t i = 0; i < r; i++) store(&a->io->kv, t, c + i, a->pe[i]);
}

/* What is cached of token j of sequence b, into a->key. */
static void load_key(const attention *a, int64_t b, int64_t j, int64_t past, int64_t first)
{
    const dsv3_tensor *const table = &a->io->block_table, *const cache = &a->io->kv_cache;
    if (j >= past) {
        load_row(&a->io->kv, (first + j - past) * a->io->kv.stride[0], a->key, a->latent);
        return;
    }
    int64_t const page = int_at(table, b * table->stride[0] + j / a->p->page_size);
    load_row(cache, page * cache->stride[0] + j % a->p->page_size * cache->stride[1], a->key, a->latent);
}

/* Key [k_nope | k_pe] and value of one head for token j: a->expansion. */
static void expand(const attention *a, int64_t h, int64_t j)
{
    int64_t const nope = a->p->qk_nope_head_dim, r = a->p->qk_rope_head_dim, v = a->p->v_head_dim;
    float *const k = a->expansion + j * a->expanded;
    for (int64_t d = 0; d < nope; d++) k[d] = row_times(&a->kv_b, h * (nope + v) + d, a->key);
    for (int64_t d = 0; d < v; d++) k[nope + r + d] = row_times(&a->kv_b, h * (nope + v) + nope + d, a->key);
    memcpy(k + nope, a->key + a->p->kv_lora_rank, (size_t)r * sizeof *k);
}

/* One query of one head over its first n keys. */
static void attend_naive(const attention *a, const float *q, int64_t n, float *o)
{
    float max = -INFINITY;
    for (int64_t j = 0; j < n; j++) {
        a->score[j] = product(q, a->expansion + j * a->expanded, 1, a->qk) * a->scale;
        max = fmaxf(max, a->score[j]);
    }
    for (int64_t j = 0; j < n; j++) a->score[j] = expf(a->score[j] - max);
    float const one = 1, sum = product(a->score, &one, 0, n);
    for (int64_t d = 0; d < a->p->v_head_dim; d++)
        o[d] = product(a->score, a->expansion + a->qk + d, a->expanded, n) / sum;
}

static void attend_sequence(const attention *a, int64_t b)
{
    int64_t const first = int_at(&a->io->cu_seqlens, b), n = int_at(&a->io->cu_seqlens, b + 1) - first;
    int64_t const len = int_at(&a->io->cache_seqlens, b), past = len - n, v = a->p->v_head_dim;
    for (int64_t i = 0; i < n; i++) {
        load_row(&a->io->hidden_states, (first + i) * a->io->hidden_states.stride[0], a->x, a->p->hidden_size);
        make_query(a, first + i);
        rotate_query(a, first + i, (double)(past + i));
        make_key(a, first + i, (double)(past + i));
    }
    for (int64_t h = 0; h < a->heads; h++) {
        for (int64_t j = 0; j < len; j++) {
            load_key(a, b, j, past, first);
            expand(a, h, j);
        }
        for (int64_t i = 0; i < n; i++)
            attend_naive(a, a->q + ((first + i) * a->heads + h) * a->qk, past + i + 1,
                         a->o + ((first + i) * a->heads + h) * v);
    }
}

static void find_weights(attention *a)
{
    const dsv3_weights *const w = &a->io->weights;
    a->q_a = find_matrix(w, "q_a_proj");
    a->q_b = find_matrix(w, a->p->q_lora_rank ? "q_b_proj" : "q_proj");
    a->kv_a = find_matrix(w, "kv_a_proj_with_mqa");
    a->kv_b = find_matrix(w, "kv_b_proj");
    a->out = find_matrix(w, "o_proj");
    a->q_norm = dsv3_find(w, "q_a_layernorm.weight");
    a->kv_norm = dsv3_find(w, "kv_a_layernorm.weight");
}

static int supported(const attention *a)
{
    int const q = a->p->q_lora_rank ? usable(&a->q_a) && is_float(a->q_norm) : 1;
    return q && usable(&a->q_b) && usable(&a->kv_a) && usable(&a->kv_b) && usable(&a->out) && is_float(a->kv_norm) &&
           is_float(&a->io->hidden_states) && is_float(&a->io->kv_cache);
}

static int find_scratch(attention *a, dsv3_ctx *ctx)
{
    const dsv3_mla_prob *const p = a->p;
    int64_t const o_width = a->heads * p->v_head_dim;
    int64_t const size[] = {
        p->hidden_size,        p->q_lora_rank,          p->qk_rope_head_dim, p->n_tokens * a->heads * a->qk,
        p->n_tokens * o_width, p->kv_len * a->expanded, a->latent,           p->kv_len};
    float **const part[] = {&a->x, &a->q_latent, &a->pe, &a->q, &a->o, &a->expansion, &a->key, &a->score};
    int64_t total = 0;
    for (int i = 0; i < 8; i++) total += size[i];
    float *at = scratch(ctx, total);
    if (!at) return 0;
    for (int i = 0; i < 8; at += size[i++]) *part[i] = at;
    return 1;
}

static dsv3_rope_prob rope_of(const dsv3_mla_prob *p)
{
    dsv3_rope_prob const rope = {.qk_rope_head_dim = p->qk_rope_head_dim,
                                 .rope_theta = p->rope_theta,
                                 .factor = p->factor,
                                 .original_max_position_embeddings = p->original_max_position_embeddings,
                                 .beta_fast = p->beta_fast,
                                 .beta_slow = p->beta_slow,
                                 .mscale = p->mscale,
                                 .mscale_all_dim = p->mscale_all_dim,
                                 .in_layout = DSV3_INTERLEAVED,
                                 .out_layout = p->rope_layout};
    return rope;
}

dsv3_status plain_mla(dsv3_ctx *ctx, const dsv3_mla_prob *p, const dsv3_mla_io *io)
{
    attention a = {.p = p, .io = io, .rope = rope_of(p), .heads = p->num_attention_heads};
    a.qk = p->qk_nope_head_dim + p->qk_rope_head_dim;
    a.latent = p->kv_lora_rank + p->qk_rope_head_dim;
    a.expanded = a.qk + p->v_head_dim;
    double const g = mscale(&a.rope, p->mscale_all_dim);
    a.scale = (float)(g * g / sqrt((double)a.qk));
    find_weights(&a);
    if (!supported(&a)) return DSV3_UNSUPPORTED;
    if (!find_scratch(&a, ctx)) return DSV3_NO_MEMORY;
    for (int64_t b = 0; b < p->batch; b++) attend_sequence(&a, b);
    for (int64_t t = 0; t < p->n_tokens; t++) {
        int64_t const width = a.heads * p->v_head_dim;
        float *const o = a.o + t * width;
        round_trip(&io->attn_output, t * io->attn_output.stride[0], o, width);
        for (int64_t i = 0; i < p->hidden_size; i++) store(&io->y, t, i, row_times(&a.out, i, o));
    }
    return DSV3_OK;
}

const char *plain_mla_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 24 rn splits=8; rsqrt recip; div ieee; exp 2 0; rescales 0; scaled scores; parts 1; "
           "angle f64; sincos 3; flush none; form naive; "
           "weight f32 may; q_a_proj f32 must; x_norm f32 must; q_a_layernorm f32 must; q_b_proj f32 must; "
           "cos_sin f32 must; q f32 must; kv_a_proj_with_mqa f32 must; kv_b_proj f32 must; "
           "scores f32 must; P f32 must; attn_output f32 must";
}
