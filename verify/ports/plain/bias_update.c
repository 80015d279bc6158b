/* The bias of an expert with less than the mean load goes up, with more down. */
#include "plain.h"

dsv3_status plain_bias_update(dsv3_ctx *ctx, const dsv3_bias_update_prob *p, const dsv3_bias_update_io *io)
{
    (void)ctx;
    const int32_t *const load = (const int32_t *)io->load.data;
    int64_t total = 0;
    for (int64_t e = 0; e < p->n_routed_experts; e++) total += load[e];
    for (int64_t e = 0; e < p->n_routed_experts; e++) {
        int64_t const shortage = total - p->n_routed_experts * load[e];
        float const sign = (float)((shortage > 0) - (shortage < 0));
        store_at(&io->bias_out, e, load_at(&io->bias, e) + sign * (float)p->bias_update_speed);
    }
    return DSV3_OK;
}

const char *plain_bias_update_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "flush none";
}
