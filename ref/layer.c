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
#include "vectors.h"

/* The weights whose names begin with the prefix, without it. */
static dsv3_weights weights_below(const layer *l, const char *prefix)
{
    const dsv3_weights *const all = l->weights;
    size_t const length = strlen(prefix);
    dsv3_weight *const room = scratch_take(l->rd->scratch, all->count, sizeof *room);
    dsv3_weights below = {0, room};
    for (int64_t i = 0; i < all->count; i++)
        if (!strncmp(all->item[i].name, prefix, length))
            room[below.count++] = (dsv3_weight){all->item[i].name + length, all->item[i].tensor};
    return below;
}

/* RMSNorm(x) */
static vectors normalise(const layer *l, const char *weight, int point, const layer_stage *s, const ball *x)
{
    vectors v = vectors_take(l->rd->scratch, l->attention->n_tokens, l->attention->hidden_size);
    norm const of_row = {l->rd,    dsv3_find(l->weights, weight), v.width, l->rms_norm_eps, l->point->x_norm, point,
                         l->format};
    for (int64_t t = 0; t < v.n; t++) norm_row(&of_row, x + t * v.width, v.ball + t * v.width);
    if (s->from_port) stage(l->rd, s->from_port, 0, s->out, v.ball, v.n * v.width);
    vectors_prepare(l->rd->scratch, &v);
    return v;
}

/* y = x + y, y what a sublayer gave and `port` what the port made of it. */
static void add_residual(const layer *l, const dsv3_tensor *port, const ball *x, int point, ball *y)
{
    int64_t const cells = l->attention->n_tokens * l->attention->hidden_size;
    if (port) stage(l->rd, port, 0, NULL, y, cells);
    for (int64_t i = 0; i < cells; i++) y[i] = round_at(l->rd, point, l->format, ball_add(x[i], y[i]));
}

static void self_attention(const layer *l, vectors x, ball *kv, ball *y)
{
    dsv3_mla_io io = *l->attention_io;
    io.weights = weights_below(l, "self_attn.");
    attention_block(l->rd, l->attention, &io, x, l->past, kv, y, l->attention_out);
}

static void feed(const layer *l, vectors x, ball *y)
{
    mlp const dense = {l->rd, l->weights, &shared_points, l->format, l->attention->hidden_size, l->intermediate_size,
                       NULL,  NULL};
    if (!l->moe) {
        feed_forward(&dense, "mlp", x.row, x.n, NULL, y);
        return;
    }
    dsv3_moe_io io = *l->moe_io;
    io.weights = weights_below(l, "mlp.");
    moe_block(l->rd, l->moe, &io, x.row, y, l->moe_out);
}

void decoder_layer(const layer *l, const ball *x, ball *kv, ball *y)
{
    const layer_points *const point = l->point;
    scratch_piece *const mark = scratch_mark(l->rd->scratch);
    ball *const h1 = vectors_take(l->rd->scratch, l->attention->n_tokens, l->attention->hidden_size).ball;
    vectors v = normalise(l, "input_layernorm.weight", point->input_layernorm, &l->input_layernorm, x);
    self_attention(l, v, kv, h1);
    add_residual(l, &l->attention_io->y, x, point->h1, h1);
    v = normalise(l, "post_attention_layernorm.weight", point->post_attention_layernorm, &l->post_attention_layernorm,
                  h1);
    feed(l, v, y);
    add_residual(l, l->moe ? &l->moe_io->y : NULL, h1, point->h2, y);
    scratch_back(l->rd->scratch, mark);
}
