/* Diagnosis: rows stand for themselves where the excerpt says so, and few readings are of the whole. */
#include "case/fill.h"
#include "judge/diagnose.h"
#include "judge/excerpt.h"
#include "judge/reach.h"
#include "judge/seen.h"

#include <criterion/criterion.h>
#include <stdlib.h>

TestSuite(diagnosis, .timeout = 120);

/* Every op that has excerpts, along each of its axes; blocks that are partial. */
static const char *const ids[] = {
    "rmsnorm@odd",
    "rmsnorm@odd:residual=1,x=f32;fill=adversarial",
    "linear@odd",
    "linear@odd:in_features=320,out_features=192,x=f32,weight=f8_e4m3",
    "linear@tiny:n_tokens=3,in_features=200,out_features=300,weight=f8_e4m3;fill=adversarial",
    "linear@odd:n_tokens=2,in_features=320,out_features=200,x=f8_e4m3",
    "linear_backward@odd",
    "linear_backward@odd:x=f32,grad_weight=bf16;fill=adversarial",
    "gate_backward@odd",
    "rope_backward@odd",
    "swiglu_backward@odd",
    "mla_prefill_backward@odd",
    "embed_backward@odd",
    "embed_backward@odd:vocab_size=2,grad_y=f32;fill=adversarial",
    "rope@odd:x=f32;fill=far",
    "rope@odd:out_layout=1",
    "gate@odd",
    "gate@odd:logits=bf16;fill=neartie",
    "gate@odd:scoring_func=1,topk_method=1;fill=large",
    "gate@odd:n_routed_experts=60,n_group=3,topk_method=2",
    "mla_decode@odd:batch=3",
    "mla_decode@odd:kv_lens=5+1+8+37,s_q=2;fill=nan_unused",
    "mla_decode@odd:batch=2,q=f32,kv_cache=f8_e4m3",
    "mla_decode@odd:kv_cache=u8",
    "mla_prefill@odd",
    "mla_prefill@odd:q_lens=3+1+5,kv_lens=3+8+5,q=f32",
    "swiglu@odd",
    "embed@odd",
    "quant@odd:in_features=300,amax_floor=1e-4,x=f32",
    "quant@odd:in_features=300,scale_fmt=1;fill=tie",
    "experts@odd:stages=1",
    "experts@odd:weights=f8_e4m3;fill=mixed",
    "experts@odd:hidden_states=f8_e4m3",
    "moe@odd:n_tokens=4,stages=1",
    "moe@odd:weights=f8_e4m3;fill=negative",
    "mtp_accept@odd:batch=4",
    "mtp_accept@odd:batch=3,greedy=1;fill=neartie",
};
enum { IDS = sizeof ids / sizeof *ids };

static bool same(const ref_value *a, const ref_value *b)
{
    return !memcmp(&a->hi, &b->hi, sizeof a->hi) && !memcmp(&a->lo, &b->lo, sizeof a->lo) &&
           !memcmp(&a->radius, &b->radius, sizeof a->radius);
}

/* Elements of the excerpt that reading it gives otherwise than reading the whole does. */
static int64_t apart(const excerpt *e, const ref_reading *rd)
{
    enclosures own;
    int64_t count = 0;
    cr_assert(enclose(&e->p, rd, &ref_dd, e->data, &own));
    for (int i = 0; i < e->p.tensors; i++)
        for (int64_t k = 0; own.value[i] && k < e->p.tensor[i].count; k++)
            count += !same(&own.value[i][k], &e->legal.value[i][k]);
    enclosures_free(&own);
    return count;
}

/* The same of three excerpts of a problem: first, middle and last element of its last output. */
static int64_t apart_somewhere(const problem *p, const ref_reading *rd, void *const data[])
{
    enclosures whole;
    int64_t count = 0;
    int const last = p->tensors - 1;
    int64_t const n = p->tensor[last].count, at[] = {0, n / 2, n - 1};
    cr_assert(enclose(p, rd, &ref_dd, data, &whole));
    for (int i = 0; i < 3; i++) {
        excerpt e;
        cr_assert(excerpt_at(p, &whole, data, last, at[i], &e), "%s: no excerpt", p->id);
        count += apart(&e, rd);
        excerpt_close(&e);
    }
    enclosures_free(&whole);
    return count;
}

/* Bit by bit, in every reading: exact, what is legal, and with each known mistake that doesn't mix rows. Those that do are seen to do
 * so somewhere. */
Test(diagnosis, rows_stand_for_themselves)
{
    bool mixes[REF_QUIRKS] = {false};
    for (int c = 0; c < IDS; c++) {
        problem p;
        complaint why;
        ref_numerics n;
        void **data;
        cr_assert(problem_parse(ids[c], &p, &why), "%s", why.text);
        cr_assert(ref_numerics_parse(p.op->name, "", &n, why.text, sizeof why.text), "%s", why.text);
        cr_assert(tensors_open(&p, &data) && decide_own(&p, ref_none(), data));
        ref_reading const exact = {.teacher_forced = p.op->staged};
        cr_expect(apart_somewhere(&p, &exact, data) == 0, "%s: exact", p.id);
        for (int q = 0; ref_quirk(q); q++) {
            if (strcmp(ref_quirk(q)->op, p.op->name)) continue;
            ref_reading const rd = {.declared = &n, .quirks = ref_only(q), .teacher_forced = p.op->staged};
            int64_t const count = apart_somewhere(&p, &rd, data);
            mixes[q] |= count > 0;
            cr_expect(count == 0 || excerpt_misleads(q), "%s: %s", p.id, ref_quirk(q)->name);
        }
        tensors_close(&p, data);
        problem_close(&p);
    }
    for (int q = 0; ref_quirk(q); q++) cr_expect(mixes[q] || !excerpt_misleads(q), "%s", ref_quirk(q)->name);
}

/* ---- what a mistake changes ---- */

/* Outputs that follow from one another, with stages and without; and where a formula asks for fewer of its mistakes. */
static const char *const changed[] = {
    "mla@odd:stages=1",
    "mla@odd:stages=1,hidden_states=f32,q_lora_rank=0",
    "mla@odd:stages=1,weights=f8_e4m3;fill=adversarial",
    "mla@odd:stages=1,q_lens=3+0+1+5,kv_lens=3+4+9+8;fill=nan_unused",
    "mla@tiny:stages=1,q_lens=1,kv_lens=300",
    "mla@odd",
    "mtp@odd:hidden_states=f32",
    "mtp@tiny",
    "mtp@odd:weights=f8_e4m3;fill=adversarial",
    "mla@odd:num_attention_heads=1,kv_lora_rank=8,factor=1",
    "mla@odd:n_tokens=3,q_lora_rank=0",
    "mla@odd:q_lens=3+7,kv_lens=3+7",
    "moe@odd:stages=1",
    "moe@odd",
    "experts@odd:stages=1",
    "experts@odd",
    "gate@v3",
    "gate@odd",
    "gate@odd:n_group=1,topk_group=1",
    "gate@odd;fill=negative",
    "gate@odd:scoring_func=1,topk_method=1",
    "gate@odd:scoring_func=1,topk_method=2",
    "rope@odd",
    "rope@odd:factor=1",
    "bias_update@v3",
    "bias_update@v3;fill=balanced",
    "mla_decode@odd:kv_cache=u8,kv_lora_rank=300",
    "mla_decode@tiny",
    "mla_decode@odd:kv_lens=5+1+8+37,s_q=2",
    "mla_prefill@odd",
    "mla_prefill@odd:q_lens=3+1+5,kv_lens=3+8+5,q=f32",
    "linear@odd",
    "linear@odd:in_features=320,out_features=192,weight=f8_e4m3",
    "quant@odd;fill=adversarial",
    "cross_entropy@odd",
    "balance_loss@odd",
};

static bool equal(const ref_value *a, const ref_value *b, int64_t count)
{
    for (int64_t k = 0; k < count; k++)
        if (!same(&a[k], &b[k])) return false;
    return true;
}

/* Outputs of p that the quirk changes, and that it isn't said to, or though no formula asked for it; changes: does it change any? */
static int surprises(const problem *p, const enclosures *legal, const enclosures *quirky, int quirk, bool *changes)
{
    bool said[MAX_TENSORS] = {false};
    bool const any = !reached(quirk, p, said), asked = ref_has(legal->asked, quirk);
    int count = 0;
    for (int i = 0; i < p->tensors; i++) {
        if (!legal->value[i] || equal(legal->value[i], quirky->value[i], p->tensor[i].count)) continue;
        count += !asked || !(any || said[i]);
        *changes = true;
    }
    return count;
}

/* Outputs that a mistake reaches, and that come out otherwise when nothing else is asked for. */
static int apart_alone(const problem *p, const ref_reading *rd, int quirk, void *const data[], const enclosures *all)
{
    bool wanted[256] = {false};
    enclosures some;
    int count = 0;
    if (!reached(quirk, p, wanted)) return 0;
    cr_assert(p->tensors <= 256 && enclose_some(p, rd, &ref_dd, data, wanted, &some));
    for (int i = 0; i < p->tensors; i++) {
        cr_expect(!some.value[i] == !wanted[i], "%s: %s", p->id, p->tensor[i].name);
        count += wanted[i] && !equal(some.value[i], all->value[i], p->tensor[i].count);
    }
    enclosures_free(&some);
    return count;
}

Test(diagnosis, mistakes_show_where_they_are_said_to)
{
    bool changes[REF_QUIRKS] = {false};
    for (size_t c = 0; c < sizeof changed / sizeof *changed; c++) {
        problem p;
        complaint why;
        ref_numerics n;
        void **data;
        enclosures legal, quirky;
        cr_assert(problem_parse(changed[c], &p, &why), "%s", why.text);
        cr_assert(ref_numerics_parse(p.op->name, "", &n, why.text, sizeof why.text), "%s", why.text);
        cr_assert(tensors_open(&p, &data) && decide_own(&p, ref_none(), data) && enclose_legal(&p, &n, data, &legal));
        for (int q = 0; ref_quirk(q); q++) {
            if (strcmp(ref_quirk(q)->op, p.op->name) && !ref_has(legal.asked, q)) continue;
            ref_reading const rd = {.declared = &n, .quirks = ref_only(q), .teacher_forced = true};
            cr_assert(enclose(&p, &rd, &ref_dd, data, &quirky));
            cr_expect(surprises(&p, &legal, &quirky, q, &changes[q]) == 0, "%s: %s", p.id, ref_quirk(q)->name);
            cr_expect(apart_alone(&p, &rd, q, data, &quirky) == 0, "%s: %s alone", p.id, ref_quirk(q)->name);
            enclosures_free(&quirky);
        }
        enclosures_free(&legal);
        tensors_close(&p, data);
        problem_close(&p);
    }
    for (int q = 0; ref_quirk(q); q++)
        cr_expect(changes[q] || !reach_of(q, ref_quirk(q)->op), "%s changes nothing", ref_quirk(q)->name);
}

/* ---- readings ---- */

typedef struct {
    const char *id;
    int quirk; /* that the port has; -1: none that is known */
    int whole; /* readings of the whole */
} row;

static const row rows[] = {
    {"rmsnorm@odd:x=f32", QUIRK_A2_mean_subtracted, 1},
    {"rmsnorm@odd:x=f32", -1, 0},
    {"linear@odd:in_features=320,out_features=192,x=f32,weight=f8_e4m3", -1, 2}, /* two of its three mix rows */
    {"rope@odd:x=f32", -1, 0},
    {"gate@odd", QUIRK_G5_not_normalised, 1},
    {"gate@odd", -1, 0},
    {"mla_decode@odd:batch=3,q=f32", QUIRK_A12_lse_base_2, 1},
    {"mla_decode@odd:batch=3,q=f32", -1, 0},
    {"mla_prefill@odd:q=f32", -1, 0},
    {"quant@odd:in_features=300,x=f32", QUIRK_F5_max_240, 1},
    {"quant@odd:in_features=300,x=f32", -1, 0},
    {"experts@odd:stages=1", -1, 1},
    {"experts@odd", QUIRK_E8_gate_up_swapped, 3},           /* swiglu has it, too, and E9 mixes rows */
    {"moe@odd:hidden_states=f32", QUIRK_G9_shared_lost, 2}, /* E9_last_token_dropped mixes rows */
    {"moe@odd:hidden_states=f32", -1, 1},
    {"mla@odd:stages=1", -1, 0},                         /* y, given attn_output */
    {"mla@odd:stages=1", QUIRK_A5_latent_not_normed, 1}, /* kv */
    {"mla@odd:stages=1", QUIRK_A9_no_mask, 1},           /* attn_output */
    {"mla@odd:hidden_states=f32", QUIRK_A9_no_mask, 1},  /* exact results come first */
    {"mla@odd:hidden_states=f32", -1, 1},
    {"mla@tiny:n_tokens=1,kv_len=300,hidden_states=f32", QUIRK_A6_halves_global, 1},
    {"mtp@tiny:hidden_states=f32", QUIRK_M6_own_token, 1},
    {"bias_update@v3", QUIRK_T1_proportional, 1},
    {"bias_update@v3", QUIRK_T1_centred, 1},
    {"gate@v3:n_tokens=1", QUIRK_G5_not_normalised, 1},
    {"cross_entropy@odd", QUIRK_M11_labels_rolled, 2}, /* of three: in loss two are left */
    {"mtp@odd", -1, 1},                                /* y */
    {"mtp@odd", QUIRK_M10_position_ahead, 1},          /* q and kv */
};

/* A mistake that nobody knows: the last output's last element is off. */
static void spoil(const problem *p, void *const data[])
{
    const tensor_info *const t = &p->tensor[p->tensors - 1];
    double const was = ref_decode(t->dtype, data[p->tensors - 1], t->count - 1);
    ref_encode(t->dtype, data[p->tensors - 1], t->count - 1, 3 * was + 1);
}

/* The answer of the reference with the quirk; each output is rounded before the next follows from it. */
static void answer_as(const problem *p, int quirk, void *const data[])
{
    ref_reading rd = {.quirks = ref_only(quirk)};
    for (int pass = 0; pass < (p->op->staged ? MAX_OUTPUTS : 1); pass++) {
        enclosures own;
        rd.teacher_forced = pass > 0;
        cr_assert(enclose(p, &rd, &ref_dd, data, &own));
        for (int t = 0; t < p->tensors; t++)
            for (int64_t i = 0; own.value[t] && i < p->tensor[t].count; i++)
                ref_encode(p->tensor[t].dtype, data[t], i, own.value[t][i].hi);
        enclosures_free(&own);
    }
}

/* Quirks of the op, and others that the formula asks for. */
static int sought(const problem *p, const enclosures *legal)
{
    int n = 0;
    for (int q = 0; ref_quirk(q); q++) n += !strcmp(ref_quirk(q)->op, p->op->name) || ref_has(legal->asked, q);
    return n;
}

static void fail_as(const row *w, problem *p, void ***data, result *r, int *quirks, diagnosis_cost *cost)
{
    complaint why;
    ref_numerics n;
    enclosures legal;
    cr_assert(problem_parse(w->id, p, &why), "%s", why.text);
    cr_assert(ref_numerics_parse(p->op->name, "acc 24 rn", &n, why.text, sizeof why.text), "%s", why.text);
    cr_assert(tensors_open(p, data));
    answer_as(p, w->quirk, *data);
    if (w->quirk < 0) spoil(p, *data);
    cr_assert(enclose_legal(p, &n, *data, &legal));
    cr_assert(diagnose(p, &n, &legal, *data, r, NULL, cost));
    *quirks = sought(p, &legal);
    enclosures_free(&legal);
}

/* The whole is read for the mistake that is named, and for none if none is; each other one is read on the failing rows. */
Test(diagnosis, the_whole_is_read_for_what_is_named)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        problem p;
        void **data;
        result r = {.diagnoses = 0};
        diagnosis_cost cost;
        int quirks;
        fail_as(&rows[i], &p, &data, &r, &quirks, &cost);
        cr_expect(cost.whole == rows[i].whole && cost.first <= quirks, "%s: %d and %d readings", rows[i].id, cost.whole,
                  cost.first);
        const diagnosis_row *const first = &r.diagnosis[0];
        cr_expect(rows[i].quirk < 0 || (first->quirk == rows[i].quirk && first->illegal == 0),
                  "%s: %s explains all but %lld", rows[i].id, ref_quirk(first->quirk)->name, (long long)first->illegal);
        cr_expect(rows[i].quirk >= 0 || first->illegal >= 1, "%s: %s explains it", rows[i].id,
                  ref_quirk(first->quirk)->name);
        tensors_close(&p, data);
        problem_close(&p);
    }
}

/* Where readings take seconds, mistakes of parts aren't read if one of the op's own explains all. */
Test(diagnosis, dear_readings_are_spared)
{
    row const w = {"mla@v3:num_attention_heads=16", QUIRK_A5_latent_not_normed, 1};
    problem p;
    void **data;
    result r = {.diagnoses = 0};
    diagnosis_cost cost;
    int quirks;
    fail_as(&w, &p, &data, &r, &quirks, &cost);
    cr_expect(r.diagnosis[0].quirk == w.quirk && r.diagnosis[0].illegal == 0);
    cr_expect(cost.first <= quirks_of(p.op) && quirks_of(p.op) < quirks && cost.whole <= MOST_CONFIRMED,
              "%d and %d readings of %d", cost.whole, cost.first, quirks);
    tensors_close(&p, data);
    problem_close(&p);
}
