/* See trained.h. */
#include "trained.h"

#include "files/embed.h"
#include "files/safetensors.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>

/* ---- the files, which are part of the program ---- */

EMBED(trained_model, "verify/trained/model.safetensors");
EMBED(trained_activations, "verify/trained/activations.safetensors");

static safetensors model, activations;

static void read_files(void)
{
    complaint why;
    if (!safetensors_parse("the trained model", trained_model, (size_t)(trained_model_end - trained_model), &model,
                           &why) ||
        !safetensors_parse("its activations", trained_activations,
                           (size_t)(trained_activations_end - trained_activations), &activations, &why))
        fprintf(stderr, "verify: %s\n", why.text);
}

static const safetensor *stored(const char *name)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_files);
    const safetensor *const t = safetensors_find(&activations, name);
    return t ? t : safetensors_find(&model, name);
}

/* ---- which tensor is read from which ---- */

/* `#` in `from` is the number of a layer: first, first + 1 ... by the seed. A tensor of NULL: all weights of the op, whose names
 * follow `from`. all: a field that must be as large as there, for what is read counts from 0 to it. past: more rows may be asked
 * for than there are, which begin anew. */
typedef struct {
    const char *op, *tensor, *from;
    int first, layers;
    const char *all;
    int64_t of;
    bool past;
} source;

#define ATTENTION 0, 4 /* layers that have it */
#define EXPERTS   1, 3

/* clang-format off */
static const source sources[] = {
    {"rmsnorm", "x", "model.layers.#.input", ATTENTION},
    {"rmsnorm", "residual", "model.layers.#.self_attn.output", ATTENTION},
    {"rmsnorm", "weight", "model.layers.#.input_layernorm.weight", ATTENTION},
    {"linear", "x", "model.norm.output"},
    {"linear", "weight", "lm_head.weight"},
    {"swiglu", "gate", "model.layers.0.mlp.gate_proj.output"},
    {"swiglu", "up", "model.layers.0.mlp.up_proj.output"},
    {"embed", "input_ids", "input_ids", .all = "vocab_size", .of = 256},
    {"embed", "weight", "model.embed_tokens.weight"},
    {"cross_entropy", "logits", "logits"},
    {"cross_entropy", "labels", "labels", .all = "vocab_size", .of = 256},
    {"quant", "x", "model.layers.#.post_attention_layernorm.output", ATTENTION},
    {"gate", "logits", "model.layers.#.mlp.gate.output", EXPERTS},
    {"gate", NULL, "model.layers.#.mlp.gate.", EXPERTS},
    {"experts", "hidden_states", "model.layers.#.post_attention_layernorm.output", EXPERTS},
    {"experts", "topk_idx", "model.layers.#.mlp.topk_idx", EXPERTS, "n_routed_experts", 32},
    {"experts", "topk_weight", "model.layers.#.mlp.topk_weight", EXPERTS},
    {"experts", NULL, "model.layers.#.mlp.", EXPERTS},
    {"moe", "hidden_states", "model.layers.#.post_attention_layernorm.output", EXPERTS},
    {"moe", NULL, "model.layers.#.mlp.", EXPERTS},
    {"mla_prefill", "q", "model.layers.#.self_attn.q", ATTENTION},
    {"mla_prefill", "k", "model.layers.#.self_attn.k", ATTENTION},
    {"mla_prefill", "v", "model.layers.#.self_attn.v", ATTENTION},
    {"mla", "hidden_states", "model.layers.#.input_layernorm.output", ATTENTION},
    {"mla", "kv_cache", "model.layers.#.self_attn.kv", ATTENTION, .past = true},
    {"mla", NULL, "model.layers.#.self_attn.", ATTENTION},
    {"mtp", "hidden_states", "model.norm.output"},
    {"mtp", "inputs_embeds", "mtp.0.embed_tokens.output"},
    {"mtp", NULL, "model.layers.3."},
};
/* clang-format on */

static const source *source_of(const problem *p, const tensor_info *t)
{
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        const source *const s = &sources[i];
        bool const weight = !s->tensor && t->row->kind == TENSOR_WEIGHT;
        if (same_name(s->op, p->op->name) && (weight || (s->tensor && same_name(s->tensor, t->name)))) return s;
    }
    return NULL;
}

static bool is_scale(const tensor_info *t)
{
    return strstr(t->name, "weight_scale_inv") || same_name(t->name, "x_scale");
}

/* NULL: the tensor is filled as by the op's first fill. */
static const safetensor *stored_for(const problem *p, const tensor_info *t)
{
    const source *const s = source_of(p, t);
    char name[160];
    if (!s || is_scale(t)) return NULL;
    const char *const mark = strchr(s->from, '#'), *const leaf = s->tensor ? "" : t->name;
    int const number = s->layers ? s->first + (int)((p->seed - 1) % (uint64_t)s->layers) : 0;
    if (mark)
        snprintf(name, sizeof name, "%.*s%d%s%s", (int)(mark - s->from), s->from, number, mark + 1, leaf);
    else
        snprintf(name, sizeof name, "%s%s", s->from, leaf);
    return stored(name);
}

/* ---- slices ---- */

/* Every scale is 2^this: codes of weights are 256 times the weight, of activations 32 times the activation; none is above 448. */
static int exponent_of_scales(const tensor_info *t)
{
    return t->row->kind == TENSOR_WEIGHT ? -8 : -5;
}

static double scale_value(const tensor_info *t)
{
    int const exponent = exponent_of_scales(t);
    return t->dtype == DSV3_U8 ? 127 + exponent : ldexp(1, exponent);
}

/* The same from the right: sizes of the last axes, those in front being 1. */
static void sizes_of(int ndim, const int64_t *shape, int64_t size[3])
{
    for (int d = 0; d < 3; d++) size[2 - d] = d < ndim ? shape[ndim - 1 - d] : 1;
}

/* Elements at the same place in both: a slice from the front of every axis. */
static void copy_slice(const tensor_info *t, const safetensor *from, double factor, void *data)
{
    int64_t to[3], there[3];
    sizes_of(t->ndim, t->shape, to), sizes_of(from->ndim, from->shape, there);
    for (int64_t i = 0; i < t->count; i++) {
        int64_t const k = i % to[2], j = i / to[2] % to[1], h = i / to[2] / to[1];
        int64_t const at = (h % there[0] * there[1] + j % there[1]) * there[2] + k;
        ref_encode(t->dtype, data, i, factor * ref_decode(from->dtype, from->data, at));
    }
}

/* A cache of pages has rows on two axes. */
static void copy_rows(const tensor_info *t, const safetensor *from, void *data)
{
    int64_t const width = t->shape[t->ndim - 1];
    for (int64_t i = 0; i < t->count; i++) {
        int64_t const at = i / width % from->shape[0] * from->shape[1] + i % width;
        ref_encode(t->dtype, data, i, ref_decode(from->dtype, from->data, at));
    }
}

bool trained_tensor(const problem *p, const tensor_info *t, void *data)
{
    const safetensor *const from = stored_for(p, t);
    if (from && source_of(p, t)->past)
        copy_rows(t, from, data);
    else if (from)
        copy_slice(t, from, t->dtype == DSV3_F8_E4M3 ? ldexp(1, -exponent_of_scales(t)) : 1, data);
    for (int64_t i = 0; is_scale(t) && i < t->count; i++) ref_encode(t->dtype, data, i, scale_value(t));
    return from || is_scale(t);
}

/* ---- what fits ---- */

static bool axes_fit(const tensor_info *t, const safetensor *from, bool past)
{
    int64_t to[3], there[3];
    sizes_of(t->ndim, t->shape, to), sizes_of(from->ndim, from->shape, there);
    return to[2] <= there[2] && (past || (to[1] <= there[1] && to[0] <= there[0]));
}

static void print_shape(char *text, size_t cap, int ndim, const int64_t *shape)
{
    size_t n = 0;
    for (int d = 0; d < ndim && n < cap; d++)
        n += (size_t)snprintf(text + n, cap - n, "%s%lld", d ? " " : "", (long long)shape[d]);
}

static bool tensor_fits(const problem *p, const tensor_info *t, complaint *why)
{
    const source *const s = source_of(p, t);
    const safetensor *const from = stored_for(p, t);
    char wanted[80] = "", there[80] = "";
    if (s && s->all && problem_size(p, s->all) != s->of)
        return refuse(why, "%s: fill=trained wants %s=%lld, as the trained model has it", p->op->name, s->all,
                      (long long)s->of);
    if (!from || axes_fit(t, from, s->past)) {
        bool const unknown = s && !is_scale(t) && !from;
        return !unknown || refuse(why, "%s: fill=trained: the trained model has no %s", p->op->name, t->name);
    }
    print_shape(wanted, sizeof wanted, t->ndim, t->shape), print_shape(there, sizeof there, from->ndim, from->shape);
    return refuse(why, "%s: fill=trained: %s is (%s), the trained model has (%s)", p->op->name, t->name, wanted, there);
}

bool trained_fits(const problem *p, complaint *why)
{
    for (int i = 0; i < p->tensors; i++)
        if (p->tensor[i].row->kind != TENSOR_OUT && !tensor_fits(p, &p->tensor[i], why)) return false;
    return true;
}
