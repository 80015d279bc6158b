/* Two attentions over different keys become one: weights in binary64 once a row, then o in sixteen lanes. */
#include "ctx.h"
#include "elementwise.h"
#include "fast.h"
#include "matrix.h"

#include <math.h>

typedef struct {
    const dsv3_merge_state_prob *p;
    const dsv3_merge_state_io *io;
} merging;

static const double LN2 = 0.6931471805599453;

/* Natural; -infinity where there are no keys. */
static double lse_at(const merging *m, const dsv3_tensor *lse, int64_t t, int64_t h)
{
    double const v = (double)((const float *)lse->data)[t * lse->stride[0] + h];
    if (m->p->empty && v == HUGE_VAL) return -HUGE_VAL;
    return m->p->lse_base ? v * LN2 : v;
}

/* A part of weight 0 isn't read. */
static vec weighted(const dsv3_tensor *o, int64_t at, lanes of, double weight)
{
    if (weight == 0) return vec_of(0);
    return vec_mul(load_lanes(o->data, o->dtype, at, of), vec_of((float)weight));
}

static void merge_row(const void *job, int64_t r, int worker)
{
    (void)worker;
    const merging *const m = job;
    const dsv3_merge_state_io *const io = m->io;
    int64_t const t = r / m->p->num_attention_heads, h = r % m->p->num_attention_heads;
    double const lse_a = lse_at(m, &io->lse_a, t, h), lse_b = lse_at(m, &io->lse_b, t, h), most = fmax(lse_a, lse_b);
    bool const any = most > -HUGE_VAL;
    double const a = any ? exp(lse_a - most) : 0, b = any ? exp(lse_b - most) : 0, sum = any ? a + b : 1;
    int64_t const at_a = t * io->o_a.stride[0] + h * io->o_a.stride[1];
    int64_t const at_b = t * io->o_b.stride[0] + h * io->o_b.stride[1];
    int64_t const at = t * io->o.stride[0] + h * io->o.stride[1];
    for (int64_t c = 0; c < m->p->v_head_dim; c += WIDTH) {
        lanes const of = first_lanes(m->p->v_head_dim - c);
        vec const part_a = weighted(&io->o_a, at_a + c, of, a / sum),
                  part_b = weighted(&io->o_b, at_b + c, of, b / sum);
        store_lanes(io->o.data, io->o.dtype, at + c, of, vec_add(part_a, part_b));
    }
    double const lse = any ? most + log(sum) : -HUGE_VAL;
    ((float *)io->lse.data)[t * io->lse.stride[0] + h] = (float)(m->p->lse_base ? lse / LN2 : lse);
}

dsv3_status fast_merge_state(dsv3_ctx *ctx, const dsv3_merge_state_prob *p, const dsv3_merge_state_io *io)
{
    merging const m = {p, io};
    if (!is_float(&io->o_a) || !is_float(&io->o_b) || !is_float(&io->o)) return DSV3_UNSUPPORTED;
    ctx_run(ctx, merge_row, &m, p->n_tokens * p->num_attention_heads);
    return DSV3_OK;
}

const char *fast_merge_state_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn splits=1; div 1; exp 1; log 1; rescales 0; parts 1; flush none; P f32 must";
}
