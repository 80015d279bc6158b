/* A model in the formats of engines: what is stored is the nearest that the format has; tokens that go elsewhere are found, and those
 * that had no right to are. */
#include "../../train/load.h"
#include "../../train/recorded.h"
#include "../../train/routing_flips.h"
#include "case/rng.h"
#include "command.h"
#include "files/safetensors.h"
#include "plain_port.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>

/* No two sizes alike, matrices of more than one block of 128. */
static const dsv3_config small = {
    256, 136,  140,   20, 3,  1,   2,  10, 12,  6,   4, 8, 8, 2, 3,      4, 2,
    1.7, 1e-5, 10000, 8,  64, 512, 32, 1,  0.7, 1.1, 2, 1, 1, 0, {0, 0}, 0,
};

enum { BATCH = 3, LENGTH = 40 };

/* With norms that aren't 1 and a router that chooses. */
static void open_small(model *m)
{
    complaint why;
    cr_assert(model_open(m, &small, 3, &why), "%s", why.text);
    for (int i = 0; i < m->parameters; i++)
        for (int64_t j = 0; j < m->parameter[i].count; j++)
            m->parameter[i].value[j] += (float)(0.05 * rng_gaussian(rng_bits((uint64_t)i, (uint64_t)j)));
}

/* ---- what is stored ---- */

static double stored_at(const parameter *p, int64_t i)
{
    int64_t const one = p->count / (p->experts ? p->experts : 1), columns = p->shape[1];
    double const v = ref_decode(p->weight[0].tensor.dtype, p->weight[0].tensor.data, i);
    if (p->weights == 1) return v;
    const float *const scale = p->weight[1].tensor.data;
    int64_t const down = (p->shape[0] + 127) / 128, across = (columns + 127) / 128;
    int64_t const row = i % one / columns, column = i % columns;
    return v * (double)scale[(i / one * down + row / 128) * across + column / 128];
}

/* BF16 has 8 bits of a number; E4M3 4 of them, and of the smallest 2^-9 of the block's scale, which is at most 1 here. */
static void check_stored(const parameter *p, bool fp8)
{
    for (int64_t i = 0; i < p->count; i++) {
        double const v = (double)p->value[i], off = fabs(stored_at(p, i) - v);
        cr_assert(off <= fabs(v) * (fp8 ? 0x1p-4 : 0x1p-8) + (fp8 ? 0x1p-10 / 448 : 0), "%s[%lld] is %g, stored as %g",
                  p->name, (long long)i, v, stored_at(p, i));
    }
}

static int64_t count_apart(const parameter *p)
{
    int64_t apart = 0;
    for (int64_t i = 0; i < p->count; i++) apart += stored_at(p, i) != (double)p->value[i];
    return apart;
}

static bool ends_with(const char *text, const char *end)
{
    size_t const n = strlen(text), k = strlen(end);
    return n >= k && !strcmp(text + n - k, end);
}

/* As in the index of DeepSeek-V3's checkpoint, which has a weight_scale_inv beside these and no others. */
static bool v3_has_fp8(const char *name)
{
    static const char *const ends[] = {"gate_proj", "up_proj",   "down_proj",          "q_a_proj",
                                       "q_b_proj",  "kv_b_proj", "kv_a_proj_with_mqa", "o_proj"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(name, ends[i])) return true;
    return false;
}

Test(formats, stored_is_the_nearest_that_there_is)
{
    static const dsv3_dtype of[] = {DSV3_BF16, DSV3_F8_E4M3};
    for (int f = 0; f < 2; f++) {
        model m;
        complaint why;
        open_small(&m);
        cr_assert(model_store(&m, of[f], &why), "%s", why.text);
        for (int i = 0; i < m.parameters; i++) {
            const parameter *const p = &m.parameter[i];
            bool const fp8 = of[f] == DSV3_F8_E4M3 && v3_has_fp8(p->name);
            cr_expect_eq(p->weights, fp8 ? 2 : 1, "%s", p->name);
            cr_expect_eq(p->weight[0].tensor.dtype, fp8 ? DSV3_F8_E4M3 : DSV3_BF16, "%s", p->name);
            check_stored(p, fp8);
            cr_expect(count_apart(p) > p->count / 2, "%s: nothing was rounded", p->name);
        }
        model_close(&m);
    }
}

/* ---- flips ---- */

typedef struct {
    model m;
    pass p;
} reading;

static void open_reading(reading *r, const loaded_port *port, dsv3_dtype weights, complaint *why)
{
    uint8_t window[LENGTH + 8];
    open_small(&r->m);
    cr_assert(weights == DSV3_F32 || model_store(&r->m, weights, why), "%s", why->text);
    cr_assert(pass_open(&r->p, &r->m, port, BATCH, LENGTH, false, why), "%s", why->text);
    for (int b = 0; b < BATCH; b++) {
        for (int i = 0; i < LENGTH + 8; i++)
            window[i] = (uint8_t)rng_whole(rng_bits(7, (uint64_t)(b * 99 + i)), 0, 255);
        pass_set(&r->p, b, window);
    }
    cr_assert(pass_forward(&r->p), "%s", why->text);
}

static void close_reading(reading *r)
{
    pass_close(&r->p);
    model_close(&r->m);
}

/* The flips of b beside a, and the last layer that has any; illegal ones. */
static int64_t count(const reading *a, const reading *b, int64_t *flipped, int *last)
{
    flips f;
    complaint why;
    cr_assert(flips_open(&f, &b->m, &why) && flips_add(&f, &a->p, &b->p, &why), "%s", why.text);
    *flipped = 0;
    for (int i = 0; i < model_moe_layers(&b->m); i++) {
        *flipped += f.flipped[i];
        if (f.flipped[i]) *last = i;
    }
    int64_t const illegal = f.illegal;
    cr_expect_eq(f.tokens, BATCH * LENGTH);
    cr_expect_eq(illegal > 0, *f.first != 0);
    flips_close(&f);
    return illegal;
}

/* An expert that token 0 did not choose. */
static int32_t not_chosen(const int32_t *idx, int64_t k)
{
    for (int32_t e = 0;; e++) {
        bool chosen = false;
        for (int64_t i = 0; i < k; i++) chosen = chosen || idx[i] == e;
        if (!chosen) return e;
    }
}

static void check_flips(const reading *f32, reading *r)
{
    int64_t const k = small.num_experts_per_tok;
    int64_t flipped, more;
    int last = 0, at;
    cr_expect_eq(count(f32, r, &flipped, &last), 0);
    const layer_values *const v = &r->p.layer[small.first_k_dense_replace + last];
    int32_t *const idx = v->topk_idx.data;
    cr_expect(flipped > 0 && flipped < 2 * BATCH * LENGTH, "%lld flipped", (long long)flipped);
    for (int64_t t = 0; t < BATCH * LENGTH; t++) { /* their order says nothing */
        int32_t const first = idx[t * k];
        float *const weight = (float *)v->topk_weight.data + t * k, of_first = *weight;
        idx[t * k] = idx[t * k + 1], idx[t * k + 1] = first;
        weight[0] = weight[1], weight[1] = of_first;
    }
    cr_expect_eq(count(f32, r, &more, &at), 0);
    cr_expect_eq(more, flipped);
    int32_t const kept = idx[0];
    idx[0] = not_chosen(idx, k);
    cr_expect(count(f32, r, &more, &at) > 0, "an expert with a lower score was let through");
    idx[0] = kept;
    float *const logits = v->router_logits.data;
    for (int64_t i = 0; i < v->router_logits.shape[0] * v->router_logits.shape[1]; i++) logits[i] += 0.01F;
    cr_expect(count(f32, r, &more, &at) > 0, "logits that are no product were let through");
}

Test(formats, flips_are_found_and_judged, .timeout = 100)
{
    static loaded_port port;
    static reading of[3];
    static const dsv3_dtype weights[] = {DSV3_F32, DSV3_BF16, DSV3_F8_E4M3};
    complaint why = {""};
    int64_t flipped;
    int last;
    load_plain(&port);
    for (int i = 0; i < 3; i++) open_reading(&of[i], &port, weights[i], &why);
    cr_expect_eq(count(&of[0], &of[0], &flipped, &last), 0);
    cr_expect_eq(flipped, 0);
    for (int i = 1; i < 3; i++) check_flips(&of[0], &of[i]);
    for (int i = 0; i < 3; i++) close_reading(&of[i]);
    unload_port(&port);
}

/* ---- what is recorded ---- */

/* So many numbers are a multiple of the others, as at position 0, where YaRN's amplitude is all that rotation does. */
static void check_multiple(const float *got, const float *of, int64_t n, const char *name)
{
    for (int64_t j = 0; j < n; j++)
        cr_expect_float_eq(got[j] * of[0], of[j] * got[0], 1e-4, "%s: number %lld has another place", name,
                           (long long)j);
}

/* Rotated pairs are where the checkpoint has them, which training has as halves. */
static void check_rotated(const reading *r, const char *path)
{
    const dsv3_config *const c = &r->m.config;
    const attention_values *const v = &r->p.layer[0].attention;
    int64_t const nope = c->qk_nope_head_dim, rope = c->qk_rope_head_dim, latent = c->kv_lora_rank;
    safetensors s;
    complaint why;
    cr_assert(recorded_write(&r->p, path, &why) && safetensors_open(path, &s, &why), "%s", why.text);
    const float *const q = safetensors_find(&s, "model.layers.0.self_attn.q")->data;
    const float *const k = safetensors_find(&s, "model.layers.0.self_attn.k")->data;
    const float *const kv = safetensors_find(&s, "model.layers.0.self_attn.kv")->data;
    const float *const pe = (const float *)v->kv_a.data + latent;
    check_multiple(kv + latent, pe, rope, "kv");
    for (int64_t h = 0, at = nope; h < c->num_attention_heads; h++, at += nope + rope) {
        check_multiple(q + at, (const float *)v->q_b.data + at, rope, "q");
        check_multiple(k + at, pe, rope, "k");
    }
    cr_expect(!memcmp(q, v->q_b.data, (size_t)nope * sizeof *q), "the part that isn't rotated");
    safetensors_close(&s);
    remove(path);
}

Test(formats, rotated_pairs_are_recorded_as_the_checkpoint_has_them)
{
    static loaded_port port;
    static reading r;
    complaint why = {""};
    load_plain(&port);
    open_reading(&r, &port, DSV3_F32, &why);
    for (int interleave = 0; interleave < 2; interleave++) {
        r.m.config.rope_interleave = interleave;
        cr_assert(pass_forward(&r.p), "%s", why.text);
        check_rotated(&r, BUILD "/unit/recorded.safetensors");
    }
    close_reading(&r);
    unload_port(&port);
}

/* ---- the command ---- */

#define TEXT BUILD "/unit/formats.txt"

static void write_text(void)
{
    cr_assert(!system("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do cat LICENSE; done >" TEXT));
}

/* In 60 places one agreement more or less is 0.017: no fault, though 64 windows of 128 tokens may differ by 0.01 only. */
Test(formats, few_windows_accuse_nobody, .timeout = 100)
{
    write_text();
    const outcome *const o =
        run_program("", "bench",
                    "evaluate --model=verify/trained --backend=" BUILD "/ports/plain.so --threads=1 --text=" TEXT
                    " --windows=4 --batch=2 --length=16");
    cr_expect_eq(o->code, 0, "%s%s", o->out, o->err);
}

/* A head of weights so large that logits overflow, in a folder whose name is no UTF-8. */
static void write_huge(const char *folder)
{
    safetensors s;
    complaint why;
    char command[400], path[200];
    snprintf(command, sizeof command, "mkdir -p '%s' && cp verify/trained/config.json '%s'", folder, folder);
    cr_assert(!system(command));
    cr_assert(safetensors_open("verify/trained/model.safetensors", &s, &why), "%s", why.text);
    safetensor *const head = &s.item[safetensors_find(&s, "lm_head.weight") - s.item];
    uint16_t *const huge = malloc(head->bytes);
    for (size_t i = 0; i < head->bytes / 2; i++) huge[i] = 0x7f61;
    head->data = huge;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    cr_assert(safetensors_write(path, s.item, s.count, &why), "%s", why.text);
    free(huge);
    safetensors_close(&s);
}

static void check_line(const char *line)
{
    json_error_t error;
    json_t *const j = json_loads(line, JSON_DISABLE_EOF_CHECK, &error);
    cr_assert(j, "%s in %s", error.text, line);
    cr_expect_str_eq(json_string_value(json_object_get(j, "model")), "hu\"ge\xc3\xbf\n");
    const char *const loss = json_string_value(json_array_get(json_object_get(j, "loss"), 0));
    cr_expect(loss && (!strcmp(loss, "nan") || !strcmp(loss, "inf") || !strcmp(loss, "-inf")), "%s", line);
    json_decref(j);
}

Test(formats, a_loss_that_is_not_finite_is_a_fault, .timeout = 100)
{
    const char *const folder = BUILD "/unit/hu\"ge\xff\n";
    char arguments[500], *line;
    int lines = 0;
    write_text(), write_huge(folder);
    snprintf(arguments, sizeof arguments,
             "evaluate --model='%s/' --backend=" BUILD "/ports/plain.so --threads=1 --text=" TEXT
             " --windows=1 --batch=1 --length=4 --format=jsonl",
             folder);
    outcome *const o = run_program("", "bench", arguments);
    cr_expect_eq(o->code, 1, "code %d: %s", o->code, o->err);
    cr_expect(strstr(o->err, "f32: a loss is not finite"), "%s", o->err);
    for (char *rest = o->out; (line = strsep(&rest, "\n")) && *line; lines++) check_line(line);
    cr_expect_eq(lines, 3, "%s", o->out);
}
