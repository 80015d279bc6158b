/* Multi-token prediction: worked numbers in every tier, and a chain of two depths through the reference. */
#include "case/fill.h"
#include "case/problem.h"
#include "ref.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "decimal.h"

TestSuite(mtp, .timeout = 120);

static const ref_table *const tiers[] = {&ref_dd, &ref_256, &ref_512, &ref_1024};
enum { TIERS = 4, OUTPUTS = 15, Y = 14, IDX = 9 };

/* ---- the worked example of docs/components/mtp.md ---- */

#define MATRIX(name, rows, columns, ...)                                                                               \
    {                                                                                                                  \
        name ".weight",                                                                                                \
        {                                                                                                              \
            (float[]){__VA_ARGS__}, DSV3_F32, 2, {rows, columns},                                                      \
            {                                                                                                          \
                columns, 1                                                                                             \
            }                                                                                                          \
        }                                                                                                              \
    }
#define VECTOR(name, n, ...)                                                                                           \
    {                                                                                                                  \
        name,                                                                                                          \
        {                                                                                                              \
            (float[]){__VA_ARGS__}, DSV3_F32, 1, {n},                                                                  \
            {                                                                                                          \
                1                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }
static const dsv3_weight small[] = {
    VECTOR("enorm.weight", 2, 1, 1),
    VECTOR("hnorm.weight", 2, 2, 1),
    MATRIX("eh_proj", 2, 4, 1, 0, 1, 0, 0, 1, 0, 2),
    VECTOR("input_layernorm.weight", 2, 1, 1),
    MATRIX("self_attn.q_proj", 3, 2, 1, 0, 0, 1, 1, 0),
    MATRIX("self_attn.kv_a_proj_with_mqa", 3, 2, 1, 1, 1, 0, 0, 1),
    VECTOR("self_attn.kv_a_layernorm.weight", 1, 2),
    MATRIX("self_attn.kv_b_proj", 2, 1, 1, 3),
    MATRIX("self_attn.o_proj", 2, 1, 1, -1),
    VECTOR("post_attention_layernorm.weight", 2, 1, 1),
    MATRIX("mlp.gate", 2, 2, 1, 0, 0, -2),
    VECTOR("mlp.gate.e_score_correction_bias", 2, 0, 0),
    MATRIX("mlp.experts.0.gate_proj", 1, 2, 1, 0),
    MATRIX("mlp.experts.0.up_proj", 1, 2, 0, 1),
    MATRIX("mlp.experts.0.down_proj", 2, 1, 1, 1),
    MATRIX("mlp.experts.1.gate_proj", 1, 2, 1, 0),
    MATRIX("mlp.experts.1.up_proj", 1, 2, 0, 1),
    MATRIX("mlp.experts.1.down_proj", 2, 1, 1, 2),
    MATRIX("mlp.shared_experts.gate_proj", 1, 2, 0, 1),
    MATRIX("mlp.shared_experts.up_proj", 1, 2, 1, 0),
    MATRIX("mlp.shared_experts.down_proj", 2, 1, 1, 1),
    VECTOR("shared_head.norm.weight", 2, 1, 2),
};

static const dsv3_mtp_prob small_prob = {.batch = 1,
                                         .hidden_size = 2,
                                         .num_attention_heads = 1,
                                         .kv_lora_rank = 1,
                                         .qk_nope_head_dim = 1,
                                         .qk_rope_head_dim = 2,
                                         .v_head_dim = 1,
                                         .moe_intermediate_size = 1,
                                         .n_routed_experts = 2,
                                         .n_shared_experts = 1,
                                         .n_group = 1,
                                         .topk_group = 1,
                                         .num_experts_per_tok = 1,
                                         .routed_scaling_factor = 2,
                                         .latent_eps = 1,
                                         .rope_theta = 10000,
                                         .factor = 1,
                                         .original_max_position_embeddings = 4096,
                                         .beta_fast = 32,
                                         .beta_slow = 1,
                                         .mscale = 1,
                                         .mscale_all_dim = 1,
                                         .norm_topk_prob = 1};

static dsv3_tensor matrix_in(void *data, dsv3_dtype dtype, int64_t rows, int64_t columns)
{
    return (dsv3_tensor){data, dtype, 2, {rows, columns}, {columns, 1}};
}

/* One depth over n rows of one sequence: h and e (n, hidden_size). */
static void run_depth(int tier, ref_set quirks, dsv3_mtp_prob prob, dsv3_weights weights, dsv3_tensor h, dsv3_tensor e,
                      ref_value *idx, ref_value *y)
{
    int64_t const n = h.shape[0];
    int32_t cu[] = {0, (int32_t)n};
    ref_value *out[OUTPUTS] = {NULL};
    prob.n_tokens = n;
    out[IDX] = idx, out[Y] = y;
    dsv3_mtp_io const io = {.hidden_states = h,
                            .inputs_embeds = e,
                            .cu_seqlens = {cu, DSV3_I32, 1, {2}, {1}},
                            .weights = weights,
                            .y = matrix_in(NULL, DSV3_F32, n, prob.hidden_size)};
    ref_reading const rd = {.quirks = quirks};
    cr_assert(tiers[tier]->mtp(&rd, &prob, &io, out));
}

static const dsv3_weights small_weights = {sizeof small / sizeof *small, small};

static void small_depth(int tier, ref_set quirks, ref_value idx[2], ref_value y[4])
{
    float h[] = {1, -1, 1, 1}, e[] = {1, 7, 7, 1};
    run_depth(tier, quirks, small_prob, small_weights, matrix_in(h, DSV3_F32, 2, 2), matrix_in(e, DSV3_F32, 2, 2), idx,
              y);
}

Test(mtp, worked_numbers)
{
    static const char *const y[] = {
        "0.713631601551303808456344745726646031838234475", "-2.44190903783684879482166219235071711229274968",
        "1.22640608907331529047973779507093409015786984", "-1.40844326074413866204859534788238151514773273"};
    for (int t = 0; t < TIERS; t++) {
        ref_value got[4], idx[2];
        small_depth(t, ref_none(), idx, got);
        cr_expect(idx[0].hi == 1 && idx[1].hi == 0, "experts %g and %g", idx[0].hi, idx[1].hi);
        for (int i = 0; i < 4; i++) {
            cr_expect(agrees(&got[i], y[i]), "tier %s, y %d: %.17g", tiers[t]->tier, i, got[i].hi);
            cr_expect(got[i].radius <= 0x1p-60, "radius %g", got[i].radius);
        }
    }
}

/* The disputes that this depth shows, as numbers of their own; positions i + 1 change nothing. */
Test(mtp, disputes_of_the_worked_example)
{
    static const struct {
        int quirk;
        const char *y[4];
    } rows[] = {
        {QUIRK_M1_hidden_first,
         {"1.08891133623525048400012911821027578915101799", "-1.80474053738299042651085788573081306929751148",
          "1.13920356541982577530145967542161301391323055", "-1.67596567570431672611088193299012722938615257"}},
        {QUIRK_M1_norms_exchanged,
         {"0.564520885090794375401315409127860999805339914", "-2.59331152798602746864630600881467502688403446",
          "1.24820421923738773562598555013942840209108707", "-1.32964089449442444959595179155291696816162043"}},
        {QUIRK_M6_own_token,
         {"0.713631601551303808456344745726646031838234475", "-2.44190903783684879482166219235071711229274968",
          "1.30782472049729173251398153305457625300822083", "-1.076279704270559508883156885595094366135922"}},
        {QUIRK_M10_position_ahead,
         {"0.713631601551303808456344745726646031838234475", "-2.44190903783684879482166219235071711229274968",
          "1.22640608907331529047973779507093409015786984", "-1.40844326074413866204859534788238151514773273"}}};
    for (int t = 0; t < TIERS; t++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            ref_value got[4], idx[2];
            small_depth(t, ref_only(rows[r].quirk), idx, got);
            for (int i = 0; i < 4; i++)
                cr_expect(agrees(&got[i], rows[r].y[i]) && got[i].radius <= 0x1p-60, "tier %s, %s, y %d: %.17g",
                          tiers[t]->tier, ref_quirk(rows[r].quirk)->name, i, got[i].hi);
        }
}

/* ---- a chain of depths ---- */

/* What all depths share: the embedding and the head; tokens 0 to T, the last one only as a label. */
typedef struct {
    dsv3_tensor embedding, head; /* (vocab_size, hidden_size) */
    const int32_t *token;
    int64_t width, vocab;
} shared;

/* The embeddings of n tokens, bit for bit. */
static void embed(const shared *s, const int32_t *token, int64_t n, double *out)
{
    dsv3_embed_prob const p = {n, s->vocab, s->width};
    dsv3_weight const w = {"weight", s->embedding};
    dsv3_embed_io const io = {.input_ids = {(void *)(uintptr_t)token, DSV3_I32, 1, {n}, {1}}, .weights = {1, &w}};
    ref_value *const v = malloc((size_t)(n * s->width) * sizeof *v);
    ref_reading const rd = {NULL};
    cr_assert(ref_dd.embed(&rd, &p, &io, (ref_value *const[]){v}));
    for (int64_t i = 0; i < n * s->width; i++) out[i] = v[i].hi;
    free(v);
}

/* Depth k = 1, 2, ... of T tokens: rows i < T - k take h[i] of the depth before and token i + k. y becomes the state, logits come from the
 * shared head. */
static void chain_depth(int tier, const shared *s, dsv3_mtp_prob p, dsv3_weights w, int64_t T, int64_t k, double *h,
                        ref_value *y, ref_value *logits)
{
    int64_t const n = T - k;
    double *const e = malloc((size_t)(n * s->width) * sizeof *e);
    ref_value *const idx = malloc((size_t)(n * p.num_experts_per_tok) * sizeof *idx);
    embed(s, s->token + k, n, e);
    run_depth(tier, ref_none(), p, w, matrix_in(h, DSV3_F64, n, s->width), matrix_in(e, DSV3_F64, n, s->width), idx, y);
    for (int64_t i = 0; i < n * s->width; i++) h[i] = y[i].hi;
    dsv3_linear_prob const head = {n, s->width, s->vocab};
    dsv3_weight const weight = {"weight", s->head};
    dsv3_linear_io const io = {
        .x = matrix_in(h, DSV3_F64, n, s->width), .weights = {1, &weight}, .y = matrix_in(NULL, DSV3_F32, n, s->vocab)};
    ref_reading const rd = {NULL};
    cr_assert(tiers[tier]->linear(&rd, &head, &io, (ref_value *const[]){logits}));
    free(e);
    free(idx);
}

/* Three tokens: depth 1 has rows 0 and 1, depth 2 has row 0, which takes y[0] of depth 1 and token 2. The state is rounded to binary64 once. */
Test(mtp, two_depths_of_the_worked_example)
{
    static const double y2[] = {-0.074446037935698713836, -2.8245054699438459455};
    static const int32_t token[] = {0, 1, 2};
    float table[] = {9, 9, 1, 7, 7, 1}, head[] = {1, 0, 0, 1, 1, 1};
    shared const s = {matrix_in(table, DSV3_F32, 3, 2), matrix_in(head, DSV3_F32, 3, 2), token, 2, 3};
    for (int t = 0; t < 2; t++) {
        double h[] = {1, -1, 1, 1, 5, 5}; /* of the main model; row 2 has no next token */
        ref_value y[4], logits[6];
        chain_depth(t, &s, small_prob, small_weights, 3, 1, h, y, logits);
        chain_depth(t, &s, small_prob, small_weights, 3, 2, h, y, logits);
        for (int i = 0; i < 2; i++) {
            cr_expect(fabs(y[i].hi - y2[i]) <= 1e-14, "tier %s: %.17g", tiers[t]->tier, y[i].hi);
            cr_expect(y[i].radius <= 0x1p-60, "radius %g", y[i].radius);
        }
        cr_expect(logits[0].hi == h[0] && logits[1].hi == h[1], "logits of unit rows are the state");
        cr_expect(fabs(logits[2].hi - (y2[0] + y2[1])) <= 1e-14, "%.17g", logits[2].hi);
    }
}

/* ---- alignment ---- */

enum { T = 6, WIDTH = 64, VOCAB = 7 };

/* A module with the weights of mtp@odd, and everything that goes in. */
typedef struct {
    problem p;
    void **data, *bound;
    dsv3_mtp_io io;
    dsv3_mtp_prob prob;
    float table[VOCAB * WIDTH], head[VOCAB * WIDTH];
    double state[T * WIDTH];
    int32_t token[T];
} fixture;

static double wave(int i)
{
    return (double)((i * 7919 + 13) % 257 - 128) / 64;
}

static void open_fixture(fixture *f)
{
    complaint why;
    cr_assert(problem_parse("mtp@odd:batch=1,stages=0,hidden_states=f32", &f->p, &why), "%s", why.text);
    cr_assert(tensors_open(&f->p, &f->data));
    cr_assert(f->bound = problem_bind(&f->p, f->data));
    memcpy(&f->io, f->bound, sizeof f->io);
    memcpy(&f->prob, f->p.prob.bytes, sizeof f->prob);
    for (int i = 0; i < VOCAB * WIDTH; i++) f->table[i] = (float)wave(i), f->head[i] = (float)wave(3 * i + 1);
    for (int i = 0; i < T * WIDTH; i++) f->state[i] = wave(5 * i + 2);
    for (int i = 0; i < T; i++) f->token[i] = (3 * i + 1) % VOCAB;
}

/* Both depths; y2 (T - 2, WIDTH). */
static void run_chain(int tier, const fixture *f, ref_value *y2)
{
    shared const s = {matrix_in((void *)(uintptr_t)f->table, DSV3_F32, VOCAB, WIDTH),
                      matrix_in((void *)(uintptr_t)f->head, DSV3_F32, VOCAB, WIDTH), f->token, WIDTH, VOCAB};
    double h[T * WIDTH];
    ref_value y1[T * WIDTH], logits[T * VOCAB];
    memcpy(h, f->state, sizeof h);
    chain_depth(tier, &s, f->prob, f->io.weights, T, 1, h, y1, logits);
    chain_depth(tier, &s, f->prob, f->io.weights, T, 2, h, y2, logits);
}

/* Rows of depth 2 that differ, as bits. */
static unsigned changed(const ref_value *a, const ref_value *b)
{
    unsigned rows = 0;
    for (int t = 0; t < T - 2; t++)
        for (int i = 0; i < WIDTH; i++) rows |= (unsigned)(a[t * WIDTH + i].hi != b[t * WIDTH + i].hi) << t;
    return rows;
}

/* Row i of depth 2 depends on the tokens 1 to i + 2 and the states 0 to i, and on nothing else. */
Test(mtp, depth_two_sees_what_it_may)
{
    fixture *const f = malloc(sizeof *f);
    ref_value before[T * WIDTH], after[T * WIDTH];
    open_fixture(f);
    run_chain(0, f, before);
    for (int j = 0; j < T; j++) {
        int32_t const token = f->token[j];
        f->token[j] = (token + 1) % VOCAB;
        run_chain(0, f, after);
        f->token[j] = token;
        unsigned const from = j < 3 ? 0 : (unsigned)j - 2; /* token 1 and 2 are in every row */
        cr_expect(changed(before, after) == (j ? 0xfu << from & 0xf : 0), "token %d: %x", j, changed(before, after));
    }
    for (int j = 0; j < T; j++) {
        f->state[j * WIDTH] += 1;
        run_chain(0, f, after);
        f->state[j * WIDTH] -= 1;
        cr_expect(changed(before, after) == (0xfu << j & 0xf), "state %d: %x", j, changed(before, after));
    }
    free(f->bound);
    tensors_close(&f->p, f->data);
    problem_close(&f->p);
    free(f);
}

/* The tiers enclose the same number, though each rounds the state of depth 1 to binary64 by itself. */
Test(mtp, tiers_agree_on_a_chain)
{
    fixture *const f = malloc(sizeof *f);
    ref_value dd[T * WIDTH], proof[T * WIDTH];
    open_fixture(f);
    run_chain(0, f, dd);
    run_chain(1, f, proof);
    for (int i = 0; i < (T - 2) * WIDTH; i++) {
        cr_expect(fabs(dd[i].hi - proof[i].hi) <= 0x1p-48, "element %d: %.17g and %.17g", i, dd[i].hi, proof[i].hi);
        cr_expect(dd[i].radius <= 0x1p-50 && proof[i].radius <= 0x1p-100, "radii %g and %g", dd[i].radius,
                  proof[i].radius);
    }
    free(f->bound);
    tensors_close(&f->p, f->data);
    problem_close(&f->p);
    free(f);
}
