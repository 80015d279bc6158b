/*
 * The port at $PLAIN without outputs that are optional, and faults that hide behind that, as the environment variable PLANT says:
 * lse of attention, the stages of compositions.
 */
#include "on_plain.h"

#include <stdio.h>

static int64_t count_of(const dsv3_tensor *t)
{
    int64_t n = 1;
    for (int d = 0; d < t->ndim; d++) n *= t->shape[d];
    return n;
}

static size_t bytes_of(const dsv3_tensor *t)
{
    return (size_t)count_of(t) * (t->dtype == DSV3_BF16 ? 2 : 4);
}

/* A number, or in BF16 two, far from any that is right. */
static void spoil(const dsv3_tensor *t)
{
    memset(t->data, 0x55, 4);
}

/* lse, as it is to be seen. */
static void hand_on(const dsv3_tensor *lse, void *made)
{
    size_t const bytes = bytes_of(lse);
    if (planted("half_lse")) memcpy(lse->data, made, bytes / 8 * 4);
    if (planted("makes_lse") || planted("wrong_lse") || planted("no_o")) memcpy(lse->data, made, bytes);
    if (planted("wrong_lse")) spoil(lse);
    free(made);
}

static dsv3_status mla_decode(dsv3_ctx *ctx, const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io)
{
    dsv3_mla_decode_io own = *io;
    own.lse.data = malloc(bytes_of(&io->lse) + 1);
    if (planted("no_o") || planted("no_o_nor_lse")) own.o.data = malloc(bytes_of(&io->o) + 1);
    dsv3_status const s = plain->mla_decode(ctx, p, &own);
    if (own.o.data != io->o.data) free(own.o.data);
    if (planted("wrong_o")) spoil(&io->o);
    hand_on(&io->lse, own.lse.data);
    return s;
}

static dsv3_status mla_prefill(dsv3_ctx *ctx, const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io)
{
    dsv3_mla_prefill_io own = *io;
    own.lse.data = malloc(bytes_of(&io->lse) + 1);
    dsv3_status const s = plain->mla_prefill(ctx, p, &own);
    hand_on(&io->lse, own.lse.data);
    return s;
}

static const dsv3_tensor none;

static dsv3_status experts(dsv3_ctx *ctx, const dsv3_experts_prob *p, const dsv3_experts_io *io)
{
    dsv3_experts_prob without = *p;
    dsv3_experts_io rest = *io;
    without.stages = 0;
    rest.act = rest.act_scale = rest.act_q = none;
    return plain->experts(ctx, &without, &rest);
}

static dsv3_status moe(dsv3_ctx *ctx, const dsv3_moe_prob *p, const dsv3_moe_io *io)
{
    dsv3_moe_prob without = *p;
    dsv3_moe_io rest = *io;
    without.stages = 0;
    rest.act = rest.shared_act = none;
    if (!planted("some_stages")) rest.router_logits = none;
    dsv3_status const s = plain->moe(ctx, &without, &rest);
    if (planted("wrong_y")) spoil(&io->y);
    return s;
}

static dsv3_status mla(dsv3_ctx *ctx, const dsv3_mla_prob *p, const dsv3_mla_io *io)
{
    dsv3_mla_prob without = *p;
    dsv3_mla_io rest = *io;
    without.stages = 0;
    rest.q_a_layernorm = rest.q = rest.attn_output = none;
    return plain->mla(ctx, &without, &rest);
}

static dsv3_status mtp(dsv3_ctx *ctx, const dsv3_mtp_prob *p, const dsv3_mtp_io *io)
{
    dsv3_mtp_prob without = *p;
    dsv3_mtp_io rest = *io;
    without.stages = 0;
    rest.eh_proj = rest.input_layernorm = rest.post_attention_layernorm = none;
    rest.q_a_layernorm = rest.q = rest.kv = rest.attn_output = rest.self_attn = none;
    rest.router_logits = rest.act = rest.shared_act = rest.mlp = none;
    return plain->mtp(ctx, &without, &rest);
}

static const char *numerics(const char *op, const void *prob, const void *io)
{
    static char text[4096];
    const char *const said = plain->numerics(op, prob, io); /* of none of these ops does it depend on stages */
    int const attention = !strcmp(op, "mla_decode") || !strcmp(op, "mla_prefill");
    if (planted("undeclared")) return said;
    if (planted("alone")) return attention ? "without lse" : "without stages";
    snprintf(text, sizeof text, "%s; without %s", said, attention ? "lse" : "stages");
    return text;
}

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    dsv3_backend *const table = load_plain(abi);
    if (!table) return NULL;
    table->name = "without";
    table->numerics = numerics;
    table->mla_decode = mla_decode;
    table->mla_prefill = mla_prefill;
    table->experts = experts;
    table->moe = moe;
    table->mla = mla;
    table->mtp = mtp;
    return table;
}
