/* grad_gate = grad_y up silu'(gate), grad_up = grad_y silu(gate). */
#include "plain.h"

dsv3_status plain_swiglu_backward(dsv3_ctx *ctx, const dsv3_swiglu_backward_prob *p, const dsv3_swiglu_backward_io *io)
{
    (void)ctx;
    if (!is_float(&io->gate) || !is_float(&io->up) || !is_float(&io->grad_y)) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t i = 0; i < p->intermediate_size; i++) {
            float const gate = load(&io->gate, t, i), up = load(&io->up, t, i), grad_y = load(&io->grad_y, t, i);
            float const s = 1 / (1 + expf(-gate));
            store(&io->grad_gate, t, i, grad_y * up * (s * (1 + gate * (1 - s))));
            store(&io->grad_up, t, i, grad_y * silu(gate));
        }
    return DSV3_OK;
}

const char *plain_swiglu_backward_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "sigmoid 4; flush none; gate_sigmoid f32 must; silu f32 must; grad_silu f32 must";
}
