/* A model that trains: its gradient is the slope of its loss, what was saved goes on to the same bytes, and the checkpoint is one
 * that the judge passes. */
#include "../../train/generation.h"
#include "../../train/load.h"
#include "../../train/saved.h"
#include "case/rng.h"
#include "command.h"
#include "port/twin.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

/* No two sizes alike, YaRN, one dense layer, two modules. */
static const dsv3_config small = {
    256, 24, 20, 12, 3,  1,   2,  10, 12, 6, 4, 8, 8, 2, 3, 4, 2, 1.7, 1e-5, 100, 8,
    64,  512, 32, 1, 0.7, 1.1, 2,  1,  1, 0, {0, 0}, 0,
};

enum { BATCH = 2, LENGTH = 7 };

static void load_plain(loaded_port *port)
{
    backend b;
    complaint why;
    answer a = {0};
    twin_watch(); /* the port is loaded into this process */
    cr_assert(backend_resolve(BUILD "/ports/plain.so", &b, &why), "%s", why.text);
    cr_assert(load_port(&b, port, &a), "%s", a.why);
}

static void give_windows(pass *p)
{
    uint8_t window[LENGTH + 8];
    for (int b = 0; b < BATCH; b++) {
        for (int i = 0; i < LENGTH + 8; i++) window[i] = (uint8_t)(97 + rng_whole(rng_bits(7, (uint64_t)(b * 99 + i)), 0, 9));
        pass_set(p, b, window);
    }
}

/* In binary64, of the tokens' losses. */
static double loss_of(pass *p)
{
    const float *const of_token = p->token_loss.data;
    double sum = 0;
    cr_assert(pass_forward(p), "%s", p->call.why->text);
    for (int64_t i = 0; i < (p->modules + 1) * p->d.n; i++)
        sum += (i < p->d.n ? 1 : 0.3 / p->modules) * (double)of_token[i] / (double)p->d.n;
    for (int64_t n = 0; n < p->m->config.num_hidden_layers + p->modules; n++) sum += p->layer[n].balance_loss;
    return sum;
}

static int32_t *routing_of(pass *p, int64_t *count)
{
    const dsv3_config *const c = &p->m->config;
    int64_t const layers = c->num_hidden_layers + p->modules, one = p->d.n * c->num_experts_per_tok;
    int32_t *const all = malloc((size_t)(layers * one) * sizeof *all);
    for (int64_t n = 0; n < layers; n++) memcpy(all + n * one, p->layer[n].topk_idx.data, (size_t)one * sizeof *all);
    *count = layers * one;
    return all;
}

/* The parameter, so far along its own gradient. */
static double loss_beside(pass *p, const parameter *w, const float *kept, const float *grad, double step)
{
    for (int64_t i = 0; i < w->count; i++) w->value[i] = kept[i] + (float)(step * (double)grad[i]);
    double const loss = loss_of(p);
    memcpy(w->value, kept, (size_t)w->count * sizeof *kept);
    return loss;
}

/* Does a step leave every token with its experts? slope: of the loss along it. */
static bool find_slope(pass *p, const parameter *w, const float *kept, const float *grad, double step, double *slope)
{
    int64_t count;
    double loss[2];
    bool same = true;
    loss_of(p);
    int32_t *const routed = routing_of(p, &count);
    for (int side = 0; side < 2; side++) {
        loss[side] = loss_beside(p, w, kept, grad, side ? -step : step);
        int32_t *const then = routing_of(p, &count);
        same = same && !memcmp(routed, then, (size_t)count * sizeof *then);
        free(then);
    }
    free(routed);
    *slope = (loss[0] - loss[1]) / (2 * step);
    return same;
}

/* Along its gradient the loss rises by the gradient's square. Both sides are binary32's: a loss is off by some 2^-23. */
static void check_parameter(pass *p, const parameter *w)
{
    double square = 0, slope = 0, step;
    size_t const bytes = (size_t)w->count * sizeof *w->value;
    float *const kept = malloc(bytes), *const grad = malloc(bytes);
    memcpy(kept, w->value, bytes), memcpy(grad, w->grad, bytes);
    for (int64_t i = 0; i < w->count; i++) square += (double)grad[i] * (double)grad[i];
    cr_expect(square > 0, "%s has the gradient 0", w->name);
    for (step = 0.02 / sqrt(square); step > 1e-4 / sqrt(square); step /= 2)
        if (find_slope(p, w, kept, grad, step, &slope)) break;
    double const noise = 0x1p-22 / step;
    cr_expect(fabs(slope - square) < 0.01 * square + noise, "%s: the loss has the slope %g, the gradient says %g (step %g)",
              w->name, slope, square, step * sqrt(square));
    free(kept), free(grad);
}

Test(training, the_gradient_is_the_slope_of_the_loss, .timeout = 300)
{
    static loaded_port port;
    model m;
    pass p;
    complaint why = {""};
    load_plain(&port);
    cr_assert(can_train(&port, "plain", &why) && model_open(&m, &small, 3, &why), "%s", why.text);
    for (int i = 0; i < m.parameters; i++) /* norms that aren't 1, a router that chooses */
        for (int64_t j = 0; j < m.parameter[i].count; j++)
            m.parameter[i].value[j] += (float)(0.05 * rng_gaussian(rng_bits((uint64_t)i, (uint64_t)j)));
    cr_assert(pass_open(&p, &m, &port, BATCH, LENGTH, true, &why), "%s", why.text);
    p.d.aux_loss_alpha = 0.1;
    give_windows(&p);
    loss_of(&p);
    cr_assert(pass_backward(&p, 0.3), "%s", why.text);
    for (int i = 0; i < m.parameters; i++) check_parameter(&p, &m.parameter[i]);
    pass_close(&p);
    model_close(&m);
    unload_port(&port);
}
