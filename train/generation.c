/* See generation.h. Source: DeepSeek-V3 report (arXiv 2412.19437) 2.2, 5.4.3; Leviathan et al. (arXiv 2211.17192). */
#include "generation.h"

#include "case/rng.h"
#include "port/process.h"
#include "sampling.h"

#include <stdio.h>
#include <stdlib.h>

static double const latent_eps = 1e-6;
enum { PAGE_SIZE = 16, OF_ATTENTION = 7, OF_ROUTER = 5 };

/* ---- weights as ops take them ---- */

static dsv3_weight weight_of(const char *name, const parameter *p)
{
    return (dsv3_weight){name, p->weight[0].tensor};
}

static dsv3_weight *attention_list(generation *g, const attention_weights *w)
{
    dsv3_weight *const list = room_take(&g->memory, OF_ATTENTION, sizeof *list);
    if (!list) return NULL;
    list[0] = weight_of("q_a_proj.weight", w->q_a_proj), list[1] = weight_of("q_a_layernorm.weight", w->q_a_layernorm);
    list[2] = weight_of("q_b_proj.weight", w->q_b_proj);
    list[3] = weight_of("kv_a_proj_with_mqa.weight", w->kv_a_proj_with_mqa);
    list[4] = weight_of("kv_a_layernorm.weight", w->kv_a_layernorm);
    list[5] = weight_of("kv_b_proj.weight", w->kv_b_proj), list[6] = weight_of("o_proj.weight", w->o_proj);
    return list;
}

static dsv3_weight *moe_list(generation *g, const layer *l)
{
    int64_t const experts = g->m->config.n_routed_experts;
    dsv3_weight *const list = room_take(&g->memory, OF_ROUTER + 3 * experts, sizeof *list);
    if (!list) return NULL;
    list[0] = weight_of("gate.weight", l->gate);
    list[1] = (dsv3_weight){"gate.e_score_correction_bias", {l->bias, DSV3_F32, 1, {experts}, {1}}};
    list[2] = weight_of("shared_experts.gate_proj.weight", l->mlp.gate_proj);
    list[3] = weight_of("shared_experts.up_proj.weight", l->mlp.up_proj);
    list[4] = weight_of("shared_experts.down_proj.weight", l->mlp.down_proj);
    memcpy(list + OF_ROUTER, l->expert_weight, (size_t)(3 * experts) * sizeof *list);
    return list;
}

/* Layer n, those of the modules last. */
static layer *layer_at(const model *m, int64_t n)
{
    int64_t const layers = m->config.num_hidden_layers;
    return n < layers ? &m->layers[n] : &m->modules[n - layers].block;
}

/* ---- memory ---- */

static bool open_layers(generation *g)
{
    const dsv3_config *const c = &g->m->config;
    int64_t const layers = c->num_hidden_layers + g->modules, width = c->kv_lora_rank + c->qk_rope_head_dim;
    g->cache = room_take(&g->memory, layers, sizeof *g->cache);
    g->attention = room_take(&g->memory, layers, sizeof *g->attention);
    g->moe = room_take(&g->memory, layers, sizeof *g->moe);
    for (int64_t n = 0; !g->memory.short_of && n < layers; n++) {
        const layer *const l = layer_at(g->m, n);
        g->cache[n] = room_take(&g->memory, g->pages * g->page_size * width, sizeof **g->cache);
        g->attention[n] = attention_list(g, &l->self_attn);
        g->moe[n] = l->gate ? moe_list(g, l) : NULL;
    }
    return !g->memory.short_of;
}

static void open_rows(generation *g)
{
    const dsv3_config *const c = &g->m->config;
    int64_t const n = g->capacity, k = c->num_experts_per_tok;
    dsv3_tensor *const hidden[] = {&g->stream, &g->other, &g->norm, &g->out};
    dsv3_tensor *const dense[] = {&g->gate, &g->up, &g->act};
    for (int i = 0; i < 4; i++) *hidden[i] = room_rows(&g->memory, n, c->hidden_size);
    for (int i = 0; i < 3; i++) *dense[i] = room_rows(&g->memory, n, c->intermediate_size);
    for (int i = 0; i <= g->modules; i++) {
        g->hidden[i] = room_rows(&g->memory, n, c->hidden_size);
        g->best[i] = room_take(&g->memory, n, sizeof *g->best[i]);
        g->chance[i] = room_take(&g->memory, c->vocab_size, sizeof *g->chance[i]);
    }
    g->rest = room_take(&g->memory, c->vocab_size, sizeof *g->rest);
    g->both = room_rows(&g->memory, n, 2 * c->hidden_size);
    g->kv = room_rows(&g->memory, n, c->kv_lora_rank + c->qk_rope_head_dim);
    g->logits = room_rows(&g->memory, n, c->vocab_size);
    g->topk_weight = room_rows(&g->memory, n, k);
    g->topk_idx = (dsv3_tensor){room_take(&g->memory, n * k, sizeof(int32_t)), DSV3_I32, 2, {n, k}, {k, 1}};
    g->numbers = list_at(room_take(&g->memory, 4, sizeof(int32_t)), 4);
    g->token = room_take(&g->memory, n + MOST_MODULES, sizeof *g->token);
}

/* Pages lie in the opposite order: nothing may take them for a row. */
static bool open_table(generation *g)
{
    int32_t *const page = room_take(&g->memory, g->pages + 1, sizeof *page);
    if (!page) return false;
    for (int64_t i = 0; i < g->pages; i++) page[i] = (int32_t)(g->pages - 1 - i);
    g->block_table = (dsv3_tensor){page, DSV3_I32, 2, {1, g->pages + 1}, {g->pages + 1, 1}};
    return true;
}

static bool has_ops(const loaded_port *port, complaint *why)
{
    if (port->table.mla && port->table.moe) return true;
    return refuse(why, "the port has no %s, which generation calls", port->table.mla ? "moe" : "mla");
}

bool generation_open(generation *g, model *m, const loaded_port *port, int64_t capacity, complaint *why)
{
    *g = (generation){.m = m, .call = {port, why, true}, .capacity = capacity, .page_size = PAGE_SIZE};
    g->modules = (int)m->config.num_nextn_predict_layers;
    g->pages = (capacity + PAGE_SIZE - 1) / PAGE_SIZE;
    if (!m->config.rope_interleave) return refuse(why, "rope_interleave is false: generation wants it true");
    if (g->modules > MOST_MODULES)
        return refuse(why, "num_nextn_predict_layers is %d: there is room for %d", g->modules, MOST_MODULES);
    if (!has_ops(port, why)) return false;
    open_rows(g);
    bool const good = open_table(g) && open_layers(g) && !g->memory.short_of;
    return good || refuse(why, "no memory for a text of %lld tokens", (long long)capacity);
}

void generation_close(generation *g)
{
    room_close(&g->memory);
}

/* ---- a layer ---- */

static dsv3_tensor first_rows(dsv3_tensor t, int64_t n)
{
    t.shape[0] = n;
    return t;
}

/* y = norm(x); with a residual of x + residual, which goes to sum. */
static void norm(generation *g, const parameter *w, dsv3_tensor x, const dsv3_tensor *residual, dsv3_tensor sum,
                 dsv3_tensor y)
{
    dsv3_weight const weight = weight_of("weight", w);
    dsv3_rmsnorm_prob const p = {x.shape[0], w->count, g->m->config.rms_norm_eps, residual != NULL};
    dsv3_rmsnorm_io io = {.x = x, .weights = {1, &weight}, .y = y};
    if (residual) io.residual = *residual, io.residual_out = sum;
    CALL(&g->call, rmsnorm, &p, &io);
}

static void project(generation *g, const parameter *w, dsv3_tensor x, dsv3_tensor y)
{
    dsv3_weight const weight = weight_of("weight", w);
    dsv3_linear_prob const p = {x.shape[0], w->shape[1], w->shape[0]};
    dsv3_linear_io const io = {.x = x, .weights = {1, &weight}, .y = y};
    CALL(&g->call, linear, &p, &io);
}

/* The rows of g->kv go to places from, from + 1, ... of a layer's cache. */
static void append(generation *g, int64_t n, int64_t from, int64_t rows)
{
    const int32_t *const page = g->block_table.data;
    int64_t const width = g->kv.shape[1];
    for (int64_t i = 0; i < rows; i++) {
        int64_t const at = from + i, slot = page[at / g->page_size] * g->page_size + at % g->page_size;
        memcpy(g->cache[n] + slot * width, (float *)g->kv.data + i * width, (size_t)width * sizeof(float));
    }
}

static void attend(generation *g, int64_t n, int64_t from, dsv3_tensor x, dsv3_tensor y)
{
    const dsv3_config *const c = &g->m->config;
    int32_t *const number = g->numbers.data;
    int64_t const rows = x.shape[0], width = g->kv.shape[1];
    number[0] = 0, number[1] = (int32_t)rows, number[2] = (int32_t)(from + rows);
    dsv3_mla_prob const p = {.batch = 1,
                             .n_tokens = rows,
                             .kv_len = from + rows,
                             .page_size = g->page_size,
                             .hidden_size = c->hidden_size,
                             .num_attention_heads = c->num_attention_heads,
                             .q_lora_rank = c->q_lora_rank,
                             .kv_lora_rank = c->kv_lora_rank,
                             .qk_nope_head_dim = c->qk_nope_head_dim,
                             .qk_rope_head_dim = c->qk_rope_head_dim,
                             .v_head_dim = c->v_head_dim,
                             .rms_norm_eps = latent_eps,
                             .rope_theta = c->rope_theta,
                             .factor = c->factor,
                             .original_max_position_embeddings = c->original_max_position_embeddings,
                             .beta_fast = c->beta_fast,
                             .beta_slow = c->beta_slow,
                             .mscale = c->mscale,
                             .mscale_all_dim = c->mscale_all_dim,
                             .rope_layout = DSV3_HALF};
    dsv3_mla_io const io = {
        .hidden_states = x,
        .cu_seqlens = list_at(number, 2),
        .kv_cache = {g->cache[n], DSV3_F32, 3, {g->pages, g->page_size, width}, {g->page_size * width, width, 1}},
        .block_table = g->block_table,
        .cache_seqlens = list_at(number + 2, 1),
        .weights = {OF_ATTENTION, g->attention[n]},
        .kv = first_rows(g->kv, rows),
        .y = y};
    CALL(&g->call, mla, &p, &io);
    append(g, n, from, rows);
}

static void feed_dense(generation *g, const mlp_weights *w, dsv3_tensor x, dsv3_tensor y)
{
    int64_t const rows = x.shape[0];
    dsv3_swiglu_prob const p = {rows, g->gate.shape[1]};
    dsv3_swiglu_io const io = {
        .gate = first_rows(g->gate, rows), .up = first_rows(g->up, rows), .y = first_rows(g->act, rows)};
    project(g, w->gate_proj, x, io.gate);
    project(g, w->up_proj, x, io.up);
    CALL(&g->call, swiglu, &p, &io);
    project(g, w->down_proj, io.y, y);
}

static void feed_experts(generation *g, int64_t n, dsv3_tensor x, dsv3_tensor y)
{
    const dsv3_config *const c = &g->m->config;
    dsv3_moe_prob const p = {.n_tokens = x.shape[0],
                             .hidden_size = c->hidden_size,
                             .moe_intermediate_size = c->moe_intermediate_size,
                             .n_routed_experts = c->n_routed_experts,
                             .n_shared_experts = c->n_shared_experts,
                             .n_group = c->n_group,
                             .topk_group = c->topk_group,
                             .num_experts_per_tok = c->num_experts_per_tok,
                             .routed_scaling_factor = c->routed_scaling_factor,
                             .norm_topk_prob = c->norm_topk_prob,
                             .scoring_func = DSV3_SIGMOID,
                             .topk_method = DSV3_NOAUX_TC};
    dsv3_moe_io const io = {.hidden_states = x,
                            .weights = {OF_ROUTER + 3 * c->n_routed_experts, g->moe[n]},
                            .topk_idx = first_rows(g->topk_idx, p.n_tokens),
                            .topk_weight = first_rows(g->topk_weight, p.n_tokens),
                            .y = y};
    CALL(&g->call, moe, &p, &io);
}

/* Layer n on rows from, from + 1, ... whose stream is *stream, or *stream + *out where `pending`. What goes out is the new
 * *stream + *out. */
static void run_layer(generation *g, int64_t n, int64_t from, dsv3_tensor *stream, dsv3_tensor *spare, bool pending)
{
    const layer *const l = layer_at(g->m, n);
    dsv3_tensor const out = first_rows(g->out, stream->shape[0]), x = first_rows(g->norm, stream->shape[0]);
    if (pending) {
        norm(g, l->input_layernorm, out, stream, *spare, x);
        dsv3_tensor const sum = *spare;
        *spare = *stream, *stream = sum;
    } else {
        norm(g, l->input_layernorm, *stream, NULL, *spare, x);
    }
    attend(g, n, from, x, out);
    norm(g, l->post_attention_layernorm, out, stream, *spare, x);
    dsv3_tensor const sum = *spare;
    *spare = *stream, *stream = sum;
    if (l->gate)
        feed_experts(g, n, x, out);
    else
        feed_dense(g, &l->mlp, x, out);
}

/* ---- depths ---- */

static void embed_rows(generation *g, const int32_t *token, int64_t rows, dsv3_tensor y)
{
    const parameter *const w = g->m->embed_tokens;
    dsv3_weight const weight = weight_of("weight", w);
    dsv3_embed_prob const p = {rows, w->shape[0], w->shape[1]};
    dsv3_embed_io const io = {.input_ids = list_at((int32_t *)(uintptr_t)token, rows), .weights = {1, &weight}, .y = y};
    CALL(&g->call, embed, &p, &io);
}

/* The head on the rows of a depth's states, and the largest logit of each. */
static void speak(generation *g, int depth, int64_t from, int64_t rows)
{
    int64_t const vocab = g->logits.shape[1];
    project(g, g->m->lm_head, rows_from(g->hidden[depth], from, rows), first_rows(g->logits, rows));
    for (int64_t i = 0; i < rows; i++) {
        const float *const z = (const float *)g->logits.data + i * vocab;
        int32_t at = 0;
        for (int64_t v = 1; v < vocab; v++)
            if (z[v] > z[at]) at = (int32_t)v;
        g->best[depth][from + i] = at;
    }
}

static void run_main(generation *g, int64_t from, int64_t rows)
{
    int64_t const layers = g->m->config.num_hidden_layers;
    dsv3_tensor stream = first_rows(g->stream, rows), spare = first_rows(g->other, rows);
    embed_rows(g, g->token + from, rows, stream);
    for (int64_t n = 0; n < layers; n++) run_layer(g, n, from, &stream, &spare, n > 0);
    norm(g, g->m->norm, first_rows(g->out, rows), &stream, spare, rows_from(g->hidden[0], from, rows));
    speak(g, 0, from, rows);
}

/* Row i reads the token at i + depth. */
static void run_module(generation *g, int depth, int64_t from, int64_t rows)
{
    int64_t const hidden = g->m->config.hidden_size, n = g->m->config.num_hidden_layers + depth - 1;
    const mtp_module *const w = &g->m->modules[depth - 1];
    dsv3_tensor stream = first_rows(g->stream, rows), spare = first_rows(g->other, rows);
    dsv3_tensor const both = first_rows(g->both, rows);
    dsv3_tensor const e = columns_of(both, 0, hidden), h = columns_of(both, hidden, hidden);
    embed_rows(g, g->token + from + depth, rows, spare);
    norm(g, w->enorm, spare, NULL, e, e);
    norm(g, w->hnorm, rows_from(g->hidden[depth - 1], from, rows), NULL, h, h);
    project(g, w->eh_proj, both, stream);
    run_layer(g, n, from, &stream, &spare, false);
    norm(g, w->norm, first_rows(g->out, rows), &stream, spare, rows_from(g->hidden[depth], from, rows));
    speak(g, depth, from, rows);
}

/* ---- what is drawn ---- */

static double uniform(generation *g)
{
    return (double)(rng_bits(g->key, g->drawn++) >> 11) * 0x1p-53;
}

/* Distribution of a depth at a row of the last call's logits. */
static void find_chances(generation *g, int depth, int64_t row)
{
    int64_t const vocab = g->logits.shape[1];
    softmax_at((const float *)g->logits.data + row * vocab, vocab, g->temperature, g->chance[depth]);
}

/* The next token of a depth: the largest logit of a row, or one that is drawn; `place` is the row's in the text. */
static int32_t next_token(generation *g, int depth, int64_t place, int64_t row)
{
    if (!(g->temperature > 0)) return g->best[depth][place];
    find_chances(g, depth, row);
    return draw(g->chance[depth], g->logits.shape[1], uniform(g));
}

/* Does draft k stay, which the main model speaks of in that row? */
static bool keeps(generation *g, int k, int32_t token, int64_t place, int64_t row)
{
    if (!(g->temperature > 0)) return token == g->best[0][place];
    find_chances(g, 0, row);
    return stays(g->chance[0][token], g->chance[k][token], uniform(g));
}

/* In the place of draft k, which didn't stay. */
static int32_t replaced(generation *g, int k, int64_t place)
{
    if (!(g->temperature > 0)) return g->best[0][place];
    rest_of(g->chance[0], g->chance[k], g->logits.shape[1], g->rest);
    return draw(g->rest, g->logits.shape[1], uniform(g));
}

/* ---- the text ---- */

/* Where each depth's rows are final: behind them tokens may still change. */
typedef struct {
    int64_t known; /* tokens of the text */
    int64_t main, module[MOST_MODULES + 1];
    int drafts; /* tokens behind the known ones */
} progress_of_text;

/* The main model on all rows that aren't final, drafts too: what it says of each place is the text; drafts that say the same
 * stay, or of drawn ones those that may. */
static void check_drafts(generation *g, progress_of_text *at, generation_count *count)
{
    int same = 0;
    int64_t const rows = at->known + at->drafts - at->main;
    double const from = now();
    run_main(g, at->main, rows);
    if (count->main_calls++)
        count->calls[rows]++, count->call_seconds[rows] += now() - from;
    else
        count->prompt_seconds += now() - from;
    int64_t const place = at->known - 1, row = place - at->main; /* that speaks of the first draft */
    while (g->call.good && same < at->drafts &&
           keeps(g, same + 1, g->token[at->known + same], place + same, row + same))
        same++;
    for (int k = 1; k <= at->drafts && k <= same + 1; k++) count->drafted[k]++, count->accepted[k] += k <= same;
    g->token[at->known + same] =
        same < at->drafts ? replaced(g, same + 1, place + same) : next_token(g, 0, place + same, row + same);
    at->known += same + 1, at->main = at->known - 1;
    at->drafts = 0;
}

/* Module k's rows up to the last state; the last one says a token, which module k + 1 reads. */
static void draft(generation *g, progress_of_text *at, int modules, generation_count *count)
{
    double const from = now();
    for (int k = 1; k <= modules && at->known + k <= g->capacity; k++) {
        int64_t const rows = at->known - 1 - at->module[k];
        run_module(g, k, at->module[k], rows);
        at->module[k] = at->known - k > 0 ? at->known - k : 0;
        g->token[at->known + k - 1] = next_token(g, k, at->known - 2, rows - 1);
        at->drafts = k;
    }
    *(count->main_calls > 1 ? &count->draft_seconds : &count->prompt_seconds) += now() - from;
}

bool generate(generation *g, int64_t prompt, int64_t new, int speculate, generation_count *count)
{
    progress_of_text at = {.known = prompt};
    *count = (generation_count){0};
    while (g->call.good && at.known < prompt + new) {
        check_drafts(g, &at, count);
        if (speculate && at.known < prompt + new) draft(g, &at, speculate, count);
    }
    count->tokens = at.known - prompt;
    return g->call.good;
}
