/* swiglu: docs/components/swiglu.md. */
#include "legal.h"

void legal_swiglu_config(legal *c, dsv3_swiglu_prob const *p, dsv3_swiglu_io const *io)
{
    legal_start(c, "swiglu", p->n_tokens, p->intermediate_size, 0, (int)io->gate.dtype);
    c->acc = number_accumulator(53, false);
    legal_arithmetic(c, io->gate.dtype == DSV3_BF16);
    legal_functions(c, "sigmoid");
    legal_silu_config(c, io->gate.dtype);
    c->point[0] = legal_round_at(c, "silu", io->gate.dtype);
    legal_output(c, "y", io->y.dtype);
}

dsv3_status legal_swiglu(dsv3_ctx *ctx, dsv3_swiglu_prob const *p, dsv3_swiglu_io const *io)
{
    (void)ctx;
    legal c;
    legal_swiglu_config(&c, p, io);
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t i = 0; i < p->intermediate_size; i++) {
            double const z = legal_load(&c, &io->gate, legal_row(&io->gate, t) + i);
            double const up = legal_load(&c, &io->up, legal_row(&io->up, t) + i);
            double const silu = legal_at(&c, c.point[0], legal_silu(&c, z));
            legal_store(&c, &io->y, legal_row(&io->y, t) + i, legal_op(&c, silu * up));
        }
    return DSV3_OK;
}
