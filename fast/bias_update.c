/* The bias of an expert with less than the mean load goes up, with more down. */
#include "fast.h"

dsv3_status fast_bias_update(dsv3_ctx *ctx, const dsv3_bias_update_prob *p, const dsv3_bias_update_io *io)
{
    (void)ctx;
    const int32_t *const load = io->load.data;
    const float *const bias = io->bias.data;
    int64_t const experts = p->n_routed_experts;
    int64_t total = 0;
    for (int64_t e = 0; e < experts; e++) total += load[e];
    for (int64_t e = 0; e < experts; e++) {
        int64_t const lacks = total - experts * load[e];
        ((float *)io->bias_out.data)[e] = bias[e] + (float)((lacks > 0) - (lacks < 0)) * (float)p->bias_update_speed;
    }
    return DSV3_OK;
}

const char *fast_bias_update_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "flush none";
}
