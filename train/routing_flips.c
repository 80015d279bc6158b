/* See routing_flips.h. */
#include "routing_flips.h"

#include "feed_forward.h"
#include "judge/judge.h"

#include <stdio.h>
#include <stdlib.h>

bool flips_open(flips *f, const model *m, complaint *why)
{
    *f = (flips){.flipped = calloc((size_t)model_moe_layers(m) + 1, sizeof *f->flipped)};
    return f->flipped || refuse(why, "no memory to count flips");
}

void flips_close(flips *f)
{
    free(f->flipped);
    f->flipped = NULL;
}

/* ---- which tokens ---- */

static bool chose(const int32_t *chosen, int64_t n, int32_t expert)
{
    for (int64_t i = 0; i < n; i++)
        if (chosen[i] == expert) return true;
    return false;
}

/* In any order. */
static bool same_experts(const int32_t *a, const int32_t *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!chose(a, n, b[i])) return false;
    return true;
}

/* Their numbers, in token; how many there are. */
static int64_t find_flipped(const layer_values *f32, const layer_values *v, int64_t *token)
{
    int64_t const n = v->topk_idx.shape[0], k = v->topk_idx.shape[1];
    const int32_t *const a = f32->topk_idx.data, *const b = v->topk_idx.data;
    int64_t count = 0;
    for (int64_t t = 0; t < n; t++)
        if (!same_experts(a + t * k, b + t * k, k)) token[count++] = t;
    return count;
}

/* ---- what the judge says of them ---- */

enum { MOST_TENSORS = 5, ID = 512 };

/* A call of an op by name, with its tensors by the names that cases have for them. */
typedef struct {
    const char *op;
    const void *prob, *io;
    char id[ID];
    dsv3_weight tensor[MOST_TENSORS];
} past_call;

static void *data_of(const past_call *c, const char *name)
{
    for (int i = 0; i < MOST_TENSORS; i++)
        if (c->tensor[i].name && !strcmp(c->tensor[i].name, name)) return c->tensor[i].tensor.data;
    return NULL;
}

/* r: the verdict on the outputs that the tensors hold, under what the port declares. */
static bool judge_call(const loaded_port *port, const past_call *c, result *r, complaint *why)
{
    problem q;
    ref_numerics declared;
    readings read;
    const char *const text = port->table.numerics ? port->table.numerics(c->op, c->prob, c->io) : NULL;
    if (!ref_numerics_parse(c->op, text, &declared, why->text, sizeof why->text)) return false;
    if (!problem_parse(c->id, &q, why)) return false;
    void **const data = calloc((size_t)q.tensors, sizeof *data);
    for (int i = 0; data && i < q.tensors; i++) data[i] = data_of(c, q.tensor[i].name);
    bool const good = data && readings_open(&q, &declared, data, &read);
    if (good) {
        judge(&q, &read.truth, &read.legal, &read.own, data, r);
        readings_free(&read);
    }
    free(data);
    problem_close(&q);
    return good || refuse(why, "no memory to judge %s", c->id);
}

/* The rows of the flipped tokens, one behind another. */
static dsv3_tensor gathered(room *r, dsv3_tensor rows, const int64_t *token, int64_t count)
{
    dsv3_tensor const out = room_values(r, rows.dtype, count, rows.shape[1]);
    for (int64_t i = 0; out.data && i < count; i++) copy_values(rows_from(out, i, 1), rows_from(rows, token[i], 1));
    return out;
}

static bool judge_logits(const pass *p, const layer *l, dsv3_tensor x, dsv3_tensor logits, result *r, complaint *why)
{
    const parameter *const w = l->gate;
    dsv3_linear_prob const prob = {x.shape[0], w->shape[1], w->shape[0]};
    dsv3_linear_io const io = {.x = x, .weights = {w->weights, w->weight}, .y = logits};
    past_call c = {"linear", &prob, &io, "", {{"x", x}, w->weight[0], {"y", logits}}};
    snprintf(c.id, ID, "linear@tiny:n_tokens=%lld,in_features=%lld,out_features=%lld,x=%s,weight=%s,y=f32",
             (long long)prob.n_tokens, (long long)prob.in_features, (long long)prob.out_features,
             ref_dtype_name(x.dtype), ref_dtype_name(w->weight[0].tensor.dtype));
    return judge_call(p->call.port, &c, r, why);
}

static bool judge_choice(const pass *p, const layer *l, dsv3_tensor logits, dsv3_tensor idx, dsv3_tensor weight,
                         result *r, complaint *why)
{
    const dsv3_config *const f = &p->m->config;
    dsv3_weight const bias = {"e_score_correction_bias", {l->bias, DSV3_F32, 1, {f->n_routed_experts}, {1}}};
    dsv3_gate_prob const prob = gate_of(f, logits.shape[0]);
    dsv3_gate_io const io = {.logits = logits, .weights = {1, &bias}, .topk_idx = idx, .topk_weight = weight};
    past_call c = {"gate", &prob, &io, "", {{"logits", logits}, bias, {"topk_idx", idx}, {"topk_weight", weight}}};
    snprintf(c.id, ID,
             "gate@v3:n_tokens=%lld,n_routed_experts=%lld,n_group=%lld,topk_group=%lld,num_experts_per_tok=%lld,"
             "routed_scaling_factor=%.17g,norm_topk_prob=%d,logits=f32",
             (long long)prob.n_tokens, (long long)f->n_routed_experts, (long long)f->n_group, (long long)f->topk_group,
             (long long)f->num_experts_per_tok, f->routed_scaling_factor, (int)f->norm_topk_prob);
    return judge_call(p->call.port, &c, r, why);
}

/* ---- a layer ---- */

static void note_verdict(flips *f, int number, const result *logits, const result *choice, int64_t count)
{
    const result *const bad = logits->v != PASS ? logits : choice;
    if (bad->v == PASS) return;
    if (!f->illegal)
        snprintf(f->first, sizeof f->first, "layer %d with experts, %s: %s %s", number,
                 bad == logits ? "the gate's logits" : "the choice", verdict_name(bad->v), bad->why);
    f->illegal += count;
}

static bool judge_flipped(flips *f, const pass *p, int i, const layer_values *v, const int64_t *token, int64_t count,
                          complaint *why)
{
    const layer *const l = model_moe_layer(p->m, i);
    room r = {0};
    result *const said = room_take(&r, 2, sizeof *said);
    dsv3_tensor const x = gathered(&r, v->norm2, token, count), logits = gathered(&r, v->router_logits, token, count);
    dsv3_tensor const idx = gathered(&r, v->topk_idx, token, count),
                      weight = gathered(&r, v->topk_weight, token, count);
    bool const good = r.short_of ? refuse(why, "no memory to judge flips")
                                 : judge_logits(p, l, x, logits, &said[0], why) &&
                                       judge_choice(p, l, logits, idx, weight, &said[1], why);
    if (good) note_verdict(f, i, &said[0], &said[1], count);
    room_close(&r);
    return good;
}

bool flips_add(flips *f, const pass *f32, const pass *p, complaint *why)
{
    int64_t *const token = calloc((size_t)p->d.n, sizeof *token);
    bool good = token || refuse(why, "no memory to count flips");
    for (int i = 0; good && i < model_moe_layers(p->m); i++) {
        int64_t const at = p->m->config.first_k_dense_replace + i; /* modules have experts, and come last */
        int64_t const count = find_flipped(&f32->layer[at], &p->layer[at], token);
        f->flipped[i] += count;
        if (count) good = judge_flipped(f, p, i, &p->layer[at], token, count, why);
    }
    f->tokens += p->d.n;
    free(token);
    return good;
}
