/* The attention block, seen inside a tier: what is equal in real numbers must overlap, with radii so small that it says
 * something. Compiled once a tier, linked with its objects. */
#include "case/fill.h"
#include "case/problem.h"
#include "layer.h"
#include "mla.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(forms, .timeout = 120);

/* log2 of the largest radius that counts as proof, relative to the largest result. */
static double needed(void)
{
    return CENTRE_BITS < 256 ? -60 : CENTRE_BITS == 256 ? -190 : -440;
}

static scratch memory;

/* A case of mla, its inputs filled. */
typedef struct {
    problem p;
    void **data, *bound;
    dsv3_mla_prob prob;
    dsv3_mla_io io;
    vectors x;
} fixture;

static void open_fixture(fixture *f, const char *id)
{
    complaint why;
    cr_assert(problem_parse(id, &f->p, &why), "%s", why.text);
    cr_assert(tensors_open(&f->p, &f->data));
    memcpy(&f->prob, f->p.prob.bytes, sizeof f->prob);
    cr_assert(f->bound = problem_bind(&f->p, f->data));
    memcpy(&f->io, f->bound, sizeof f->io);
    f->x = vectors_read(&memory, &f->io.hidden_states, f->prob.n_tokens, f->prob.hidden_size);
}

static void close_fixture(fixture *f)
{
    free(f->bound);
    tensors_close(&f->p, f->data);
    problem_close(&f->p);
    scratch_back(&memory, NULL);
}

static ball *balls(int64_t n)
{
    ball *const b = calloc((size_t)n, sizeof *b);
    cr_assert(b != NULL);
    return b;
}

static ref_value *const nothing[5];

/* Do two results overlap everywhere, and how large is the largest radius of either? */
static void compare(const char *what, const ball *a, const ball *b, int64_t n)
{
    double largest = 0, radius = 0;
    int64_t apart = 0;
    for (int64_t i = 0; i < n; i++) {
        ball const d = ball_sub(a[i], b[i]);
        apart += !(ball_lower(d) <= 0 && ball_upper(d) >= 0);
        largest = fmax(largest, ball_sup(a[i]));
        radius = fmax(radius, fmax(a[i].r, b[i].r));
    }
    double const bits = log2(radius / largest);
    printf("forms %s bits, %s: %lld elements, %lld apart, largest radius 2^%.1f of the largest\n", CENTRE_TIER, what,
           (long long)n, (long long)apart, bits);
    cr_expect(apart == 0, "%s: %lld of %lld elements are apart", what, (long long)apart, (long long)n);
    cr_expect(bits <= needed(), "%s: radius 2^%.1f, not 2^%.0f", what, bits, needed());
}

static const char *const cases[] = {"mla@odd:q_lens=3+0+1+5,kv_lens=3+4+9+8,hidden_states=f32",
                                    "mla@odd:q_lora_rank=0,rope_layout=0,weights=f8_e4m3", "mla@tiny",
                                    "mla@v3:n_tokens=1,kv_len=20,num_attention_heads=4,weights=f8_e4m3"};

Test(forms, absorbed_is_naive)
{
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        static fixture f;
        if (strstr(cases[c], "@v3") && CENTRE_BITS >= 256) continue; /* 15 s */
        open_fixture(&f, cases[c]);
        int64_t const n = f.prob.n_tokens * f.prob.hidden_size,
                      cached = f.prob.n_tokens * (f.prob.kv_lora_rank + f.prob.qk_rope_head_dim);
        ball *const y[2] = {balls(n), balls(n)}, *const kv = balls(cached);
        for (int naive = 0; naive < 2; naive++) {
            ref_reading const rd = {.scratch = &memory, .naive = naive};
            attention_block(&rd, &f.prob, &f.io, f.x, NULL, kv, y[naive], nothing);
        }
        compare(cases[c], y[0], y[1], n);
        free(y[0]), free(y[1]), free(kv);
        close_fixture(&f);
    }
}

/* The mask forgotten in one of them: the comparison above is able to fail. */
Test(forms, a_mistake_in_one_form_is_seen)
{
    static fixture f;
    open_fixture(&f, cases[0]);
    int64_t const n = f.prob.n_tokens * f.prob.hidden_size,
                  cached = f.prob.n_tokens * (f.prob.kv_lora_rank + f.prob.qk_rope_head_dim);
    ball *const y[2] = {balls(n), balls(n)}, *const kv = balls(cached);
    int64_t apart = 0;
    for (int naive = 0; naive < 2; naive++) {
        ref_reading const rd = {.scratch = &memory, .naive = naive, .quirks = ref_only(naive ? QUIRK_A9_no_mask : -1)};
        attention_block(&rd, &f.prob, &f.io, f.x, NULL, kv, y[naive], nothing);
    }
    for (int64_t i = 0; i < n; i++) {
        ball const d = ball_sub(y[0][i], y[1][i]);
        apart += !(ball_lower(d) <= 0 && ball_upper(d) >= 0);
    }
    cr_expect(apart > n / 2, "%lld of %lld apart", (long long)apart, (long long)n);
    free(y[0]), free(y[1]), free(kv);
    close_fixture(&f);
}

/* New tokens [from, to) of the one sequence, what came before in kv. */
static void run_chunk(const fixture *f, bool naive, int64_t from, int64_t to, ball *kv, ball *y)
{
    int64_t const latent = f->prob.kv_lora_rank + f->prob.qk_rope_head_dim;
    dsv3_mla_prob p = f->prob;
    dsv3_mla_io io = f->io;
    int32_t cu[2] = {0, (int32_t)(to - from)}, len = (int32_t)to;
    const ball *const past[1] = {kv};
    ref_reading const rd = {.scratch = &memory, .naive = naive};
    p.n_tokens = to - from;
    io.cu_seqlens.data = cu;
    io.cache_seqlens.data = &len;
    attention_block(&rd, &p, &io, vectors_slice(f->x, from, to - from), past, kv + from * latent,
                    y + from * p.hidden_size, nothing);
}

/* One prefill of all tokens; prefill, a chunk with past, two tokens as in speculative decoding, then one by one. */
Test(forms, prefill_is_decode)
{
    enum { N = 9 };
    static const int64_t ends[] = {4, 6, 8, 9};
    static fixture f;
    open_fixture(&f, "mla@odd:batch=1,n_tokens=9,kv_len=9,hidden_states=f32");
    int64_t const n = N * f.prob.hidden_size, latent = f.prob.kv_lora_rank + f.prob.qk_rope_head_dim;
    ball *const whole = balls(n), *const parts = balls(n), *const kv = balls(N * latent),
                *const kv_parts = balls(N * latent);
    run_chunk(&f, true, 0, N, kv, whole);
    for (int i = 0, from = 0; i < 4; from = (int)ends[i++]) run_chunk(&f, i % 2, from, ends[i], kv_parts, parts);
    compare("prefill is decode", whole, parts, n);
    compare("what is cached", kv, kv_parts, N * latent);
    free(whole), free(parts), free(kv), free(kv_parts);
    close_fixture(&f);
}

/* ---- a decoder layer ---- */

/* The layer of a case of mtp, over its hidden states: a dense one whose network is what the shared experts are, or the MoE. */
typedef struct {
    problem p;
    void **data, *bound;
    dsv3_weight dense[256]; /* of 16 experts */
    dsv3_mtp_io io;
    int32_t lengths[3];
    ball x[6 * 64], y[2][6 * 64], kv[6 * 24];
} layer_fixture;

static const char shared_prefix[] = "mlp.shared_experts.";

/* Nothing comes from the routed experts; and the same weights with the names of a dense layer. */
static void open_layer_fixture(layer_fixture *f)
{
    complaint why;
    cr_assert(problem_parse("mtp@odd:stages=0,hidden_states=f32", &f->p, &why), "%s", why.text);
    cr_assert(tensors_open(&f->p, &f->data));
    cr_assert(f->bound = problem_bind(&f->p, f->data));
    memcpy(&f->io, f->bound, sizeof f->io);
    cr_assert(f->io.weights.count <= (int64_t)(sizeof f->dense / sizeof *f->dense));
    for (int64_t i = 0; i < f->io.weights.count; i++) {
        const char *const name = f->io.weights.item[i].name;
        const dsv3_tensor *const t = &f->io.weights.item[i].tensor;
        f->dense[i] = f->io.weights.item[i];
        if (strstr(name, "mlp.experts.") && strstr(name, "down_proj"))
            memset(t->data, 0, (size_t)(t->shape[0] * t->shape[1]) * sizeof(float));
        if (strncmp(name, shared_prefix, strlen(shared_prefix))) continue;
        static const char *const names[] = {"mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight"};
        for (int k = 0; k < 3; k++)
            if (!strcmp(name + strlen(shared_prefix), names[k] + strlen("mlp."))) f->dense[i].name = names[k];
    }
    for (int i = 0; i < 6 * 64; i++) f->x[i] = ball_of(ref_decode(DSV3_F32, f->io.hidden_states.data, i));
}

static void close_layer_fixture(layer_fixture *f)
{
    free(f->bound);
    tensors_close(&f->p, f->data);
    problem_close(&f->p);
}

static void run_layer_fixture(layer_fixture *f, bool dense, ref_set quirks)
{
    dsv3_mtp_prob const *const p = (const void *)f->p.prob.bytes;
    static const layer_points points;
    static ref_value *const no_output[6];
    ref_reading const rd = {.scratch = &memory, .quirks = quirks};
    for (int b = 0; b < 3; b++) f->lengths[b] = 2;
    dsv3_mla_prob const attention = {.batch = 3,
                                     .n_tokens = 6,
                                     .page_size = 1,
                                     .hidden_size = 64,
                                     .num_attention_heads = p->num_attention_heads,
                                     .q_lora_rank = p->q_lora_rank,
                                     .kv_lora_rank = p->kv_lora_rank,
                                     .qk_nope_head_dim = p->qk_nope_head_dim,
                                     .qk_rope_head_dim = p->qk_rope_head_dim,
                                     .v_head_dim = p->v_head_dim,
                                     .rms_norm_eps = 1e-6,
                                     .rope_theta = 100,
                                     .factor = 1,
                                     .original_max_position_embeddings = 4096,
                                     .beta_fast = 32,
                                     .beta_slow = 1,
                                     .mscale = 1,
                                     .mscale_all_dim = 1};
    dsv3_moe_prob const moe = {.n_tokens = 6,
                               .hidden_size = 64,
                               .moe_intermediate_size = p->moe_intermediate_size,
                               .n_routed_experts = p->n_routed_experts,
                               .n_shared_experts = p->n_shared_experts,
                               .n_group = 1,
                               .topk_group = 1,
                               .num_experts_per_tok = 2,
                               .routed_scaling_factor = 2,
                               .norm_topk_prob = 1};
    dsv3_mla_io const attention_io = {
        .cu_seqlens = f->io.cu_seqlens, .y = {.dtype = DSV3_F32}, .cache_seqlens = {f->lengths, DSV3_I32, 1, {3}, {1}}};
    dsv3_moe_io const moe_io = {.y = {.dtype = DSV3_F32}};
    dsv3_weights const weights = {f->io.weights.count, dense ? f->dense : f->io.weights.item};
    layer const l = {.rd = &rd,
                     .weights = &weights,
                     .point = &points,
                     .format = DSV3_F32,
                     .rms_norm_eps = 1e-2,
                     .attention = &attention,
                     .attention_io = &attention_io,
                     .attention_out = no_output,
                     .moe = dense ? NULL : &moe,
                     .moe_io = &moe_io,
                     .moe_out = no_output,
                     .intermediate_size = p->n_shared_experts * p->moe_intermediate_size};
    decoder_layer(&l, f->x, f->kv, f->y[dense]);
}

Test(forms, a_dense_layer_is_shared_experts_alone)
{
    static layer_fixture f;
    open_layer_fixture(&f);
    run_layer_fixture(&f, false, ref_none());
    run_layer_fixture(&f, true, ref_none());
    compare("layer", f.y[0], f.y[1], 6 * 64);
    close_layer_fixture(&f);
}

/* The comparison is able to fail: without a mask the first of two rows sees the second. */
Test(forms, a_layer_without_its_mask_is_another)
{
    static layer_fixture f;
    open_layer_fixture(&f);
    run_layer_fixture(&f, true, ref_none());
    run_layer_fixture(&f, false, ref_only(QUIRK_A9_no_mask));
    int apart = 0;
    for (int i = 0; i < 6 * 64; i++) {
        ball const d = ball_sub(f.y[0][i], f.y[1][i]);
        apart += ball_lower(d) > 0 || ball_upper(d) < 0;
    }
    cr_expect(apart >= 3 * 60, "%d of 384 elements are apart", apart);
    close_layer_fixture(&f);
}

/* An output that the composition hands out nowhere is rounded as the port declares. */
Test(forms, hidden_outputs_are_intermediates)
{
    complaint why;
    ref_numerics n;
    ref_set const hidden = ref_only(POINT_moe_y);
    ball const fine = ball_of(1 + 0x1p-20);
    cr_assert(ref_numerics_parse("mtp", "mlp.y f32 must; flush none", &n, why.text, sizeof why.text), "%s", why.text);
    ref_reading const own = {.declared = &n}, part = {.declared = &n, .hidden = hidden};
    ball const as_output = round_at(&own, POINT_moe_y, DSV3_BF16, fine),
               inside = round_at(&part, POINT_moe_y, DSV3_BF16, fine);
    cr_expect(ball_is_point(as_output) && ball_upper(as_output) == 1, "an output is rounded to its format");
    cr_expect(ball_is_point(inside) && ball_lower(inside) == 1 + 0x1p-20, "an intermediate to the declared one");
    cr_assert(ref_numerics_parse("mtp", NULL, &n, why.text, sizeof why.text), "%s", why.text);
    ball const assumed = round_at(&part, POINT_moe_y, DSV3_BF16, fine);
    cr_expect(ball_lower(assumed) <= 1 && ball_upper(assumed) >= 1 + 0x1p-20, "by default either is legal");
}
