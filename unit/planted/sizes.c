/* The port at $PLAIN with a fault that only some sizes show, as the environment variable PLANT says: unit/verify/shrink.c. */
#include "on_plain.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

/* The first value of every row is twice as large. */
static void double_first(const dsv3_tensor *y)
{
    float *const data = y->data;
    for (int64_t t = 0; t < y->shape[0]; t++) data[t * y->stride[0]] *= 2;
}

static dsv3_status rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    if (planted("odd_size") && p->hidden_size % 2 && p->hidden_size >= 45) abort();
    if (planted("late_odd_size") && p->hidden_size % 2 && p->hidden_size >= 45) pause();
    dsv3_status const s = plain->rmsnorm(ctx, p, io);
    bool const wide = p->hidden_size >= 9;
    if (io->y.dtype != DSV3_F32) return s;
    if (planted("two_fields") && wide && p->n_tokens >= 3) double_first(&io->y);
    if (planted("strided") && io->x.stride[0] > p->hidden_size) double_first(&io->y);
    if (planted("wide") && wide) double_first(&io->y);
    return s;
}

/* The last expert of every token is wrong where there are groups and at least three experts. */
static dsv3_status gate(dsv3_ctx *ctx, const dsv3_gate_prob *p, const dsv3_gate_io *io)
{
    dsv3_status const s = plain->gate(ctx, p, io);
    int64_t const k = p->num_experts_per_tok;
    if (!planted("groups") || p->n_group < 2 || k < 3) return s;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        float *const weight = (float *)io->topk_weight.data + t * io->topk_weight.stride[0];
        weight[k - 1] *= 2;
    }
    return s;
}

/* lse is off where a sequence has more keys than a page. */
static dsv3_status mla_decode(dsv3_ctx *ctx, const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io)
{
    dsv3_status const s = plain->mla_decode(ctx, p, io);
    for (int64_t b = 0; planted("pages") && b < p->batch; b++)
        if (((const int32_t *)io->cache_seqlens.data)[b] > p->page_size)
            ((float *)io->lse.data)[b * io->lse.stride[0]] += 1;
    return s;
}

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    dsv3_backend *const table = load_plain(abi);
    if (!table) return NULL;
    table->name = "sizes";
    table->rmsnorm = rmsnorm;
    table->gate = gate;
    table->mla_decode = mla_decode;
    return table;
}
