/* See training.h. The plan's numbers: docs/studies.md. */
#include "training.h"

#include "case/rng.h"

#include <math.h>

const training_plan usual_plan = {.steps = 600,
                                  .batch = 16,
                                  .length = 128,
                                  .learning_rate = 3e-3,
                                  .last_share = 0.1,
                                  .warmup_steps = 50,
                                  .mtp_loss_weight = 0.3,
                                  .balance = BALANCE_BIAS,
                                  .bias_update_speed = 1e-2,
                                  .aux_loss_alpha = 1e-2,
                                  .optimizer = {0.9, 0.95, 1e-10, 0.1, 1}};

/* The text before the model: a batch that it is too small for may not fit in memory either. */
bool training_open(training *g, const training_plan *plan, const dsv3_config *config, const char *text_path,
                   const loaded_port *port, complaint *why)
{
    int64_t const least = evaluation_bytes(plan->batch, plan->length, config->num_nextn_predict_layers);
    *g = (training){.plan = *plan};
    if (!model_check(config, why) || !text_open(&g->t, text_path, least, why)) return false;
    if (!model_open(&g->m, config, plan->seed, why)) return false;
    if (!pass_open(&g->learn, &g->m, port, plan->batch, plan->length, true, why)) return false;
    if (!pass_open(&g->look, &g->m, port, plan->batch, plan->length, false, why)) return false;
    if (plan->balance == BALANCE_AUX) g->learn.d.aux_loss_alpha = plan->aux_loss_alpha;
    return true;
}

void training_close(training *g)
{
    text_close(&g->t);
    pass_close(&g->look);
    pass_close(&g->learn);
    model_close(&g->m);
}

double learning_rate_at(const training_plan *plan, int64_t step)
{
    double const warm = fmin(1, (double)(step + 1) / (double)plan->warmup_steps);
    double const down = 0.5 * (1 + cos(M_PI * (double)step / (double)plan->steps));
    return plan->learning_rate * warm * (plan->last_share + (1 - plan->last_share) * down);
}

/* Of one token, forward: two for each entry of a matrix that it meets, and for each pair of it and an earlier token. */
static double operations_of_token(const training *g)
{
    const dsv3_config *const c = &g->m.config;
    double const layers = (double)(c->num_hidden_layers + g->learn.modules), seen = (double)(g->plan.length + 1) / 2;
    double const per_key = (double)(c->qk_nope_head_dim + c->qk_rope_head_dim + c->v_head_dim);
    double entries = layers * (double)c->num_attention_heads * per_key * seen;
    for (int i = 0; i < g->m.parameters; i++) {
        const parameter *const p = &g->m.parameter[i];
        double const met = p->experts ? (double)c->num_experts_per_tok / (double)p->experts : 1;
        if (p->ndim > 1 && p != g->m.embed_tokens) entries += met * (double)p->count;
    }
    entries += g->learn.modules * (double)g->m.lm_head->count; /* every depth has the head */
    return 2 * entries;
}

double training_operations(const training *g)
{
    return 3 * operations_of_token(g) * (double)(g->plan.batch * g->plan.length);
}

/* Window b of a step begins anywhere in the text that is learned. */
static void choose_windows(training *g)
{
    uint64_t const key = rng_key(g->plan.seed, "windows");
    int64_t const last = g->t.learned - window_bytes(&g->learn);
    for (int64_t b = 0; b < g->plan.batch; b++) {
        uint64_t const bits = rng_bits(key, (uint64_t)(g->step * g->plan.batch + b));
        pass_set(&g->learn, b, g->t.byte + rng_whole(bits, 0, last));
    }
}

/* b_i + u sign(mean load - load_i), by the port's op. */
static void update_biases(training *g)
{
    int64_t const experts = g->m.config.n_routed_experts;
    float *const next = g->learn.d.scores.data; /* room for a row of experts */
    dsv3_bias_update_prob const p = {experts, g->plan.bias_update_speed};
    for (int i = 0; i < model_moe_layers(&g->m); i++) {
        layer *const l = model_moe_layer(&g->m, i);
        dsv3_bias_update_io const io = {.load = list_at(l->load, experts),
                                        .bias = {l->bias, DSV3_F32, 1, {experts}, {1}},
                                        .bias_out = {next, DSV3_F32, 1, {experts}, {1}}};
        CALL(&g->learn.call, bias_update, &p, &io);
        memcpy(l->bias, next, (size_t)experts * sizeof *next);
    }
}

bool training_step(training *g)
{
    choose_windows(g);
    if (!pass_forward(&g->learn) || !pass_backward(&g->learn, g->plan.mtp_loss_weight)) return false;
    g->grad_norm = adamw_step(&g->plan.optimizer, &g->m, g->step + 1, learning_rate_at(&g->plan, g->step));
    if (!isfinite(g->grad_norm))
        return refuse(g->learn.call.why, "step %lld: the gradient is not finite", (long long)g->step);
    if (g->plan.balance == BALANCE_BIAS) update_biases(g);
    g->step++;
    return g->learn.call.good;
}
