/* See chain.h. */
#include "chain.h"

#include "modules.h"

#include <stdio.h>
#include <stdlib.h>

/* Layer n on the state; the output of its feed-forward is left pending. before: the name of the stream that
 * comes in. */
static bool run_layer(const model_run *m, int64_t n, const char *before, bool dense, residual *st, complaint *why)
{
    char norm[NAME], attention[NAME], second[NAME], mlp[NAME], between[NAME];
    void *x = NULL;
    snprintf(norm, NAME, "model.layers.%lld.input_layernorm", (long long)n);
    snprintf(attention, NAME, "model.layers.%lld.self_attn", (long long)n);
    snprintf(second, NAME, "model.layers.%lld.post_attention_layernorm", (long long)n);
    snprintf(between, NAME, "model.layers.%lld.post_attention_layernorm.input", (long long)n);
    snprintf(mlp, NAME, "model.layers.%lld.mlp", (long long)n);
    bool good = run_norm(m, norm, before, st, &x, why) && run_attention(m, attention, st->rows, x, &st->pending, why);
    free(x), x = NULL;
    good = good && run_norm(m, second, between, st, &x, why);
    good = good && (dense ? run_dense(m, mlp, st->rows, x, &st->pending, why)
                          : run_moe(m, mlp, st->rows, x, &st->pending, why));
    free(x);
    return good && dump_finish_part(m->outputs, why);
}

static void stream_name(char *name, int64_t layer)
{
    if (layer < 0)
        snprintf(name, NAME, "model.embed_tokens.output");
    else
        snprintf(name, NAME, "model.layers.%lld.hidden_states", (long long)layer);
}

/* The main model; hidden: its states after model.norm. */
static bool run_main(const model_run *m, void **hidden, complaint *why)
{
    const dsv3_config *const c = m->config;
    residual st = {.rows = m->n_tokens};
    char name[NAME];
    void *logits = NULL;
    const char *const head = c->tie_word_embeddings ? "model.embed_tokens" : "lm_head";
    bool good = dump_take(m->outputs, "input_ids", DSV3_I32, 1, &m->n_tokens) ||
                dump_add(m->outputs, "input_ids", DSV3_I32, 1, &m->n_tokens, m->tokens);
    if (!good) refuse(why, "no memory for the tokens");
    good = good && run_embed(m, "model.embed_tokens", "model.embed_tokens.output", 0, m->n_tokens, &st.stream, why);
    for (int64_t n = 0; good && n < c->num_hidden_layers; n++) {
        stream_name(name, n - 1);
        good = run_layer(m, n, name, n < c->first_k_dense_replace, &st, why);
    }
    stream_name(name, c->num_hidden_layers - 1);
    good = good && run_norm(m, "model.norm", name, &st, hidden, why) &&
           run_linear(m, head, "logits", m->n_tokens, c->hidden_size, c->vocab_size, *hidden, &logits, why);
    free(st.stream), free(st.pending), free(logits);
    return good && dump_finish_part(m->outputs, why);
}

/* The rows of [e | g]. */
static void *side_by_side(const model_run *m, int64_t rows, const void *e, const void *g)
{
    size_t const width = (size_t)m->config->hidden_size * ref_dtype_size(m->format);
    char *const both = malloc(2 * (size_t)rows * width + 1);
    for (int64_t t = 0; both && t < rows; t++) {
        memcpy(both + 2 * (size_t)t * width, (const char *)e + (size_t)t * width, width);
        memcpy(both + (2 * (size_t)t + 1) * width, (const char *)g + (size_t)t * width, width);
    }
    return both;
}

static bool norm_of(const model_run *m, const char *module, int64_t rows, const void *x, void **y, complaint *why)
{
    residual st = {.rows = rows, .stream = (void *)(uintptr_t)x};
    return run_norm(m, module, "", &st, y, why);
}

/* What module k makes its block's input of. */
static bool run_mtp_input(const model_run *m, int64_t k, int64_t rows, const void *hidden, void **u, complaint *why)
{
    int64_t const layer = m->config->num_hidden_layers + k, width = m->config->hidden_size;
    char module[4][NAME], name[NAME], out[NAME];
    static const char *const leaves[4] = {"embed_tokens", "enorm", "hnorm", "eh_proj"};
    void *tokens = NULL, *e = NULL, *g = NULL, *both = NULL;
    for (int i = 0; i < 4; i++) snprintf(module[i], NAME, "model.layers.%lld.%s", (long long)layer, leaves[i]);
    snprintf(name, NAME, "mtp.%lld.embed_tokens.output", (long long)k);
    snprintf(out, NAME, "mtp.%lld.eh_proj.output", (long long)k);
    bool good = run_embed(m, module[0], name, k + 1, rows, &tokens, why) &&
                norm_of(m, module[1], rows, tokens, &e, why) && norm_of(m, module[2], rows, hidden, &g, why);
    if (good) {
        both = side_by_side(m, rows, e, g);
        good = both || refuse(why, "no memory for %s", module[3]);
    }
    good = good && run_linear(m, module[3], out, rows, 2 * width, width, both, u, why);
    free(tokens), free(e), free(g), free(both);
    return good;
}

/* Module k on *hidden, which becomes its own state after shared_head.norm. */
static bool run_mtp(const model_run *m, int64_t k, void **hidden, complaint *why)
{
    const dsv3_config *const c = m->config;
    int64_t const rows = m->n_tokens - k - 1, layer = c->num_hidden_layers + k;
    char before[NAME], name[NAME], norm[NAME], head[NAME], logits_name[NAME];
    residual st = {.rows = rows};
    void *next = NULL, *logits = NULL;
    snprintf(before, NAME, "mtp.%lld.eh_proj.output", (long long)k);
    snprintf(name, NAME, "mtp.%lld.hidden_states", (long long)k);
    snprintf(norm, NAME, "model.layers.%lld.shared_head.norm", (long long)layer);
    snprintf(head, NAME, "model.layers.%lld.shared_head.head", (long long)layer);
    snprintf(logits_name, NAME, "mtp.%lld.logits", (long long)k);
    bool const good = run_mtp_input(m, k, rows, *hidden, &st.stream, why) &&
                      run_layer(m, layer, before, false, &st, why) && run_norm(m, norm, name, &st, &next, why) &&
                      run_linear(m, head, logits_name, rows, c->hidden_size, c->vocab_size, next, &logits, why);
    free(st.stream), free(st.pending), free(logits), free(*hidden);
    *hidden = next;
    return good && dump_finish_part(m->outputs, why);
}

bool model_run_main(const model_run *m, complaint *why)
{
    void *hidden = NULL;
    bool const good = run_main(m, &hidden, why);
    free(hidden);
    return good;
}

bool model_run_all(const model_run *m, complaint *why)
{
    void *hidden = NULL;
    bool good = run_main(m, &hidden, why);
    for (int64_t k = 0; good && k < m->config->num_nextn_predict_layers && m->n_tokens - k - 1 > 0; k++)
        good = run_mtp(m, k, &hidden, why);
    free(hidden);
    return good;
}
