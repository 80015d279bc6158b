/* Two attentions over different keys become one. */
#include "plain.h"

/* One query of one head. lse is natural; -infinity where there are no keys. */
typedef struct {
    const dsv3_merge_state_prob *prob;
    const dsv3_merge_state_io *io;
    int64_t t, h;
} merged;

static float lse_at(const merged *s, const dsv3_tensor *lse)
{
    float const v = load_at(lse, s->t * lse->stride[0] + s->h);
    if (s->prob->empty && v == INFINITY) return -INFINITY;
    return s->prob->lse_base == 1 ? v * 0.693147181f : v;
}

static float o_at(const merged *s, const dsv3_tensor *o, int64_t c)
{
    return load_at(o, s->t * o->stride[0] + s->h * o->stride[1] + c);
}

/* A part of weight 0 isn't read. */
static float weighted(const merged *s, float weight, const dsv3_tensor *o, int64_t c)
{
    return weight > 0 ? weight * o_at(s, o, c) : 0;
}

static void merge(const merged *s)
{
    const dsv3_merge_state_io *const io = s->io;
    float const lse_a = lse_at(s, &io->lse_a), lse_b = lse_at(s, &io->lse_b), max = fmaxf(lse_a, lse_b);
    int const any = max > -INFINITY;
    float const a = any ? expf(lse_a - max) : 0, b = any ? expf(lse_b - max) : 0, sum = a + b;
    float const lse = any ? logf(sum) + max : -INFINITY;
    int64_t const o = s->t * io->o.stride[0] + s->h * io->o.stride[1];
    for (int64_t c = 0; c < s->prob->v_head_dim; c++) {
        float const total = weighted(s, a, &io->o_a, c) + weighted(s, b, &io->o_b, c);
        store_at(&io->o, o + c, any ? total / sum : 0);
    }
    store_at(&io->lse, s->t * io->lse.stride[0] + s->h, s->prob->lse_base == 1 ? lse * 1.44269504f : lse);
}

dsv3_status plain_merge_state(dsv3_ctx *ctx, const dsv3_merge_state_prob *p, const dsv3_merge_state_io *io)
{
    (void)ctx;
    merged s = {.prob = p, .io = io};
    if (!is_float(&io->o_a) || !is_float(&io->o_b)) return DSV3_UNSUPPORTED;
    for (s.t = 0; s.t < p->n_tokens; s.t++)
        for (s.h = 0; s.h < p->num_attention_heads; s.h++) merge(&s);
    return DSV3_OK;
}

const char *plain_merge_state_numerics(const void *prob, const void *io)
{
    (void)prob;
    (void)io;
    return "acc 24 rn splits=1; div ieee; exp 2 0; log 2 0; rescales 0; parts 1; flush none; P f32 must";
}
