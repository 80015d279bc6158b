/*
 * Experts:  y_t = sum_k w_tk FFN_e(x_t), e = idx_tk,  FFN(x) = W_down (silu(W_gate x) * W_up x).
 * W8A8: x = code * scale, and W_down multiplies quant(silu(W_gate x) * W_up x).
 * Source: DeepSeek-V3 report (arXiv 2412.19437) 2.1.2, eq. 12; DeepSeekMoE (arXiv 2401.06066) 3; Hugging Face transformers,
 * models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3NaiveMoe and DeepseekV3MLP; deepseek-ai/DeepSeek-V3,
 * inference/model.py, Expert and MoE, and kernel.py.
 */
#include "experts.h"

#include "coded.h"
#include "index.h"
#include "matrix.h"
#include "quant.h"
#include "swiglu.h"
#include "vectors.h"

#include <stdio.h>

routing routing_take(const ref_reading *rd, int64_t n_tokens, int64_t k, int64_t n_routed_experts)
{
    int64_t *const idx = scratch_take(rd->scratch, n_tokens * k, sizeof *idx);
    return (routing){n_tokens, k, n_routed_experts, idx, scratch_take(rd->scratch, n_tokens * k, sizeof(ball))};
}

routing routing_read(const ref_reading *rd, const dsv3_tensor *idx, const dsv3_tensor *weight, int64_t n_routed_experts)
{
    int64_t const k = idx->shape[1];
    routing const r = routing_take(rd, idx->shape[0], k, n_routed_experts);
    for (int64_t i = 0; i < r.n_tokens * k; i++) {
        r.idx[i] = read_index(idx, i / k * idx->stride[0] + i % k, n_routed_experts);
        r.weight[i] = element_at(rd, weight, i / k, i % k);
    }
    return r;
}

sum_record *sums_take(const ref_reading *rd, int64_t n)
{
    sum_record *const sum = scratch_take(rd->scratch, n, sizeof *sum);
    for (int64_t i = 0; i < n; i++) sum[i] = empty_sum();
    return sum;
}

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* The expert whose weights stand for expert e's. */
static int64_t weights_of(const mlp *m, const routing *r, int64_t e)
{
    return quirk(m->rd, QUIRK_E3_id_off_by_one) && e + 1 < r->n_routed_experts ? e + 1 : e;
}

/* How many of the n tokens of one expert it gets. */
static int64_t within_capacity(const mlp *m, int64_t n)
{
    return quirk(m->rd, QUIRK_E9_last_token_dropped) && n > 1 ? n - 1 : n;
}

/* silu(gate) * up */
static ball gated(const mlp *m, ball gate, ball up)
{
    bool const swapped = quirk(m->rd, QUIRK_E8_gate_up_swapped);
    return silu_times(m->rd, m->point->silu, m->format, swapped ? up : gate, swapped ? gate : up);
}

/* The expert whose scales the weights of `name`, "experts.5", take. */
static const char *scales_of(const mlp *m, const char *name)
{
    bool const another = !strncmp(name, "experts.", 8) && strcmp(name, "experts.0");
    return another && quirk(m->rd, QUIRK_F16_first_expert_scales) ? "experts.0" : name;
}

/* w y, which becomes a term of the token's sum. */
static ball weighted(const mlp *m, ball w, ball y)
{
    return quirk(m->rd, QUIRK_E11_weights_before) ? y : ball_mul(w, y);
}

/* How many numbers of a row share the scale of a tile, and where they begin. */
static int64_t scaled_together(const mlp *m, int64_t width, int64_t *first)
{
    if (width > QUANT_TILE && quirk(m->rd, QUIRK_F16_act_scale_of_row)) return *first = 0, width;
    return *first + QUANT_TILE < width ? QUANT_TILE : width - *first;
}

/* The scales that multiply the codes of row t; scale: (rows, blocks). */
static const ball *scales_in_use(const mlp *m, const ball *scale, int64_t t, int64_t blocks)
{
    bool const first = t > 0 && quirk(m->rd, QUIRK_F16_act_scale_of_first_row);
    if (!quirk(m->rd, QUIRK_F16_act_scale_missing)) return first ? scale : scale + t * blocks;
    ball *const one = scratch_take(m->rd->scratch, blocks, sizeof *one);
    for (int64_t b = 0; b < blocks; b++) one[b] = ball_of(1);
    return one;
}

/* ---- the network ---- */

static matrix matrix_below(const mlp *m, const char *name, const char *leaf)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s%s", name, *name ? "." : "", leaf);
    return matrix_of(m->rd, m->weights, full, m->point->weight, m->format);
}

/* y = W x at a point, W being `name`.`leaf`. scale: of x, where that is codes; else NULL. */
static void project(const mlp *m, const char *name, const char *leaf, const operand *x, const ball *scale, int64_t n,
                    int point, ball *y)
{
    matrix w = matrix_below(m, name, leaf);
    if (w.scale && scales_of(m, name) != name) {
        matrix const other = matrix_below(m, scales_of(m, name), leaf);
        w.scale = other.scale, w.largest_scale = other.largest_scale;
    }
    if (scale) w.early = early_factors(m->rd, &w, scale, n);
    matrix_times(&w, x, n, point, m->format, y);
}

/* ---- W8A8: what down_proj multiplies ---- */

/* Scales and codes of one row of activations, which belongs to that slot; both are stages. */
static void quantise_row(const mlp *m, const ball *act, int64_t slot, ball *scale, ball *code)
{
    const requantiser *const again = m->again;
    quantiser const z = {m->rd, again->amax_floor, 0, again->scale_fmt, m->point->act_scale, m->point->act_q};
    int64_t const width = m->intermediate_size, blocks = (width + QUANT_TILE - 1) / QUANT_TILE;
    scratch_piece *const mark = scratch_mark(m->rd->scratch);
    ball *const of_tile = scratch_take(m->rd->scratch, width, sizeof *of_tile);
    for (int64_t b = 0; b < blocks; b++) {
        int64_t first = b * QUANT_TILE;
        int64_t const at = slot * blocks + b, n = scaled_together(m, width, &first), skip = b * QUANT_TILE - first;
        bool const forced = m->rd->teacher_forced && again->scale_from_port->data;
        double const own = forced ? ref_decode(DSV3_F32, again->scale_from_port->data, at) : 0;
        scale[b] = quantise(&z, act + first, n, forced ? &own : NULL, of_tile);
        memcpy(code + b * QUANT_TILE, of_tile + skip,
               (size_t)(n - skip < QUANT_TILE ? n - skip : QUANT_TILE) * sizeof *code);
        stage(m->rd, again->scale_from_port, at, again->scale_out, &scale[b], 1);
    }
    stage(m->rd, again->q_from_port, slot * width, again->q_out, code, width);
    for (int64_t i = 0; i < width; i++) code[i] = code_of(m->rd, code[i]);
    scratch_back(m->rd->scratch, mark);
}

/* n rows of activations as codes with scales. */
static coded_rows quantised(const mlp *m, const ball *act, const int64_t *slot, int64_t n)
{
    coded_rows const rows = coded_take(m->rd, n, m->intermediate_size);
    ball *const code = scratch_take(m->rd->scratch, rows.width, sizeof *code);
    ball *const scale = scratch_take(m->rd->scratch, n * rows.blocks, sizeof *scale);
    for (int64_t t = 0; t < n; t++) {
        quantise_row(m, act + t * rows.width, slot[t], scale + t * rows.blocks, code);
        coded_set(m->rd, &rows, t, code, scales_in_use(m, scale, t, rows.blocks), m->again->scale_fmt, m->point->x,
                  m->format);
    }
    return rows;
}

/* ---- a network ---- */

void feed_forward(const mlp *m, const char *name, const operand *x, int64_t n, const act_stage *act, ball *y)
{
    scratch *const memory = m->rd->scratch;
    scratch_piece *const mark = scratch_mark(memory);
    int64_t const width = m->intermediate_size;
    dsv3_dtype const kept = act && act->from_port->dtype ? act->from_port->dtype : m->format;
    vectors gate = vectors_take(memory, n, width);
    scratch_piece *const of_up = scratch_mark(memory);
    ball *const up = vectors_take(memory, n, width).ball;

    project(m, name, "gate_proj", x, m->x_scale, n, m->point->gate_proj, gate.ball); /* gate = W_gate x */
    project(m, name, "up_proj", x, m->x_scale, n, m->point->up_proj, up);            /* up = W_up x */
    for (int64_t i = 0; i < n * width; i++) /* gate <- silu(gate) * up, in place */
        gate.ball[i] = round_at(m->rd, m->point->act, kept, gated(m, gate.ball[i], up[i]));
    for (int64_t t = 0; act && t < n; t++) /* to act->out, then the port's own values if that is asked for */
        stage(m->rd, act->from_port, act->slot[t] * width, act->out, gate.ball + t * width, width);
    scratch_back(memory, of_up);
    if (m->again) { /* W8A8: gate <- quant(gate) */
        coded_rows const again = quantised(m, gate.ball, act->slot, n);
        project(m, name, "down_proj", again.row, again.scale, n, m->point->expert_out, y);
    } else {
        vectors_prepare(memory, &gate);
        project(m, name, "down_proj", gate.row, NULL, n, m->point->expert_out, y); /* y = W_down gate */
    }
    scratch_back(memory, mark);
}

/* ---- the tokens of one expert ---- */

int64_t slots_of(const routing *r, int64_t e, int64_t *slot)
{
    int64_t n = 0;
    for (int64_t i = 0; i < r->n_tokens * r->k; i++) {
        if (r->idx[i] != e) continue;
        if (slot) slot[n] = i;
        n++;
    }
    return n;
}

/* The tokens of n slots. The mistake: each is multiplied by its weight here. */
static const operand *inputs_of(const mlp *m, const operand *x, const routing *r, const int64_t *slot, int64_t n)
{
    scratch *const memory = m->rd->scratch;
    operand *const token = scratch_take(memory, n, sizeof *token);
    for (int64_t i = 0; i < n; i++) token[i] = x[slot[i] / r->k];
    if (!quirk(m->rd, QUIRK_E11_weights_before)) return token;
    vectors scaled = vectors_take(memory, n, m->hidden_size);
    for (int64_t i = 0; i < n * scaled.width; i++) {
        ball const entry = ball_of(token[i / scaled.width].value[i % scaled.width]);
        scaled.ball[i] = round_op(m->rd, ball_mul(r->weight[slot[i / scaled.width]], entry));
    }
    vectors_prepare(memory, &scaled);
    return scaled.row;
}

/* The network of expert e's tokens, those of n slots: of W8A8 with their scales. */
static mlp network_of(const mlp *m, const routing *r, const int64_t *slot, int64_t n)
{
    mlp here = *m;
    int64_t const blocks = (m->hidden_size + QUANT_TILE - 1) / QUANT_TILE;
    if (!m->x_scale) return here;
    ball *const scale = scratch_take(m->rd->scratch, n * blocks, sizeof *scale);
    for (int64_t i = 0; i < n; i++)
        memcpy(scale + i * blocks, m->x_scale + slot[i] / r->k * blocks, (size_t)blocks * sizeof *scale);
    here.x_scale = scale;
    return here;
}

/* What expert e adds: (12)  w_tk FFN_e(x_t) for each token t that has chosen it. */
static void add_expert(const mlp *m, const operand *x, const routing *r, int64_t e, int routed, const dsv3_tensor *act,
                       ref_value *act_out, sum_record *sum)
{
    scratch *const memory = m->rd->scratch;
    int64_t const n = within_capacity(m, slots_of(r, e, NULL)), width = m->hidden_size;
    char name[40];
    if (n == 0) return;
    scratch_piece *const mark = scratch_mark(memory);
    int64_t *const slot = scratch_take(memory, slots_of(r, e, NULL), sizeof *slot);
    ball *const y = vectors_take(memory, n, width).ball;

    slots_of(r, e, slot);
    mlp const network = network_of(m, r, slot, n);
    snprintf(name, sizeof name, "experts.%lld", (long long)weights_of(m, r, e));
    feed_forward(&network, name, inputs_of(m, x, r, slot, n), n, &(act_stage){act, act_out, slot}, y);
    for (int64_t i = 0; i < n * width; i++) {
        int64_t const s = slot[i / width], t = s / r->k;
        add_term(&sum[t * width + i % width], round_at(m->rd, routed, m->format, weighted(m, r->weight[s], y[i])));
    }
    scratch_back(memory, mark);
}

/* Row i of an output. */
static void fill_any(ref_value *out, int64_t i, int64_t width)
{
    for (int64_t c = 0; out && c < width; c++) out[i * width + c] = value_of(ball_any());
}

/* What follows from slot i, which names no expert: its activations and the sums of its token have any value. */
static void leave_undecided(const mlp *m, const routing *r, int64_t i, ref_value *act_out, sum_record *sum)
{
    int64_t const width = m->intermediate_size;
    for (int64_t c = 0; c < m->hidden_size; c++) sum[i / r->k * m->hidden_size + c].total = ball_any();
    fill_any(act_out, i, width);
    if (m->again)
        fill_any(m->again->q_out, i, width), fill_any(m->again->scale_out, i, (width + QUANT_TILE - 1) / QUANT_TILE);
}

void add_experts(const mlp *m, const operand *x, const routing *r, int routed, const dsv3_tensor *act,
                 ref_value *act_out, sum_record *sum)
{
    for (int64_t e = 0; e < r->n_routed_experts; e++) add_expert(m, x, r, e, routed, act, act_out, sum);
    for (int64_t i = 0; i < r->n_tokens * r->k; i++)
        if (r->idx[i] < 0) leave_undecided(m, r, i, act_out, sum);
}

/* ---- the op ---- */

static const mlp_points points = {POINT_experts_weight,  POINT_experts_gate_proj,
                                  POINT_experts_up_proj, {POINT_experts_gate_sigmoid, POINT_experts_silu},
                                  POINT_experts_act,     POINT_experts_expert_out,
                                  POINT_experts_x,       POINT_experts_act_scale,
                                  POINT_experts_act_q};

/* The number of the equation is that of the V3 report. */
void ref_experts(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_experts_prob *const p = prob;
    const dsv3_experts_io *const io = io_;
    int64_t const cells = p->n_tokens * p->hidden_size;
    bool const coded = io->hidden_states.dtype == DSV3_F8_E4M3;
    ref_reading staged = *rd;
    staged.stages = p->stages;
    requantiser const again = {p->amax_floor, p->scale_fmt,          &io->act_scale,
                               &io->act_q,    coded ? out[2] : NULL, coded ? out[3] : NULL};
    mlp m = {&staged, &io->weights, &points, io->y.dtype, p->hidden_size, p->moe_intermediate_size, NULL, NULL};
    vectors x = {0};
    if (coded) {
        coded_rows const rows = coded_read(&staged, &io->hidden_states, &io->x_scale, POINT_experts_x, m.format);
        x.row = rows.row, m.x_scale = rows.scale, m.again = &again;
    } else {
        x = vectors_read(rd->scratch, &io->hidden_states, p->n_tokens, p->hidden_size);
    }
    routing const r = routing_read(rd, &io->topk_idx, &io->topk_weight, p->n_routed_experts);
    sum_record *const sum = sums_take(rd, cells);

    add_experts(&m, x.row, &r, POINT_experts_routed, &io->act, out[0], sum); /* (12)  y = sum_k w_k FFN_k(x) */
    for (int64_t i = 0; out[1] && i < cells; i++) {
        ball const y = sum_rounded_at(rd, POINT_experts_routed, m.format, &sum[i]);
        out[1][i] = value_of(round_at(rd, POINT_experts_y, m.format, y));
    }
}
