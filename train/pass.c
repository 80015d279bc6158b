/* See pass.h. Source: DeepSeek-V3 report (arXiv 2412.19437) 2.2, eqs. 21-25. */
#include "pass.h"

/* ---- memory ---- */

static dsv3_tensor of_depth(const pass *p, dsv3_tensor all, int depth)
{
    return rows_from(all, depth * p->d.n, p->d.n);
}

static void open_gradients(pass *p, int64_t rows)
{
    const dsv3_config *const c = &p->m->config;
    p->grad_embeds = room_rows(&p->memory, rows, c->hidden_size);
    p->grad_hidden = room_rows(&p->memory, rows, c->hidden_size);
    p->grad_logits = room_rows(&p->memory, rows, c->vocab_size);
    p->grad = room_rows(&p->memory, p->d.n, c->hidden_size);
    p->grad_both = room_rows(&p->memory, p->d.n, 2 * c->hidden_size);
}

static bool open_values(pass *p, bool backward)
{
    const dsv3_config *const c = &p->m->config;
    int64_t const rows = (p->modules + 1) * p->d.n, layers = c->num_hidden_layers + p->modules;
    dsv3_dtype const format = p->m->format;
    room *const r = &p->memory;
    p->ids = room_take(r, rows, sizeof *p->ids), p->labels = room_take(r, rows, sizeof *p->labels);
    p->embeds = room_values(r, format, rows, c->hidden_size), p->sum = room_values(r, format, rows, c->hidden_size);
    p->hidden = room_values(r, format, rows, c->hidden_size), p->logits = room_rows(r, rows, c->vocab_size);
    p->token_loss = room_rows(r, 1, rows);
    p->layer = room_take(r, layers, sizeof *p->layer);
    for (int64_t n = 0; p->layer && n < layers; n++)
        layer_values_open(&p->layer[n], c, format, n >= c->first_k_dense_replace, p->d.n, r);
    for (int k = 0; k < p->modules; k++)
        p->module[k] = (module_values){room_values(r, format, p->d.n, 2 * c->hidden_size),
                                       room_values(r, format, p->d.n, c->hidden_size)};
    if (backward) open_gradients(p, rows);
    return !r->short_of;
}

bool pass_open(pass *p, model *m, const loaded_port *port, int64_t batch, int64_t length, bool backward, complaint *why)
{
    *p = (pass){.m = m, .call = {port, why, true}, .length = length};
    p->modules = (int)m->config.num_nextn_predict_layers;
    p->d.call = &p->call;
    if (p->modules > MOST_MODULES)
        return refuse(why, "num_nextn_predict_layers is %d: training has room for %d", p->modules, MOST_MODULES);
    bool const good = desk_open(&p->d, &m->config, batch, length, backward, &p->memory) && open_values(p, backward);
    return good || refuse(why, "no memory for a pass of %lld tokens", (long long)(batch * length));
}

void pass_close(pass *p)
{
    room_close(&p->memory);
}

void pass_set(pass *p, int64_t b, const uint8_t *window)
{
    for (int k = 0; k <= p->modules; k++)
        for (int64_t t = 0; t < p->length; t++) {
            int64_t const at = k * p->d.n + b * p->length + t;
            p->ids[at] = window[t + k];
            p->labels[at] = window[t + k + 1];
        }
}

/* ---- forward ---- */

static void embed_all(pass *p)
{
    const parameter *const w = p->m->embed_tokens;
    dsv3_embed_prob const prob = {p->embeds.shape[0], w->shape[0], w->shape[1]};
    dsv3_embed_io const io = {
        .input_ids = list_at(p->ids, prob.n_tokens), .weights = {w->weights, w->weight}, .y = p->embeds};
    CALL(&p->call, embed, &prob, &io);
}

static void run_main(pass *p)
{
    const dsv3_config *const c = &p->m->config;
    dsv3_tensor stream = of_depth(p, p->embeds, 0);
    const dsv3_tensor *pending = NULL;
    for (int64_t n = 0; n < c->num_hidden_layers; n++) {
        layer_forward(&p->d, c, &p->m->layers[n], stream, pending, &p->layer[n]);
        stream = p->layer[n].between, pending = &p->layer[n].out;
    }
    norm_forward(&p->d, p->m->norm, c->rms_norm_eps, *pending, &stream, of_depth(p, p->sum, 0),
                 of_depth(p, p->hidden, 0));
}

/* Depth k, by a module's weights. */
static void run_module(pass *p, int k, mtp_module *w)
{
    const dsv3_config *const c = &p->m->config;
    const module_values *const v = &p->module[k - 1];
    layer_values *const block = &p->layer[c->num_hidden_layers + k - 1];
    dsv3_tensor const e = columns_of(v->both, 0, c->hidden_size),
                      h = columns_of(v->both, c->hidden_size, c->hidden_size);
    norm_forward(&p->d, w->enorm, c->rms_norm_eps, of_depth(p, p->embeds, k), NULL, e, e);
    norm_forward(&p->d, w->hnorm, c->rms_norm_eps, of_depth(p, p->hidden, k - 1), NULL, h, h);
    linear_forward(&p->d, w->eh_proj, v->both, v->u);
    layer_forward(&p->d, c, &w->block, v->u, NULL, block);
    norm_forward(&p->d, w->norm, c->rms_norm_eps, block->out, &block->between, of_depth(p, p->sum, k),
                 of_depth(p, p->hidden, k));
}

/* Divided by all tokens: none is ignored. */
static void find_loss(pass *p, int k)
{
    float mean = 0;
    dsv3_cross_entropy_prob const prob = {p->d.n, p->m->config.vocab_size, 0};
    dsv3_cross_entropy_io const io = {.logits = of_depth(p, p->logits, k),
                                      .labels = list_at(p->labels + k * p->d.n, p->d.n),
                                      .loss = {(float *)p->token_loss.data + k * p->d.n, DSV3_F32, 1, {p->d.n}, {1}},
                                      .mean = {&mean, DSV3_F32, 1, {1}, {1}}};
    CALL(&p->call, cross_entropy, &prob, &io);
    p->loss[k] = (double)mean;
}

bool pass_forward(pass *p)
{
    embed_all(p);
    run_main(p);
    for (int k = 1; k <= p->modules; k++) run_module(p, k, &p->m->modules[k - 1]);
    linear_forward(&p->d, p->m->lm_head, p->hidden, p->logits);
    for (int k = 0; k <= p->modules; k++) find_loss(p, k);
    return p->call.good;
}

bool pass_reuse_first_module(pass *p)
{
    for (int k = 2; k <= p->modules; k++) run_module(p, k, &p->m->modules[0]);
    linear_forward(&p->d, p->m->lm_head, p->hidden, p->logits);
    return p->call.good;
}

/* ---- backward ---- */

static void start_gradient(pass *p, int k, double weight)
{
    float grad_mean = (float)weight;
    dsv3_cross_entropy_backward_prob const prob = {p->d.n, p->m->config.vocab_size, 0};
    dsv3_cross_entropy_backward_io const io = {.logits = of_depth(p, p->logits, k),
                                               .labels = list_at(p->labels + k * p->d.n, p->d.n),
                                               .grad_mean = {&grad_mean, DSV3_F32, 1, {1}, {1}},
                                               .grad_logits = of_depth(p, p->grad_logits, k)};
    CALL(&p->call, cross_entropy_backward, &prob, &io);
}

static void go_back_through_module(pass *p, int k)
{
    const dsv3_config *const c = &p->m->config;
    const mtp_module *const w = &p->m->modules[k - 1];
    const module_values *const v = &p->module[k - 1];
    dsv3_tensor const by_e = columns_of(p->grad_both, 0, c->hidden_size);
    dsv3_tensor const by_h = columns_of(p->grad_both, c->hidden_size, c->hidden_size);
    norm_backward(&p->d, w->norm, c->rms_norm_eps, of_depth(p, p->sum, k), of_depth(p, p->grad_hidden, k), NULL,
                  p->grad);
    layer_backward(&p->d, c, &w->block, &p->layer[c->num_hidden_layers + k - 1], p->grad);
    linear_backward(&p->d, w->eh_proj, v->both, p->grad, p->grad_both);
    norm_backward(&p->d, w->enorm, c->rms_norm_eps, of_depth(p, p->embeds, k), by_e, NULL,
                  of_depth(p, p->grad_embeds, k));
    norm_backward(&p->d, w->hnorm, c->rms_norm_eps, of_depth(p, p->hidden, k - 1), by_h, NULL, p->d.grad_part);
    add_values(of_depth(p, p->grad_hidden, k - 1), p->d.grad_part);
}

static void go_back_through_main(pass *p)
{
    const dsv3_config *const c = &p->m->config;
    norm_backward(&p->d, p->m->norm, c->rms_norm_eps, of_depth(p, p->sum, 0), of_depth(p, p->grad_hidden, 0), NULL,
                  p->grad);
    for (int64_t n = c->num_hidden_layers; n-- > 0;) layer_backward(&p->d, c, &p->m->layers[n], &p->layer[n], p->grad);
    copy_values(of_depth(p, p->grad_embeds, 0), p->grad);
}

static void end_at_embedding(pass *p)
{
    const parameter *const w = p->m->embed_tokens;
    dsv3_embed_backward_prob const prob = {p->embeds.shape[0], w->shape[0], w->shape[1]};
    dsv3_embed_backward_io const io = {.input_ids = list_at(p->ids, prob.n_tokens),
                                       .grad_y = p->grad_embeds,
                                       .grad_weight = rows_at(w->grad, w->shape[0], w->shape[1])};
    CALL(&p->call, embed_backward, &prob, &io);
}

bool pass_backward(pass *p, double mtp_loss_weight)
{
    for (int k = 0; k <= p->modules; k++) start_gradient(p, k, k ? mtp_loss_weight / p->modules : 1);
    linear_backward(&p->d, p->m->lm_head, p->hidden, p->grad_logits, p->grad_hidden);
    for (int k = p->modules; k > 0; k--) go_back_through_module(p, k);
    go_back_through_main(p);
    end_at_embedding(p);
    return p->call.good;
}
