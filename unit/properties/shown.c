/* What the case files show: every known mistake in @smoke, and in cases of a size or with numbers of a kind of their
 * own those mistakes that no other case sees. */
#include "command.h"
#include "declared.h"

#include "case/expand.h"
#include "case/fill.h"
#include "judge/seen.h"

TestSuite(shown, .timeout = 120);

/* ---- mistakes that one kind of case sees ---- */

typedef struct {
    const char *mistake; /* planted in the plain port */
    const char *shown;   /* by this case of @ci */
    const char *unseen;  /* not by this one, of the same op */
} row;

#define KEYS   "mla_decode@v3:num_attention_heads=4,kv_lora_rank=32,kv_len="
#define HALVES "factor=40,mscale=2.855425153,mscale_all_dim=1,x=bf16;fill=exact" /* A is 1.5 in binary32 */
static const row rows[] = {
    {"X_no_maximum", "mla_decode@odd;fill=large", "mla_decode@odd;fill=adversarial"},
    {"X_no_maximum", "mla_decode@v3:kv_cache=u8,num_attention_heads=32;fill=large", "mla_decode@v3;fill=adversarial"},
    {"X_no_maximum", "mla_prefill@odd:q=f32;fill=large", "mla_prefill@odd:q=f32;fill=adversarial"},
    {"X_no_maximum_mla", "mla@odd:stages=1;fill=large", "mla@odd:stages=1"},
    {"X_no_maximum_mla", "mla@tiny:hidden_states=f32;fill=large", "mla@tiny:hidden_states=f32"},
    {"X_no_maximum_gate", "gate@v3:scoring_func=1,topk_method=2;fill=large",
     "gate@v3:scoring_func=1,topk_method=2;fill=adversarial"},
    {"X_no_maximum_gate", "moe@odd:scoring_func=1,topk_method=1;fill=large", "moe@odd:scoring_func=1,topk_method=1"},
    {"X_no_maximum_loss", "cross_entropy@odd;fill=large", "cross_entropy@odd"},
    {"X_positions_clamped", "mla@tiny:stages=1,q_lens=1,kv_lens=30000", "mla@odd"},
    {"X_positions_clamped", "mla@odd:stages=1,q_lens=1,kv_lens=30000,hidden_states=f32", "mla@odd:hidden_states=f32"},
    {"X_key_dropped", KEYS "4096;fill=uniform", "mla_decode@v3:num_attention_heads=16,kv_len=1000,s_q=2;fill=exact"},
    {"X_key_dropped", KEYS "32768,q=f32;fill=uniform", KEYS "4096;fill=ends"},
    {"X_last_page_dropped", KEYS "4097;fill=ends", KEYS "4096;fill=uniform"},
    {"X_last_page_dropped", KEYS "32805,q=f32;fill=ends", KEYS "32768,q=f32;fill=ends"},
    {"X_group_of_powers", "gate@odd:n_routed_experts=15,n_group=5,topk_group=3", "gate@odd"},
    {"X_group_of_powers", "gate@odd:n_routed_experts=60,n_group=3,topk_method=2;fill=adversarial",
     "gate@odd:scoring_func=1,topk_method=2"},
    {"X_group_of_powers", "gate@v3:n_routed_experts=72,n_group=3,topk_group=2", "gate@v3"},
    {"X_group_of_powers", "moe@odd:n_tokens=40,n_routed_experts=60,n_group=3", "moe@odd"},
    {"X_fewer_groups", "gate@odd:n_routed_experts=25,n_group=5,topk_group=2", "gate@odd"},
    {"X_fewer_groups", "moe@odd:n_routed_experts=15,n_group=5,topk_group=3", "moe@odd"},
    {"X_one_not_divided", "gate@edge", "gate@odd"},
    {"X_one_not_divided", "gate@v3:num_experts_per_tok=1", "gate@v3"},
    {"X_amax_without_last", "quant@v3;fill=last", "quant@v3;fill=tie"},
    {"X_amax_without_last", "quant@odd:x=f32;fill=last", "quant@odd:x=f32;fill=adversarial"},
    {"X_ties_away", "rope@odd:" HALVES, "rope@odd;fill=exact"},
    {"X_ties_away", "rope@v3:" HALVES, "rope@v3"},
    {"X_ties_away_swiglu", "swiglu@odd;fill=tie", "swiglu@odd;fill=exact"},
    {"X_ties_away_swiglu", "swiglu@edge;fill=tie", "swiglu@edge"},
};

/* The first word that the port's verdict on a case begins with: PASS, FAIL. */
static const char *verdict_on(const char *mistake, const char *id)
{
    static char word[40];
    char arguments[400];
    snprintf(arguments, sizeof arguments, "run '%s' --backend=" BUILD "/planted/mistake_%s.so --format=jsonl", id,
             mistake);
    const outcome *const o = run_verify("", arguments);
    const char *const at = strstr(o->out, "\"verdict\":\"");
    cr_assert(at != NULL, "%s: %s%s", id, o->out, o->err);
    snprintf(word, sizeof word, "%.*s", (int)strcspn(at + 11, "\""), at + 11);
    return word;
}

Test(shown, a_mistake_that_one_kind_of_case_sees)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *said = verdict_on(rows[i].mistake, rows[i].shown);
        cr_expect(!strcmp(said, "FAIL") || !strcmp(said, "NAN"), "%s in %s: %s", rows[i].mistake, rows[i].shown, said);
        said = verdict_on(rows[i].mistake, rows[i].unseen);
        cr_expect(!strcmp(said, "PASS"), "%s in %s: %s", rows[i].mistake, rows[i].unseen, said);
    }
}

static case_list cases_of(const char *file)
{
    complaint why;
    case_list list = {NULL, 0, NULL};
    cr_assert(cases_add(&list, file, &why), "%s", why.text);
    return list;
}

static bool has_case(const case_list *list, const char *id)
{
    case_list one = cases_of(id);
    bool found = false;
    for (int i = 0; i < list->count; i++) found |= !strcmp(list->id[i], one.id[0]);
    cases_free(&one);
    return found;
}

Test(shown, ci_has_the_case_that_sees_it)
{
    case_list ci = cases_of("@verify/cases/ci.txt");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect(has_case(&ci, rows[i].shown), "@ci lacks %s", rows[i].shown);
    cases_free(&ci);
}

/* Each of these mistakes is seen in seconds, by some case of @smoke. */
static bool smoke_sees(const case_list *smoke, const char *mistake)
{
    bool seen = false;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        seen |= !strcmp(rows[r].mistake, mistake) && has_case(smoke, rows[r].shown);
    return seen;
}

Test(shown, smoke_has_one_of_each)
{
    case_list smoke = cases_of("@verify/cases/smoke.txt");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect(smoke_sees(&smoke, rows[i].mistake), "no case of @smoke sees %s", rows[i].mistake);
    cases_free(&smoke);
}

/* ---- known mistakes ---- */

/* Does the case see the quirk in a port that declares nothing, but that a quotient is one? Times a reciprocal it may
 * give the scales of F10_rounded_log2. */
static bool sees(const problem *p, int quirk)
{
    void **data;
    int64_t count;
    ref_numerics const n = numerics(p->op->name, strcmp(p->op->name, "quant") ? "" : "div ieee; quotient div");
    cr_assert(tensors_open(p, &data));
    int64_t const apart = seen_in(p, &n, quirk, data, &count);
    tensors_close(p, data);
    return apart > 0;
}

/* The number of a case that sees the quirk; -1: there is none. Small presets first. */
static int seer_of(const case_list *list, int quirk)
{
    for (int large = 0; large < 2; large++)
        for (int i = 0; i < list->count; i++) {
            const problem *const p = list->problem[i];
            bool const is_large = strstr(p->id, "@v3") != NULL;
            if (!strcmp(p->op->name, ref_quirk(quirk)->op) && is_large == large && sees(p, quirk)) return i;
        }
    return -1;
}

Test(shown, smoke_sees_every_known_mistake)
{
    case_list smoke = cases_of("@verify/cases/smoke.txt");
    for (int q = 0; ref_quirk(q); q++) {
        int const i = seer_of(&smoke, q);
        cr_expect(i >= 0, "no case of @smoke sees %s", ref_quirk(q)->name);
        if (i >= 0) printf("%s: %s\n", ref_quirk(q)->name, smoke.id[i]);
    }
    cases_free(&smoke);
}
