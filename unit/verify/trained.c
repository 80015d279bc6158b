/* fill=trained: what a case gets is what the files hold, at the same place; what is larger than they are is refused. */
#include "case/trained.h"

#include "case/fill.h"
#include "files/safetensors.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static safetensors open_file(const char *name)
{
    safetensors s;
    complaint why;
    char path[80];
    snprintf(path, sizeof path, "verify/trained/%s.safetensors", name);
    cr_assert(safetensors_open(path, &s, &why), "%s", why.text);
    return s;
}

/* Element (h, j, k) of a tensor with three axes, or fewer. */
typedef struct {
    const char *id, *tensor, *file, *from;
    int64_t to[3], there[3]; /* sizes; the last axes of a tensor with fewer */
    double factor;
} slice;

static const slice slices[] = {
    {"rmsnorm@odd:n_tokens=32,x=f32;fill=trained",
     "x",
     "activations",
     "model.layers.0.input",
     {1, 32, 64},
     {1, 32, 64},
     1},
    {"rmsnorm@odd:n_tokens=5,hidden_size=9,x=f32;fill=trained;seed=3",
     "x",
     "activations",
     "model.layers.2.input",
     {1, 5, 9},
     {1, 32, 64},
     1},
    {"rmsnorm@odd:n_tokens=5,hidden_size=9,x=f32;fill=trained;seed=8",
     "weight",
     "model",
     "model.layers.3.input_layernorm.weight",
     {1, 1, 9},
     {1, 1, 64},
     1},
    {"linear@odd:in_features=63,out_features=200,x=bf16;fill=trained",
     "weight",
     "model",
     "lm_head.weight",
     {1, 200, 63},
     {1, 256, 64},
     1},
    {"linear@odd:in_features=63,out_features=200,x=bf16,weight=f8_e4m3;fill=trained",
     "weight",
     "model",
     "lm_head.weight",
     {1, 200, 63},
     {1, 256, 64},
     256},
    {"gate@tiny:n_tokens=7;fill=trained;seed=2",
     "logits",
     "activations",
     "model.layers.2.mlp.gate.output",
     {1, 7, 8},
     {1, 32, 32},
     1},
    {"gate@tiny:n_tokens=7;fill=trained;seed=0", /* counts as 2^64 */
     "logits",
     "activations",
     "model.layers.1.mlp.gate.output",
     {1, 7, 8},
     {1, 32, 32},
     1},
    {"rmsnorm@odd:n_tokens=5,hidden_size=9,x=f32;fill=trained;seed=0",
     "x",
     "activations",
     "model.layers.3.input",
     {1, 5, 9},
     {1, 32, 64},
     1},
    {"gate@tiny:n_tokens=7;fill=trained;seed=18446744073709551615",
     "logits",
     "activations",
     "model.layers.3.mlp.gate.output",
     {1, 7, 8},
     {1, 32, 32},
     1},
    {"gate@tiny:n_tokens=7;fill=trained;seed=2",
     "e_score_correction_bias",
     "model",
     "model.layers.2.mlp.gate.e_score_correction_bias",
     {1, 1, 8},
     {1, 1, 32},
     1},
    {"experts@tiny:n_routed_experts=32,hidden_size=60,moe_intermediate_size=30,num_experts_per_tok=3;fill=trained;seed="
     "3",
     "experts.31.down_proj.weight",
     "model",
     "model.layers.3.mlp.experts.31.down_proj.weight",
     {1, 60, 30},
     {1, 64, 32},
     1},
    {"experts@tiny:n_routed_experts=32,hidden_size=60,moe_intermediate_size=30,num_experts_per_tok=3;fill=trained;seed="
     "3",
     "topk_idx",
     "activations",
     "model.layers.3.mlp.topk_idx",
     {1, 2, 3},
     {1, 32, 4},
     1},
    {"mla_prefill@odd:batch=1,n_tokens=30,n_keys=31,qk_nope_head_dim=9,num_attention_heads=3,q=f32;fill=trained",
     "k",
     "activations",
     "model.layers.0.self_attn.k",
     {31, 3, 17},
     {32, 4, 32},
     1},
    {"mtp@tiny:hidden_states=f32;fill=trained",
     "eh_proj.weight",
     "model",
     "model.layers.3.eh_proj.weight",
     {1, 4, 8},
     {1, 64, 128},
     1},
};

static void check_slice(const slice *c, const safetensor *from, const tensor_info *t, const void *data)
{
    uint32_t rounded; /* room for one element */
    cr_assert_eq(t->count, c->to[0] * c->to[1] * c->to[2], "%s: %s", c->id, c->tensor);
    for (int64_t h = 0, i = 0; h < c->to[0]; h++)
        for (int64_t j = 0; j < c->to[1]; j++)
            for (int64_t k = 0; k < c->to[2]; k++, i++) {
                int64_t const at = (h * c->there[1] + j) * c->there[2] + k;
                ref_encode(t->dtype, &rounded, 0, c->factor * ref_decode(from->dtype, from->data, at));
                cr_assert_eq(ref_decode(t->dtype, data, i), ref_decode(t->dtype, &rounded, 0), "%s: %s[%lld]", c->id,
                             c->tensor, (long long)i);
            }
}

Test(trained, a_case_gets_what_the_files_hold)
{
    for (size_t i = 0; i < sizeof slices / sizeof *slices; i++) {
        const slice *const c = &slices[i];
        safetensors s = open_file(c->file);
        const safetensor *const from = safetensors_find(&s, c->from);
        problem p;
        complaint why;
        void **data;
        cr_assert(from, "%s", c->from);
        cr_assert(problem_parse(c->id, &p, &why), "%s", why.text);
        cr_assert(tensors_open(&p, &data));
        const tensor_info *const t = problem_tensor(&p, c->tensor);
        cr_assert(t, "%s: %s", c->id, c->tensor);
        check_slice(c, from, t, data[t - p.tensor]);
        tensors_close(&p, data);
        problem_close(&p);
        safetensors_close(&s);
    }
}

/* Of FP8 every scale is 2^-8, and no weight is so large that its code would be cut. */
Test(trained, fp8_weights_are_not_cut)
{
    safetensors s = open_file("model");
    for (int64_t i = 0; i < s.count; i++)
        for (int64_t k = 0; s.item[i].ndim == 2 && k < s.item[i].shape[0] * s.item[i].shape[1]; k++) {
            double const v = ref_decode(s.item[i].dtype, s.item[i].data, k);
            cr_assert(v <= 1.75 && v >= -1.75, "%s[%lld] is %g", s.item[i].name, (long long)k, v);
        }
    safetensors_close(&s);
}

/* Indices count experts and tokens of the whole model. */
Test(trained, what_is_larger_is_refused)
{
    static const struct {
        const char *id, *says;
    } bad[] = {
        {"linear@v3;fill=trained", "x is (4 7168), the trained model has (32 64)"},
        {"rmsnorm@odd:n_tokens=33;fill=trained", "x is (33 64)"},
        {"experts@odd;fill=trained", "wants n_routed_experts=32"},
        {"embed@odd;fill=trained", "wants vocab_size=256"},
        {"mla@odd:q_lora_rank=0;fill=trained", "has no q_proj.weight"},
        {"moe@odd:n_shared_experts=2,moe_intermediate_size=32,n_routed_experts=32;fill=trained",
         "shared_experts.gate_proj.weight is (64 64)"},
        {"rope@odd;fill=trained", "unknown fill 'trained'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        problem p;
        complaint why = {""};
        cr_expect(!problem_parse(bad[i].id, &p, &why), "%s", bad[i].id);
        cr_expect(strstr(why.text, bad[i].says), "%s: %s", bad[i].id, why.text);
    }
}

Test(trained, the_files_are_those_of_their_sums)
{
    cr_expect(!system("cd verify/trained && sha256sum --check --quiet SHA256SUMS"));
}
