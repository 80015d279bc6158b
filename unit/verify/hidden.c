/* A stage without a tensor is an intermediate, which is rounded as it is declared. */
#include "case/fill.h"
#include "judge/enclose.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(hidden, .timeout = 60);

/* An answer to a problem with stages, and the same without one of them. */
typedef struct {
    problem p;
    void **data;
} answer_with;

static answer_with open_answer(const char *id)
{
    answer_with a;
    complaint why;
    cr_assert(problem_parse(id, &a.p, &why), "%s", why.text);
    cr_assert(tensors_open(&a.p, &a.data) && decide_own(&a.p, ref_none(), a.data));
    return a;
}

static int index_of(const problem *p, const char *name)
{
    const tensor_info *const t = problem_tensor(p, name);
    cr_assert(t != NULL, "%s", name);
    return (int)(t - p->tensor);
}

static void leave_out(answer_with *a, const char *name)
{
    int const i = index_of(&a->p, name), behind = --a->p.tensors - i;
    free(a->data[i]);
    memmove(&a->p.tensor[i], &a->p.tensor[i + 1], (size_t)behind * sizeof *a->p.tensor);
    memmove(&a->data[i], &a->data[i + 1], (size_t)behind * sizeof *a->data);
}

/* How wide the legal results of an output are, all together. */
static double width(const char *id, const char *lacks, const char *output, const char *declared)
{
    answer_with a = open_answer(id);
    ref_numerics n;
    enclosures legal;
    char why[300];
    double sum = 0;
    leave_out(&a, lacks);
    cr_assert(ref_numerics_parse(a.p.op->name, declared, &n, why, sizeof why), "%s", why);
    cr_assert(enclose_legal(&a.p, &n, a.data, &legal));
    int const o = index_of(&a.p, output);
    for (int64_t i = 0; i < a.p.tensor[o].count; i++)
        sum += ref_upper(legal.value[o][i]) - ref_lower(legal.value[o][i]);
    enclosures_free(&legal);
    return sum;
}

typedef struct {
    const char *id, *lacks, *output, *declared, *point; /* the rest is declared as narrow as it can be */
} row;

#define MLA                                                                                                            \
    "acc 24 rn; form naive; cos_sin f32 must; q_b_proj f32 must; kv_b_proj f32 must; scores f32 must; P f32 must; "    \
    "scale f32 must; x_norm f32 must; kv_a_proj_with_mqa f32 must; q_a_proj f32 must; "
#define MOE                                                                                                            \
    "acc 24 rn; gate_proj f32 must; up_proj f32 must; gate_sigmoid f32 must; silu f32 must; expert_out f32 must; "     \
    "routed f32 must; "

static const row rows[] = {
    {"mla@odd:stages=1,hidden_states=bf16", "q", "attn_output", MLA, "q"},
    {"mla@odd:stages=1,hidden_states=bf16", "q_a_layernorm", "q", MLA, "q_a_layernorm"},
    {"mla@odd:stages=1,hidden_states=bf16", "attn_output", "y", MLA, "attn_output"},
    {"moe@odd:stages=1,hidden_states=bf16", "act", "y", MOE, "act"},
    {"moe@odd:stages=1,hidden_states=bf16", "shared_act", "y", MOE, "shared_act"},
    {"moe@odd:stages=1,hidden_states=bf16", "router_logits", "topk_weight", MOE, "router_logits"},
};

/* What follows from it depends on its format: rounded to BF16 it is a number that is known, in F32 one of many. */
Test(hidden, is_rounded_as_declared)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const row *const r = &rows[i];
        char narrow[600], wide[600];
        snprintf(narrow, sizeof narrow, "%s%s f32 must", r->declared, r->point);
        snprintf(wide, sizeof wide, "%s%s bf16 must", r->declared, r->point);
        double const f32 = width(r->id, r->lacks, r->output, narrow), bf16 = width(r->id, r->lacks, r->output, wide);
        cr_expect(fabs(f32 / bf16 - 1) > 0.05, "%s without %s: %g in F32, %g in BF16", r->id, r->lacks, f32, bf16);
    }
}
