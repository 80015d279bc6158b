/*
 * The price of certified blocks: every element of one token's way through a whole MoE layer of DeepSeek-V3
 * (256 experts, 8 chosen, 1 shared) and through a whole attention block over 4096 keys, FP8 weights, beside
 * the same uncertified: torch in float64 on one thread, on dequantised tensors prepared beforehand. Rounds are
 * interleaved; medians. The reference reads the FP8 codes.
 */
#include "bench.h"

#include "case/fill.h"
#include "peer.h"
#include "timing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 5, MAX_EXPERTS = 256 };

/* A case and its tensors. */
typedef struct {
    problem p;
    void **data; /* NULL: nobody reads it */
} study;

static bool open_tensor(study *s, int i)
{
    s->data[i] = calloc(1, s->p.tensor[i].bytes);
    if (s->data[i] && s->p.tensor[i].row->kind != TENSOR_OUT) fill_tensor(&s->p, &s->p.tensor[i], s->data[i]);
    return s->data[i] != NULL;
}

static dsv3_tensor tensor_of(const study *s, const char *name)
{
    const tensor_info *const t = problem_tensor(&s->p, name);
    return problem_view(t, s->data[t - s->p.tensor]);
}

/* The experts of the token, by linear and gate. */
static bool choose(const study *s, bool *chosen)
{
    ref_value logit[MAX_EXPERTS], idx[MAX_EXPERTS], weight[MAX_EXPERTS];
    float logits[MAX_EXPERTS];
    ref_reading const exact = {.declared = NULL};
    const dsv3_moe_prob *const m = (const void *)s->p.prob.bytes;
    dsv3_weight const gate = {"weight", tensor_of(s, "gate.weight")},
                      bias = {"e_score_correction_bias", tensor_of(s, "gate.e_score_correction_bias")};
    dsv3_linear_prob const projection = {1, m->hidden_size, m->n_routed_experts};
    dsv3_linear_io const in = {tensor_of(s, "hidden_states"), {1, &gate}, {NULL, DSV3_F32}};
    dsv3_gate_prob const routing = {1,
                                    m->n_routed_experts,
                                    m->n_group,
                                    m->topk_group,
                                    m->num_experts_per_tok,
                                    m->routed_scaling_factor,
                                    m->norm_topk_prob,
                                    m->scoring_func,
                                    m->topk_method};
    dsv3_gate_io const io = {.logits = {logits, DSV3_F32, 2, {1, m->n_routed_experts}, {m->n_routed_experts, 1}},
                             .weights = {1, &bias},
                             .topk_idx = {NULL, DSV3_I32},
                             .topk_weight = {NULL, DSV3_F32}};
    ref_value *const logit_out[] = {logit}, *const out[] = {idx, weight};
    if (!ref_dd.linear(&exact, &projection, &in, logit_out)) return false;
    for (int64_t e = 0; e < m->n_routed_experts; e++) logits[e] = (float)logit[e].hi;
    if (!ref_dd.gate(&exact, &routing, &io, out)) return false;
    for (int64_t k = 0; k < m->num_experts_per_tok; k++) chosen[(int)idx[k].hi] = true;
    return true;
}

/* Everything but the experts; then those that are chosen. */
static bool open_moe(study *s)
{
    bool chosen[MAX_EXPERTS] = {false}, good = true;
    s->data = calloc((size_t)s->p.tensors, sizeof *s->data);
    if (!s->data) return false;
    for (int i = 0; i < s->p.tensors; i++)
        if (!s->p.tensor[i].row->repeat) good = good && open_tensor(s, i);
    good = good && choose(s, chosen);
    for (int i = 0; i < s->p.tensors; i++)
        if (s->p.tensor[i].row->repeat && chosen[s->p.tensor[i].index]) good = good && open_tensor(s, i);
    return good;
}

static bool open_all(study *s)
{
    return tensors_open(&s->p, &s->data);
}

static void measure(const study *s, const char *const arguments[])
{
    ref_reading const exact = {.declared = NULL};
    double reference[ROUNDS], torch[ROUNDS];
    timed last = {0};
    process peer = {0};
    bool const beside = peer_open(&peer, arguments);
    for (int round = 0; round < ROUNDS; round++) {
        reference[round] = (last = time_reading(&s->p, s->data, &exact)).seconds;
        if (beside) torch[round] = peer_run(&peer);
    }
    process_end(&peer, 10);
    printf("  %-48s %7.3f s", "exact reading", median(reference, ROUNDS));
    if (beside) printf(", %5.2f times torch", median(reference, ROUNDS) / median(torch, ROUNDS));
    printf("; largest radius 2^%.1f of the largest value, %lld elements not enclosed\n", log2(last.radius),
           (long long)last.lost);
    if (beside) printf("  %-48s %7.3f s\n", "torch float64, 1 thread", median(torch, ROUNDS));
    printf("  peak memory of the reference's process so far    %7.2f GiB\n", peak_memory());
}

static int study_case(const char *id, bool open(study *), const char *const arguments[])
{
    complaint why;
    study *const s = calloc(1, sizeof *s);
    bool const good = s && problem_parse(id, &s->p, &why) && open(s);
    printf("%s, every element, 1 thread (median of %d interleaved rounds)\n", id, ROUNDS);
    if (good) measure(s, arguments);
    if (s) tensors_close(&s->p, s->data), problem_close(&s->p);
    free(s);
    return good ? 0 : (fprintf(stderr, "bench: cannot make %s\n", id), 2);
}

int bench_blocks(void)
{
    static const char *const mla[] = {"mla", "4096", NULL}, *const moe[] = {"moe", NULL};
    int const code = study_case("mla@v3:n_tokens=1,kv_len=4096,weights=f8_e4m3", open_all, mla);
    return code ? code : study_case("moe@v3:n_tokens=1,stages=0,weights=f8_e4m3", open_moe, moe);
}
