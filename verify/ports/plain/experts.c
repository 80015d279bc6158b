/* The routed experts: binary32, in ascending order. Activations that are asked for are stored, and read again. */
#include "plain.h"

#include <stdio.h>

static matrix find_leaf(const dsv3_weights *weights, const char *name, const char *leaf)
{
    char full[100];
    snprintf(full, sizeof full, "%s.%s", name, leaf);
    return find_matrix(weights, full);
}

network find_network(const dsv3_weights *weights, const char *name)
{
    network const f = {find_leaf(weights, name, "gate_proj"), find_leaf(weights, name, "up_proj"),
                       find_leaf(weights, name, "down_proj")};
    return f;
}

static network find_expert(const layer *m, int64_t e)
{
    char name[40];
    snprintf(name, sizeof name, "experts.%lld", (long long)e);
    return find_network(m->weights, name);
}

int usable_network(const network *f)
{
    return usable(&f->gate) && usable(&f->up) && usable(&f->down);
}

int usable_experts(const layer *m)
{
    for (int64_t e = 0; e < m->experts; e++) {
        network const f = find_expert(m, e);
        if (!usable_network(&f)) return 0;
    }
    return 1;
}

int open_layer(layer *m, dsv3_ctx *ctx, int64_t widest)
{
    int64_t const cells = m->n_tokens * m->hidden_size;
    m->row = scratch(ctx, m->hidden_size + widest + cells);
    if (!m->row) return 0;
    m->act = m->row + m->hidden_size;
    m->sum = m->act + widest;
    for (int64_t i = 0; i < cells; i++) m->sum[i] = 0;
    return 1;
}

void load_token(const layer *m, int64_t t)
{
    load_row(m->x, t * m->x->stride[0], m->row, m->hidden_size);
}

void add_network(const layer *m, const network *f, int64_t t, float weight, const dsv3_tensor *act, int64_t from)
{
    int64_t const width = f->gate.weight->shape[0];
    load_token(m, t);
    for (int64_t i = 0; i < width; i++) m->act[i] = silu(row_times(&f->gate, i, m->row)) * row_times(&f->up, i, m->row);
    round_trip(act, from, m->act, width);
    for (int64_t c = 0; c < m->hidden_size; c++)
        m->sum[t * m->hidden_size + c] += weight * row_times(&f->down, c, m->act);
}

/* ---- W8A8 ---- */

static int64_t place_in(const dsv3_tensor *stage, int64_t t, int64_t i)
{
    return t * stage->stride[0] + i * stage->stride[1];
}

/* The codes of the activations to act, their scales to act_scale; both to their stages too. */
static void quantise_act(const layer *m, int64_t t, int64_t i, int64_t width)
{
    const dsv3_tensor *const scale = &m->io->act_scale, *const q = &m->io->act_q;
    size_t const tiles = (size_t)((width + BLOCK - 1) / BLOCK);
    quantise_row(m->p->amax_floor, m->p->scale_fmt, m->act, width, m->act_scale, m->act_q);
    if (scale->data) memcpy((float *)scale->data + place_in(scale, t, i), m->act_scale, tiles * sizeof *m->act_scale);
    if (q->data) memcpy((uint8_t *)q->data + place_in(q, t, i), m->act_q, (size_t)width);
    dsv3_tensor const codes = {m->act_q, DSV3_F8_E4M3, 1, {width}, {1}};
    load_row(&codes, 0, m->act, width);
}

/* As add_network; slot i of token t. */
static void add_coded(const layer *m, const network *f, int64_t t, int64_t i, float weight)
{
    const dsv3_tensor *const x_scale = &m->io->x_scale;
    int64_t const width = f->gate.weight->shape[0], from = t * x_scale->stride[0], tiles = (width + BLOCK - 1) / BLOCK;
    dsv3_tensor const act_scale = {m->act_scale, DSV3_F32, 2, {1, tiles}, {tiles, 1}};
    load_token(m, t);
    for (int64_t c = 0; c < width; c++) {
        float const gate = coded_row_times(&f->gate, c, m->row, x_scale, from);
        m->act[c] = silu(gate) * coded_row_times(&f->up, c, m->row, x_scale, from);
    }
    round_trip(&m->io->act, place_in(&m->io->act, t, i), m->act, width);
    quantise_act(m, t, i, width);
    for (int64_t c = 0; c < m->hidden_size; c++)
        m->sum[t * m->hidden_size + c] += weight * coded_row_times(&f->down, c, m->act, &act_scale, 0);
}

/* ---- all experts ---- */

/* What slot i of token t adds. */
static void add_slot(const layer *m, const network *f, int64_t t, int64_t i, float weight, const dsv3_tensor *act)
{
    if (m->io)
        add_coded(m, f, t, i, weight);
    else
        add_network(m, f, t, weight, act, place_in(act, t, i));
}

/* Expert e, for the tokens that chose it. */
static void add_expert(const layer *m, int64_t e, const dsv3_tensor *idx, const dsv3_tensor *weight,
                       const dsv3_tensor *act)
{
    network const f = find_expert(m, e);
    for (int64_t t = 0; t < m->n_tokens; t++)
        for (int64_t i = 0; i < m->k; i++)
            if (((const int32_t *)idx->data)[t * idx->stride[0] + i] == e)
                add_slot(m, &f, t, i, load_at(weight, t * weight->stride[0] + i), act);
}

void add_experts(const layer *m, const dsv3_tensor *idx, const dsv3_tensor *weight, const dsv3_tensor *act)
{
    for (int64_t e = 0; e < m->experts; e++) add_expert(m, e, idx, weight, act);
}

void store_sums(const layer *m, const dsv3_tensor *y)
{
    for (int64_t t = 0; t < m->n_tokens; t++)
        for (int64_t c = 0; c < m->hidden_size; c++) store_at(y, t * y->stride[0] + c, m->sum[t * m->hidden_size + c]);
}

/* Codes with scales, of hidden states and of weights. */
static int is_coded(const layer *m, const dsv3_experts_io *io)
{
    if (io->hidden_states.dtype != DSV3_F8_E4M3 || !io->x_scale.data) return 0;
    for (int64_t e = 0; e < m->experts; e++) {
        network const f = find_expert(m, e);
        if (!f.gate.scale || !f.up.scale || !f.down.scale) return 0;
    }
    return 1;
}

dsv3_status plain_experts(dsv3_ctx *ctx, const dsv3_experts_prob *p, const dsv3_experts_io *io)
{
    layer m = {.weights = &io->weights, .x = &io->hidden_states, .n_tokens = p->n_tokens};
    int64_t const width = p->moe_intermediate_size, tiles = (width + BLOCK - 1) / BLOCK;
    m.hidden_size = p->hidden_size, m.experts = p->n_routed_experts, m.k = p->num_experts_per_tok;
    int const coded = is_coded(&m, io);
    if (!(coded || is_float(m.x)) || !usable_experts(&m)) return DSV3_UNSUPPORTED;
    if (!open_layer(&m, ctx, coded ? 2 * width + tiles : width)) return DSV3_NO_MEMORY;
    if (coded) m.p = p, m.io = io, m.act_scale = m.act + width, m.act_q = (uint8_t *)(m.act_scale + tiles);
    add_experts(&m, &io->topk_idx, &io->topk_weight, &io->act);
    store_sums(&m, &io->y);
    return DSV3_OK;
}

#define STEPS                                                                                                          \
    "sigmoid 4; flush none; weight f32 may; gate_proj f32 must; up_proj f32 must; gate_sigmoid f32 may; silu f32 "     \
    "must; act f32 must; "                                                                                             \
    "expert_out f32 must; routed f32 must"
#define CODES "; x f32 may; act_scale f32 must; div ieee; quotient div"

/* Products with matrices are sums in LANES parts, of codes one a block. A chain of so few terms is no longer than that. */
const char *plain_experts_numerics(const void *prob, const void *io)
{
    int const few = ((const dsv3_experts_prob *)prob)->num_experts_per_tok <= LANES;
    if (((const dsv3_experts_io *)io)->hidden_states.dtype == DSV3_F8_E4M3)
        return "acc 24 rn promote=128; " STEPS CODES;
    return few ? "acc 24 rn splits=8; " STEPS : "acc 24 rn; " STEPS;
}
