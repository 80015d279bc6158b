/* y = silu(gate) up. */
#include "ctx.h"
#include "elementwise.h"
#include "fast.h"
#include "matrix.h"

typedef struct {
    const dsv3_swiglu_prob *p;
    const dsv3_swiglu_io *io;
} swiglu;

static void swiglu_row(const void *job, int64_t t, int worker)
{
    (void)worker;
    const swiglu *const s = job;
    const dsv3_swiglu_io *const io = s->io;
    for (int64_t i = 0; i < s->p->intermediate_size; i += WIDTH) {
        lanes const of = first_lanes(s->p->intermediate_size - i);
        vec const gate = load_lanes(io->gate.data, io->gate.dtype, t * io->gate.stride[0] + i, of);
        vec const up = load_lanes(io->up.data, io->up.dtype, t * io->up.stride[0] + i, of);
        store_lanes(io->y.data, io->y.dtype, t * io->y.stride[0] + i, of, vec_mul(vec_silu(gate), up));
    }
}

dsv3_status fast_swiglu(dsv3_ctx *ctx, const dsv3_swiglu_prob *p, const dsv3_swiglu_io *io)
{
    swiglu const s = {p, io};
    if (!is_float(&io->gate) || !is_float(&io->up) || !is_float(&io->y)) return DSV3_UNSUPPORTED;
    ctx_run(ctx, swiglu_row, &s, p->n_tokens);
    return DSV3_OK;
}

const char *fast_swiglu_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "sigmoid 4; flush none; gate_sigmoid f32 may; silu f32 must";
}
