/*
 * SwiGLU's gradients:  grad_gate = grad_y up silu'(gate),  grad_up = grad_y silu(gate),
 * silu'(z) = s (1 + z (1 - s)),  s = sigmoid(z).
 * Source: the derivative of swiglu; pytorch/pytorch, aten/src/ATen/native/cpu/Activation.cpp, silu_backward_kernel;
 * linkedin/Liger-Kernel, src/liger_kernel/ops/swiglu.py.
 */
#include "swiglu_backward.h"

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* 1 + z (1 - s) */
static ball inner_of(const ref_reading *rd, ball z, ball rest)
{
    if (quirk(rd, QUIRK_D1_slope_of_sigmoid)) return rest;
    return round_op(rd, ball_add(ball_of(1), round_op(rd, ball_mul(z, rest))));
}

/* s (1 + z (1 - s)), s + silu (1 - s), or silu + s (1 - silu). (Lemma Slope) */
static ball slope_of(const ref_reading *rd, const gate_values *g)
{
    ball const product = round_op(rd, ball_mul(g->s, g->inner));
    if (!rd->declared || quirk(rd, QUIRK_D1_slope_of_sigmoid)) return product;
    ball const of_rest = round_op(rd, ball_add(g->s, round_op(rd, ball_mul(g->silu, g->rest))));
    ball const less = round_op(rd, ball_sub(ball_of(1), g->silu));
    ball const of_less = round_op(rd, ball_add(g->silu, round_op(rd, ball_mul(g->s, less))));
    return either(rd, 1, product, either(rd, 2, of_rest, of_less));
}

/* sigmoid(z), as the port keeps it. */
static ball sigmoid_at(const ref_reading *rd, int point, dsv3_dtype output, ball z)
{
    return round_at(rd, point, output, sigmoid_of(rd, z));
}

/* 1 - s, or sigmoid(-z), which is no sigmoid of the gate: the point may leave it alone. */
static ball rest_of(const ref_reading *rd, int point, dsv3_dtype output, ball z, ball s)
{
    ball const opposite = sigmoid_of(rd, ball_neg(z));
    if (!rd->declared) return opposite;
    ball const rounded = sigmoid_at(rd, point, output, ball_neg(z));
    return either(rd, 3, either(rd, 4, opposite, rounded), round_op(rd, ball_sub(ball_of(1), s)));
}

gate_values gate_values_of(const ref_reading *rd, silu_points point, dsv3_dtype output, ball z)
{
    reading_room room;
    const ref_reading *const inner = reading_of(rd, REF_SIGMOID, &room);
    ball const silu = silu_of(inner, point.gate_sigmoid, output, z);
    gate_values g = {.s = sigmoid_at(inner, point.gate_sigmoid, output, z),
                     .silu = round_at(inner, point.silu, output, silu)};
    g.rest = rest_of(inner, point.gate_sigmoid, output, z, g.s);
    g.inner = inner_of(inner, z, g.rest);
    g.slope = slope_of(inner, &g);
    return g;
}

ball gate_gradient(const ref_reading *rd, int point, dsv3_dtype output, const gate_values *g, ball grad_y, ball up)
{
    ball const grad_silu = round_at(rd, point, output, ball_mul(grad_y, up));
    ball const in_order = ball_mul(grad_silu, g->slope);
    if (!rd->declared) return in_order;
    ball const split = product_of(rd, (ball[]){grad_silu, g->s, g->inner}, 3);
    ball const mixed = product_of(rd, (ball[]){grad_y, up, g->slope}, 3);
    ball const all = product_of(rd, (ball[]){grad_y, up, g->s, g->inner}, 4);
    return either(rd, 5, either(rd, 6, in_order, split), either(rd, 7, mixed, all));
}

/* ---- the op ---- */

void ref_swiglu_backward(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_swiglu_backward_io *const io = io_;
    const dsv3_swiglu_backward_prob *const p = prob;
    int64_t const width = p->intermediate_size;
    dsv3_dtype const output = io->grad_gate.dtype;
    bool const exchanged = quirk(rd, QUIRK_D1_grads_exchanged);
    ref_value *const by_gate = out[exchanged], *const by_up = out[!exchanged];
    silu_points const point = {POINT_swiglu_backward_gate_sigmoid, POINT_swiglu_backward_silu};
    for (int64_t k = 0; k < p->n_tokens * width; k++) {
        int64_t const t = k / width, i = k % width;
        gate_values const g = gate_values_of(rd, point, output, element_at(rd, &io->gate, t, i));
        ball const grad_y = element_at(rd, &io->grad_y, t, i), up = element_at(rd, &io->up, t, i);
        ball const grad_gate = gate_gradient(rd, POINT_swiglu_backward_grad_silu, output, &g, grad_y, up);
        ball const grad_up = ball_mul(grad_y, g.silu);
        if (by_gate) by_gate[k] = value_of(round_at(rd, POINT_swiglu_backward_grad_gate, output, grad_gate));
        if (by_up) by_up[k] = value_of(round_at(rd, POINT_swiglu_backward_grad_up, output, grad_up));
    }
}
