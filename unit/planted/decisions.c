/*
 * The port at $PLAIN with every decision that it writes overwritten, as the environment variable PLANT says: an index twice
 * in a row, or one that is out of range. All else is as that port gives it.
 */
#include "on_plain.h"

#include <limits.h>

/* What stands for decision k of a row of `width` of n that were `count` to choose among. */
static int32_t overwritten(const int32_t *row, int64_t k, int64_t width, int64_t count)
{
    const char *const plant = getenv("PLANT");
    if (!plant) return row[k];
    if (!strcmp(plant, "zero")) return 0;
    if (!strcmp(plant, "minus_one")) return -1;
    if (!strcmp(plant, "large")) return 1 << 30;
    if (!strcmp(plant, "least")) return INT_MIN;
    if (!strcmp(plant, "count")) return (int32_t)count;
    if (!strcmp(plant, "last_twice") && k == width - 1) return row[0];
    return row[k];
}

/* Overwrites the rows from `first` on. */
static void overwrite(const dsv3_tensor *t, int64_t first, int64_t count)
{
    if (t->dtype != DSV3_I32 || !t->data) return;
    int64_t const width = t->ndim > 1 ? t->shape[t->ndim - 1] : 1;
    for (int64_t r = first; r < t->shape[0]; r++) {
        int32_t *const row = (int32_t *)t->data + r * t->stride[0];
        for (int64_t k = 0; k < width; k++) row[k] = overwritten(row, k, width, count);
    }
}

/* With PLANT_LAST only the last row is spoilt. */
static int64_t first_row(const dsv3_tensor *t)
{
    return getenv("PLANT_LAST") && t->ndim > 0 ? t->shape[0] - 1 : 0;
}

static dsv3_status gate(dsv3_ctx *ctx, const dsv3_gate_prob *p, const dsv3_gate_io *io)
{
    dsv3_status const s = plain->gate(ctx, p, io);
    if (s == DSV3_OK) overwrite(&io->topk_idx, first_row(&io->topk_idx), p->n_routed_experts);
    return s;
}

static dsv3_status moe(dsv3_ctx *ctx, const dsv3_moe_prob *p, const dsv3_moe_io *io)
{
    dsv3_status const s = plain->moe(ctx, p, io);
    if (s == DSV3_OK) overwrite(&io->topk_idx, first_row(&io->topk_idx), p->n_routed_experts);
    return s;
}

static dsv3_status mtp(dsv3_ctx *ctx, const dsv3_mtp_prob *p, const dsv3_mtp_io *io)
{
    dsv3_status const s = plain->mtp(ctx, p, io);
    if (s == DSV3_OK) overwrite(&io->topk_idx, first_row(&io->topk_idx), p->n_routed_experts);
    return s;
}

static dsv3_status mtp_accept(dsv3_ctx *ctx, const dsv3_mtp_accept_prob *p, const dsv3_mtp_accept_io *io)
{
    dsv3_status const s = plain->mtp_accept(ctx, p, io);
    if (s != DSV3_OK) return s;
    overwrite(&io->accepted, first_row(&io->accepted), p->n_draft + 1);
    overwrite(&io->next_token, first_row(&io->next_token), p->vocab_size);
    return s;
}

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    dsv3_backend *const table = load_plain(abi);
    if (!table) return NULL;
    table->name = "decisions";
    table->gate = gate;
    table->moe = moe;
    table->mtp = mtp;
    table->mtp_accept = mtp_accept;
    return table;
}
