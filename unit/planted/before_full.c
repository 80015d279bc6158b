/* The port at $PLAIN as it was compiled before mla_prefill had `full`: it is causal whatever is asked. */
#include "on_plain.h"

static dsv3_status causal(dsv3_ctx *ctx, const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io)
{
    dsv3_mla_prefill_prob known = *p;
    known.full = 0;
    return plain->mla_prefill(ctx, &known, io);
}

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    dsv3_backend *const table = load_plain(abi);
    if (!table) return NULL;
    table->name = "before_full";
    table->mla_prefill = causal;
    if (!planted("new_header")) table->size = (uint32_t)offsetof(dsv3_backend, mtp_inputs);
    return table;
}
