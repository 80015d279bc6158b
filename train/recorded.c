/* See recorded.h. */
#include "recorded.h"

#include "files/safetensors.h"

#include <stdio.h>
#include <stdlib.h>

enum { OF_MODEL = 6, OF_LAYER = 13 };

typedef struct {
    int64_t count;
    safetensor *item;
    room memory; /* of tensors that lie apart */
} tensor_list;

/* A tensor as one block, copied together where its rows lie apart. */
static void put(tensor_list *l, const char *prefix, const char *leaf, dsv3_tensor t)
{
    safetensor *const to = &l->item[l->count++];
    int64_t n = 1;
    for (int d = 0; d < t.ndim; d++) n *= t.shape[d];
    int64_t const width = n / t.shape[0];
    if (t.ndim > 1 && t.stride[0] != width) {
        dsv3_tensor const apart = t;
        t = room_values(&l->memory, t.dtype, t.shape[0], width);
        if (!t.data) return;
        copy_values(apart.ndim == 3 ? heads_of(t, apart.shape[1]) : t, apart);
        t.ndim = apart.ndim;
        memcpy(t.shape, apart.shape, sizeof t.shape);
    }
    *to = (safetensor){.dtype = t.dtype, .ndim = t.ndim, .data = t.data, .bytes = (size_t)n * ref_dtype_size(t.dtype)};
    memcpy(to->shape, t.shape, (size_t)t.ndim * sizeof *to->shape);
    snprintf(to->name, sizeof to->name, "%s%s", prefix, leaf);
}

/* Rotated parts (rows, heads, width): training has them as halves, to gets them as the checkpoint does. */
static void copy_rotated(dsv3_tensor to, dsv3_tensor from, bool interleave)
{
    int64_t const half = from.shape[2] / 2;
    if (!interleave) copy_values(to, from);
    for (int64_t i = 0; interleave && i < from.shape[0] * from.shape[1]; i++) {
        int64_t const row = i / from.shape[1], head = i % from.shape[1];
        const float *const x = (const float *)from.data + row * from.stride[0] + head * from.stride[1];
        float *const y = (float *)to.data + row * to.stride[0] + head * to.stride[1];
        for (int64_t j = 0; j < half; j++) y[2 * j] = x[j], y[2 * j + 1] = x[half + j];
    }
}

/* Queries or keys of each head. */
static void put_heads(tensor_list *l, const char *prefix, const char *leaf, const dsv3_config *c, dsv3_tensor rows)
{
    dsv3_tensor const from = heads_of(rows, c->num_attention_heads);
    dsv3_tensor const copy = room_rows(&l->memory, rows.shape[0], rows.shape[1]);
    if (!copy.data) return;
    dsv3_tensor const to = heads_of(copy, c->num_attention_heads);
    int64_t const nope = c->qk_nope_head_dim, rope = c->qk_rope_head_dim;
    copy_values(part_of_heads(to, 0, nope), part_of_heads(from, 0, nope));
    copy_rotated(part_of_heads(to, nope, rope), part_of_heads(from, nope, rope), c->rope_interleave);
    put(l, prefix, leaf, to);
}

static void put_attention(tensor_list *l, const char *prefix, const dsv3_config *c, const attention_values *v)
{
    dsv3_tensor const latent = v->kv_a_norm, pe = v->k_pe;
    dsv3_tensor const kv = room_rows(&l->memory, latent.shape[0], latent.shape[1] + pe.shape[1]);
    if (!kv.data) return;
    copy_values(columns_of(kv, 0, latent.shape[1]), latent);
    copy_rotated(heads_of(columns_of(kv, latent.shape[1], pe.shape[1]), 1), heads_of(pe, 1), c->rope_interleave);
    put_heads(l, prefix, "self_attn.q", c, v->q);
    put_heads(l, prefix, "self_attn.k", c, v->k);
    put(l, prefix, "self_attn.v",
        part_of_heads(heads_of(v->kv, c->num_attention_heads), c->qk_nope_head_dim, c->v_head_dim));
    put(l, prefix, "self_attn.kv", kv);
}

static void put_layer(tensor_list *l, const pass *p, int64_t number, bool has_experts)
{
    const layer_values *const v = &p->layer[number];
    char prefix[40];
    snprintf(prefix, sizeof prefix, "model.layers.%lld.", (long long)number);
    put(l, prefix, "input", v->stream);
    put(l, prefix, "input_layernorm.output", v->norm);
    put_attention(l, prefix, &p->m->config, &v->attention);
    put(l, prefix, "self_attn.output", v->attn_output);
    put(l, prefix, "post_attention_layernorm.output", v->norm2);
    put(l, prefix, has_experts ? "mlp.shared_experts.gate_proj.output" : "mlp.gate_proj.output", v->mlp.gate);
    put(l, prefix, has_experts ? "mlp.shared_experts.up_proj.output" : "mlp.up_proj.output", v->mlp.up);
    if (!has_experts) return;
    put(l, prefix, "mlp.gate.output", v->router_logits);
    put(l, prefix, "mlp.topk_idx", v->topk_idx);
    put(l, prefix, "mlp.topk_weight", v->topk_weight);
}

/* Those of depth 0, and the embedding that the first module takes. */
static void put_model(tensor_list *l, const pass *p)
{
    put(l, "", "input_ids", list_at(p->ids, p->d.n));
    put(l, "", "labels", list_at(p->labels, p->d.n));
    put(l, "model.", "embed_tokens.output", rows_from(p->embeds, 0, p->d.n));
    put(l, "model.", "norm.output", rows_from(p->hidden, 0, p->d.n));
    put(l, "", "logits", rows_from(p->logits, 0, p->d.n));
    if (p->modules) put(l, "mtp.0.", "embed_tokens.output", rows_from(p->embeds, p->d.n, p->d.n));
}

bool recorded_write(const pass *p, const char *path, complaint *why)
{
    int64_t const layers = p->m->config.num_hidden_layers + p->modules;
    tensor_list l = {.item = calloc((size_t)(OF_MODEL + layers * OF_LAYER), sizeof *l.item)};
    if (l.item) put_model(&l, p);
    for (int64_t n = 0; l.item && n < layers; n++) put_layer(&l, p, n, n >= p->m->config.first_k_dense_replace);
    bool const good = l.item && !l.memory.short_of ? safetensors_write(path, l.item, l.count, why)
                                                   : refuse(why, "no memory for %s", path);
    room_close(&l.memory);
    free(l.item);
    return good;
}
