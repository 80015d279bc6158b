/* Lemma Partial on whole experts: a port that rounds to BF16 at every point and adds the experts' outputs as a random tree, every partial
 * sum in BF16, is inside; and outside where it is said to add in binary32. */
#include "case/fill.h"
#include "case/problem.h"
#include "case/rng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(partial, .timeout = 120);

static problem p;
static void **data;
static void *bound;
static dsv3_experts_prob prob;
static dsv3_experts_io io;

static void open_case(const char *id)
{
    complaint why;
    cr_assert(problem_parse(id, &p, &why), "%s", why.text);
    cr_assert(tensors_open(&p, &data));
    memcpy(&prob, p.prob.bytes, sizeof prob);
    cr_assert(bound = problem_bind(&p, data));
    memcpy(&io, bound, sizeof io);
}

static double bf16(double v)
{
    return ref_round(DSV3_BF16, v);
}

/* Row o of a matrix of expert e times x, rounded. */
static double product(int64_t e, const char *leaf, int64_t o, const double *x)
{
    char name[64];
    snprintf(name, sizeof name, "experts.%d.%s.weight", (int)e, leaf);
    const dsv3_tensor *const w = dsv3_find(&io.weights, name);
    double sum = 0;
    for (int64_t i = 0; i < w->shape[1]; i++) sum += ref_decode(w->dtype, w->data, o * w->stride[0] + i) * x[i];
    return bf16(sum);
}

/* The weighted outputs of slot k of token t. */
static void run_expert(int64_t t, int64_t k, double *out)
{
    double x[64], act[20];
    int64_t const slot = t * prob.num_experts_per_tok + k, e = ((const int32_t *)io.topk_idx.data)[slot];
    double const weight = ref_decode(DSV3_F32, io.topk_weight.data, slot);
    ref_decode_all(io.hidden_states.dtype, io.hidden_states.data, t * prob.hidden_size, prob.hidden_size, x);
    for (int64_t i = 0; i < prob.moe_intermediate_size; i++) {
        double const gate = product(e, "gate_proj", i, x), up = product(e, "up_proj", i, x);
        act[i] = bf16(bf16(gate / (1 + exp(-gate))) * up);
    }
    for (int64_t c = 0; c < prob.hidden_size; c++) out[c] = bf16(weight * product(e, "down_proj", c, act));
}

/* Two of n numbers become one, until one is left. */
static double add_as_tree(double *v, int64_t n, uint64_t *state)
{
    for (; n > 1; n--) {
        int64_t const i = rng_whole(rng_bits(99, ++*state), 0, n - 1);
        double const a = v[i];
        v[i] = v[n - 1];
        int64_t const j = rng_whole(rng_bits(99, ++*state), 0, n - 2);
        v[j] = bf16(v[j] + a);
    }
    return v[0];
}

typedef struct {
    int64_t judged, outside;
    double used; /* the largest part of a radius */
} tally;

static void judge(const double *y, const char *routed, tally *sum)
{
    char text[300];
    complaint why;
    ref_numerics n;
    int64_t const cells = prob.n_tokens * prob.hidden_size;
    ref_value *const legal = malloc((size_t)cells * sizeof *legal);
    snprintf(text, sizeof text,
             "acc 24 rn; sigmoid 4; flush none; gate_proj bf16 must; up_proj bf16 must; gate_sigmoid f32 may; silu "
             "bf16 must; "
             "act bf16 must; expert_out bf16 must; routed %s must",
             routed);
    cr_assert(ref_numerics_parse("experts", text, &n, why.text, sizeof why.text), "%s", why.text);
    ref_reading const rd = {.declared = &n};
    cr_assert(ref_dd.experts(&rd, &prob, &io, (ref_value *const[]){NULL, legal}));
    for (int64_t i = 0; i < cells; i++) {
        bool const inside = ref_lower(legal[i]) <= y[i] && y[i] <= ref_upper(legal[i]);
        sum->judged++;
        sum->outside += !inside;
        if (legal[i].radius > 0) sum->used = fmax(sum->used, fabs(y[i] - legal[i].hi) / legal[i].radius);
    }
    free(legal);
}

Test(partial, sums_in_bf16_in_any_order)
{
    static const char *const ids[] = {"experts@odd", "experts@odd:num_experts_per_tok=16;fill=ids",
                                      "experts@odd:n_tokens=20,num_experts_per_tok=2", "experts@odd;fill=adversarial"};
    tally legal = {0}, falsely = {0};
    uint64_t state = 0;
    for (size_t c = 0; c < sizeof ids / sizeof *ids; c++) {
        open_case(ids[c]);
        int64_t const k = prob.num_experts_per_tok, width = prob.hidden_size;
        double *const y = malloc((size_t)(prob.n_tokens * width) * sizeof *y);
        double *const out = malloc((size_t)(k * width) * sizeof *out), v[64];
        for (int round = 0; round < 10; round++) {
            for (int64_t t = 0; t < prob.n_tokens; t++) {
                for (int64_t s = 0; s < k; s++) run_expert(t, s, out + s * width);
                for (int64_t i = 0; i < width; i++) {
                    for (int64_t s = 0; s < k; s++) v[s] = out[s * width + i];
                    y[t * width + i] = add_as_tree(v, k, &state);
                }
            }
            judge(y, "bf16", &legal);
            judge(y, "f32", &falsely);
        }
        free(y), free(out);
        free(bound);
        tensors_close(&p, data);
        problem_close(&p);
    }
    printf("partial: %lld sums judged, %.2f of a radius used at most; said to be in binary32, %lld are outside\n",
           (long long)legal.judged, legal.used, (long long)falsely.outside);
    cr_expect(legal.outside == 0, "%lld of %lld are outside", (long long)legal.outside, (long long)legal.judged);
    cr_expect(falsely.outside > falsely.judged / 10, "a false declaration is seen in %lld", (long long)falsely.outside);
}
