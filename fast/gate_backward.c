/* The gradient of the chosen experts' weights by the logits. */
#include "ctx.h"
#include "elementwise.h"
#include "fast.h"
#include "matrix.h"

enum { MOST_EXPERTS = 1024 };

typedef struct {
    const dsv3_gate_backward_prob *p;
    const dsv3_gate_backward_io *io;
} gradients;

/* Logits become scores. */
static void to_scores(const dsv3_gate_backward_prob *p, float *s)
{
    int64_t const n = p->n_routed_experts;
    bool const softmax = p->scoring_func == DSV3_SOFTMAX;
    vec const inverse = vec_of(softmax ? 1 / exponentials(s, n, largest_of(s, n)) : 1);
    for (int64_t e = 0; e < n; e += WIDTH) {
        lanes const of = first_lanes(n - e);
        vec const v = load_lanes(s, DSV3_F32, e, of);
        store_lanes(s, DSV3_F32, e, of, softmax ? vec_mul(v, inverse) : vec_sigmoid(v));
    }
}

/* The gradient by each score. */
static void by_scores(const gradients *d, int64_t t, const float *s, float *by)
{
    float sum = 0, along = 0;
    const dsv3_tensor *const of = &d->io->grad_topk_weight;
    const int32_t *const idx = (const int32_t *)d->io->topk_idx.data + t * d->io->topk_idx.stride[0];
    const float *const g = (const float *)of->data + t * of->stride[0];
    float const scale = (float)d->p->routed_scaling_factor;
    memset(by, 0, (size_t)d->p->n_routed_experts * sizeof *by);
    for (int64_t k = 0; k < d->p->num_experts_per_tok; k++) sum += s[idx[k]], along += g[k] * s[idx[k]];
    float const mean = along / sum;
    for (int64_t k = 0; k < d->p->num_experts_per_tok; k++)
        by[idx[k]] = d->p->norm_topk_prob ? scale * (g[k] - mean) / sum : scale * g[k];
}

/* The sum of by s: 0 for a sigmoid, whose experts don't share. */
static float shared_by_all(const dsv3_gate_backward_prob *p, const float *by, const float *s)
{
    float sum = 0;
    for (int64_t e = 0; e < p->n_routed_experts && p->scoring_func == DSV3_SOFTMAX; e++) sum += by[e] * s[e];
    return sum;
}

static void gradient_of_token(const void *job, int64_t t, int worker)
{
    (void)worker;
    const gradients *const d = job;
    const dsv3_tensor *const to = &d->io->grad_logits;
    float s[MOST_EXPERTS], by[MOST_EXPERTS];
    int64_t const n = d->p->n_routed_experts;
    stored_row const row = row_of(&d->io->logits, t * d->io->logits.stride[0]);
    load_row(&row, n, s);
    to_scores(d->p, s);
    by_scores(d, t, s, by);
    vec const shared = vec_of(shared_by_all(d->p, by, s));
    bool const softmax = d->p->scoring_func == DSV3_SOFTMAX;
    for (int64_t e = 0; e < n; e += WIDTH) {
        lanes const of = first_lanes(n - e);
        vec const score = load_lanes(s, DSV3_F32, e, of), grad = load_lanes(by, DSV3_F32, e, of);
        vec const inner = softmax ? vec_sub(grad, shared) : vec_mul(grad, vec_sub(vec_of(1), score));
        store_lanes(to->data, to->dtype, t * to->stride[0] + e, of, vec_mul(score, inner));
    }
}

dsv3_status fast_gate_backward(dsv3_ctx *ctx, const dsv3_gate_backward_prob *p, const dsv3_gate_backward_io *io)
{
    gradients const d = {p, io};
    if (!is_float(&io->logits) || !is_float(&io->grad_logits) || p->n_routed_experts > MOST_EXPERTS)
        return DSV3_UNSUPPORTED;
    ctx_run(ctx, gradient_of_token, &d, p->n_tokens);
    return DSV3_OK;
}

const char *fast_gate_backward_numerics(const void *prob, const void *io)
{
    (void)prob, (void)io;
    return "acc 24 rn; div 2; exp 2; sigmoid 4; flush none; scores f32 must; grad_scores f32 must";
}
