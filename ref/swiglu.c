/*
 * SwiGLU:  y = silu(gate) * up,  silu(z) = z / (1 + e^-z).
 * Source: Shazeer, arXiv 2002.05202, eq. 6; DeepSeek-V3 report (arXiv 2412.19437) 2.1.2; Hugging Face transformers,
 * models/deepseek_v3/modeling_deepseek_v3.py, DeepseekV3MLP.
 */
#include "swiglu.h"

/* ---- decisions: what the formula does here, and which quirks do instead ---- */

/* z sigmoid(sqrt(8 / pi) (z + 0.044715 z^3)) */
static ball gelu(const ref_reading *rd, ball z)
{
    ball const root = ball_sqrt(ball_div(ball_of(8), ball_pi())), cube = ball_mul(ball_mul(z, z), z);
    ball const inner = ball_mul(root, ball_add(z, ball_mul(ball_decimal(0.044715), cube)));
    return ball_mul(z, sigmoid_of(rd, rd->declared ? off_by(rd, inner, 0x1p-20 * ball_sup(inner)) : inner));
}

/* silu(z) */
static ball activation(const ref_reading *rd, int point, dsv3_dtype output, ball z)
{
    if (ball_is_any(z)) return ball_any();
    if (quirk(rd, QUIRK_S1_glu)) return sigmoid_of(rd, z);
    if (quirk(rd, QUIRK_S2_gelu)) return gelu(rd, z);
    return silu_of(rd, point, output, z);
}

ball silu_times(const ref_reading *rd, silu_points point, dsv3_dtype output, ball gate, ball up)
{
    bool const exchanged = quirk(rd, QUIRK_E8_gate_up_exchanged);
    reading_room room;
    const ref_reading *const inner = reading_of(rd, REF_SIGMOID, &room);
    ball const silu = activation(inner, point.gate_sigmoid, output, exchanged ? up : gate);
    return ball_mul(round_at(inner, point.silu, output, silu), exchanged ? gate : up);
}

/* ---- the op ---- */

void ref_swiglu(const ref_reading *rd, const void *prob, const void *io_, ref_value *const out[])
{
    const dsv3_swiglu_io *const io = io_;
    const dsv3_swiglu_prob *const p = prob;
    int64_t const width = p->intermediate_size;
    dsv3_dtype const output = io->y.dtype;
    silu_points const point = {POINT_swiglu_gate_sigmoid, POINT_swiglu_silu};
    for (int64_t k = 0; k < p->n_tokens * width; k++) {
        ball const gate = element_at(rd, &io->gate, k / width, k % width),
                   up = element_at(rd, &io->up, k / width, k % width);
        ball const y = silu_times(rd, point, output, gate, up);
        out[0][k] = value_of(round_at(rd, POINT_swiglu_y, output, y));
    }
}
