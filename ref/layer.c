/*
 * A decoder layer:  h1 = x + Attention(RMSNorm(x; input_layernorm)),  h2 = h1 + FFN(RMSNorm(h1; post_attention_layernorm)).
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1, figure 2; deepseek-ai/DeepSeek-V3, inference/model.py, Block; Hugging Face
 * transformers, models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3DecoderLayer.
 */
#include "layer.h"

#include "experts.h"
#include "mla.h"
#include "moe.h"
#include "rmsnorm.h"

#include <stdlib.h>

static const mlp_points dense_points = {POINT_moe_weight, POINT_moe_gate_proj,  POINT_moe_up_proj,
                                        POINT_moe_silu,   POINT_moe_shared_act, POINT_moe_expert_out};

/* Vectors of balls, and the same as rows. */
typedef struct {
    ball *b;       /* (n, width) */
    double *parts; /* (n, 3 width) */
    row *rows;     /* (n) */
} vectors;

static bool open_vectors(vectors *v, int64_t n, int64_t width)
{
    v->b = malloc((size_t)(n * width) * sizeof *v->b);
    v->parts = malloc((size_t)(3 * n * width) * sizeof *v->parts);
    v->rows = malloc((size_t)n * sizeof *v->rows);
    return v->b && v->parts && v->rows;
}

static void close_vectors(vectors *v)
{
    free(v->b);
    free(v->parts);
    free(v->rows);
}

/* The weights whose names begin with the prefix, without it; room: for as many as all. */
static dsv3_weights weights_below(const dsv3_weights *all, const char *prefix, dsv3_weight *room)
{
    size_t const length = strlen(prefix);
    dsv3_weights below = {0, room};
    for (int64_t i = 0; i < all->count; i++)
        if (!strncmp(all->item[i].name, prefix, length))
            room[below.count++] = (dsv3_weight){all->item[i].name + length, all->item[i].tensor};
    return below;
}

/* v = RMSNorm(x), as rows. */
static void normalise(const layer *l, const char *weight, int point, const layer_stage *s, const ball *x, vectors *v)
{
    int64_t const n = l->attention->n_tokens, width = l->attention->hidden_size;
    norm const of_row = {l->rd,    dsv3_find(l->weights, weight), width, l->rms_norm_eps, l->point->x_norm, point,
                         l->format};
    for (int64_t t = 0; t < n; t++) {
        ball *const y = v->b + t * width;
        norm_row(&of_row, x + t * width, y);
        if (s->port) stage(l->rd, s->port, t * width, s->out, y, width);
        v->rows[t] = row_of_balls(y, width, v->parts + 3 * t * width);
    }
}

/* y = x + y, y what a sublayer gave and `port` what the port made of it. */
static void add_residual(const layer *l, const dsv3_tensor *port, const ball *x, int point, ball *y)
{
    int64_t const cells = l->attention->n_tokens * l->attention->hidden_size;
    if (port) stage(l->rd, port, 0, NULL, y, cells);
    for (int64_t i = 0; i < cells; i++) y[i] = at(l->rd, point, l->format, ball_add(x[i], y[i]));
}

static bool attend_rows(const layer *l, dsv3_weight *room, const row *x, ball *kv, ball *y)
{
    dsv3_mla_io io = *l->attention_io;
    io.weights = weights_below(l->weights, "self_attn.", room);
    return attention_block(l->rd, l->attention, &io, x, l->past, kv, y, l->attention_out);
}

static bool feed_rows(const layer *l, dsv3_weight *room, const row *x, ball *y)
{
    mlp const dense = {l->rd, l->weights, &dense_points, l->format, l->attention->hidden_size, l->intermediate_size};
    if (!l->moe) return feed_forward(&dense, "mlp", x, l->attention->n_tokens, NULL, y);
    dsv3_moe_io io = *l->moe_io;
    io.weights = weights_below(l->weights, "mlp.", room);
    return moe_block(l->rd, l->moe, &io, x, y, l->moe_out);
}

/* h1: room for (n_tokens, hidden_size), as v. */
static bool layer_steps(const layer *l, dsv3_weight *room, vectors *v, ball *h1, const ball *x, ball *kv, ball *y)
{
    const layer_points *const point = l->point;
    normalise(l, "input_layernorm.weight", point->input_layernorm, &l->input_layernorm, x, v);
    if (!attend_rows(l, room, v->rows, kv, h1)) return false;
    add_residual(l, &l->attention_io->y, x, point->h1, h1);
    normalise(l, "post_attention_layernorm.weight", point->post_attention_layernorm, &l->post_attention_layernorm, h1,
              v);
    if (!feed_rows(l, room, v->rows, y)) return false;
    add_residual(l, l->moe ? &l->moe_io->y : NULL, h1, point->h2, y);
    return true;
}

bool decoder_layer(const layer *l, const ball *x, ball *kv, ball *y)
{
    int64_t const n = l->attention->n_tokens, width = l->attention->hidden_size;
    vectors v = {NULL};
    dsv3_weight *const room = malloc((size_t)l->weights->count * sizeof *room);
    ball *const h1 = malloc((size_t)(n * width) * sizeof *h1);
    bool const good = open_vectors(&v, n, width) && room && h1 && layer_steps(l, room, &v, h1, x, kv, y);
    close_vectors(&v);
    free(room);
    free(h1);
    return good;
}
