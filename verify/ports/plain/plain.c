// A port in plain C, scalar binary32: the example to copy. It needs include/dsv3.h and nothing else.
//
//     cp -r verify/ports/plain myport
//     cc -std=c11 -O2 -ffp-contract=off -shared -fPIC -Iinclude -o myport.so myport/*.c -lm
//     build/bin/verify run @smoke --backend=./myport.so
//
// A port is three things: ops (functions that compute, one file each), numerics (how they round, in words, beside each
// op), and the table at the end of this file.
#include "plain.h"

#include <stdlib.h>

/* Declare what the code does and no more: what is left out is assumed to be coarse. Here every operation is one
 * binary32 operation, rounded to nearest, nothing fused (-ffp-contract=off), nothing flushed. */
static const char *numerics(const char *op, const void *prob, const void *io)
{
    if (!strcmp(op, "rmsnorm")) return plain_rmsnorm_numerics(io);
    if (!strcmp(op, "linear")) return plain_linear_numerics(io);
    if (!strcmp(op, "rope")) return plain_rope_numerics;
    if (!strcmp(op, "gate")) return plain_gate_numerics;
    if (!strcmp(op, "mla_decode")) return plain_mla_decode_numerics;
    if (!strcmp(op, "mla_prefill")) return plain_mla_prefill_numerics;
    if (!strcmp(op, "mla")) return plain_mla_numerics;
    if (!strcmp(op, "swiglu")) return plain_swiglu_numerics;
    if (!strcmp(op, "cross_entropy")) return plain_cross_entropy_numerics;
    if (!strcmp(op, "quant")) return plain_quant_numerics;
    if (!strcmp(op, "experts")) return plain_experts_numerics(prob);
    if (!strcmp(op, "moe")) return plain_moe_numerics(prob);
    if (!strcmp(op, "bias_update")) return plain_bias_update_numerics;
    if (!strcmp(op, "balance_loss")) return plain_balance_loss_numerics;
    if (!strcmp(op, "mtp_accept")) return plain_mtp_accept_numerics;
    if (!strcmp(op, "mtp")) return plain_mtp_numerics(prob);
    return NULL;
}

static dsv3_status open_port(dsv3_ctx **ctx, int device)
{
    (void)device;
    *ctx = calloc(2, sizeof **ctx);
    if (!*ctx) return DSV3_NO_MEMORY;
    (*ctx)->parts = *ctx + 1;
    return DSV3_OK;
}

static void close_port(dsv3_ctx *ctx)
{
    free(ctx->scratch);
    free(ctx->parts->scratch);
    free(ctx);
}

static const dsv3_backend table = {
    .abi = DSV3_ABI,
    .size = sizeof table,
    .name = "plain",
    .open = open_port,
    .close = close_port,
    .numerics = numerics,
    .rmsnorm = plain_rmsnorm,
    .linear = plain_linear,
    .rope = plain_rope,
    .gate = plain_gate,
    .mla_decode = plain_mla_decode,
    .mla_prefill = plain_mla_prefill,
    .mla = plain_mla,
    .swiglu = plain_swiglu,
    .embed = plain_embed,
    .cross_entropy = plain_cross_entropy,
    .quant = plain_quant,
    .experts = plain_experts,
    .moe = plain_moe,
    .bias_update = plain_bias_update,
    .balance_loss = plain_balance_loss,
    .mtp_accept = plain_mtp_accept,
    .mtp = plain_mtp,
};

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    return abi == DSV3_ABI ? &table : NULL;
}
