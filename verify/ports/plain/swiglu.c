/* y = silu(gate) up. */
#include "plain.h"

float silu(float gate)
{
    return gate / (1 + expf(-gate));
}

dsv3_status plain_swiglu(dsv3_ctx *ctx, const dsv3_swiglu_prob *p, const dsv3_swiglu_io *io)
{
    (void)ctx;
    if (!is_float(&io->gate) || !is_float(&io->up) || !is_float(&io->y)) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t i = 0; i < p->intermediate_size; i++) {
            float const gate = load(&io->gate, t, i), up = load(&io->up, t, i);
            store(&io->y, t, i, silu(gate) * up);
        }
    return DSV3_OK;
}

const char *plain_swiglu_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "sigmoid 4; flush none; gate_sigmoid f32 may; silu f32 must";
}
