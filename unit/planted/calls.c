/*
 * The port at $PLAIN with a fault that no single call on compact tensors shows, as the environment variable PLANT says: it
 * takes tensors to be compact, writes beside a row, or keeps something from an earlier call.
 */
#include "on_plain.h"

static void make_compact(dsv3_tensor *t)
{
    int64_t stride = 1;
    for (int d = t->ndim - 1; d >= 0; d--) {
        t->stride[d] = stride;
        stride *= t->shape[d];
    }
}

static dsv3_status rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    dsv3_rmsnorm_io own = *io;
    if (planted("compact_in")) make_compact(&own.x);
    if (planted("compact_out")) make_compact(&own.y);
    dsv3_status const s = plain->rmsnorm(ctx, p, &own);
    if (planted("spills") && io->y.stride[0] > p->hidden_size) /* a whole vector is stored at the end of a row */
        memset((char *)io->y.data + (size_t)p->hidden_size * (io->y.dtype == DSV3_F32 ? 4 : 2), 0, 2);
    return s;
}

/* The longest that each sequence has been: how long the copy of its keys is. */
static int32_t longest[4096];

static dsv3_status mla_decode(dsv3_ctx *ctx, const dsv3_mla_decode_prob *p, const dsv3_mla_decode_io *io)
{
    dsv3_mla_decode_io own = *io;
    const int32_t *const length = (const int32_t *)io->cache_seqlens.data;
    if (planted("compact_in")) make_compact(&own.q), make_compact(&own.block_table);
    if (planted("compact_out")) make_compact(&own.o), make_compact(&own.lse);
    if (planted("keeps_lengths")) own.cache_seqlens.data = longest;
    for (int64_t b = 0; b < p->batch; b++)
        if (length[b] > longest[b]) longest[b] = length[b];
    return plain->mla_decode(ctx, p, &own);
}

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    dsv3_backend *const table = load_plain(abi);
    if (!table) return NULL;
    table->name = "calls";
    table->rmsnorm = rmsnorm;
    table->mla_decode = mla_decode;
    return table;
}
