/* Sums of cases, what they are made of, and which cases may be in them. */
#include "sum.h"

#include "case/fill.h"
#include "subjects.h"

#include <criterion/criterion.h>

TestSuite(sum, .timeout = 60);

Test(sum, it_is_that_of_its_rows)
{
    cost const first = {.operations = 100, .bytes = 7}, second = {.operations = 20, .bytes = 1};
    time_sum s = {0};
    sum_add(&s, 0.5, 0.25, &first);
    sum_add(&s, 0.125, 0.0625, &second);
    cr_expect_eq(s.cases, 2);
    cr_expect_eq(s.seconds, 0.625);
    cr_expect_eq(s.floor, 0.3125);
    cr_expect_eq(s.operations, 120);
    cr_expect_eq(s.bytes, 8);
}

Test(sum, there_is_none_without_all_rows)
{
    cost const any = {.operations = 1};
    complaint why = {""};
    time_sum s = {0};
    cr_expect(sum_is_whole(&s, 0, "plain", &why) && !*why.text);
    sum_add(&s, 1, 1, &any);
    cr_expect(sum_is_whole(&s, 1, "plain", &why) && !*why.text);
    cr_expect(!sum_is_whole(&s, 4, "plain", &why));
    cr_expect_str_eq(why.text, "there is no sum on plain: 3 of 4 cases have no time");
}

static void expect_staged(const char *id, const char *staged)
{
    problem p, again;
    complaint why;
    char text[sizeof p.id] = "";
    cr_assert(problem_parse(id, &p, &why), "%s", why.text);
    cr_expect_eq(staged_id(&p, text, sizeof text), staged != NULL, "%s", id);
    if (staged) {
        cr_expect_str_eq(text, staged);
        cr_assert(problem_parse(text, &again, &why), "%s", why.text);
        cr_expect_eq(problem_field(&again, op_field(again.op, "stages")), 1);
        problem_close(&again);
    }
    problem_close(&p);
}

/* The twin of a VACUOUS case has the same tensors, and stages besides. */
Test(sum, stages_are_added_to_an_id)
{
    expect_staged("mla@tiny", "mla@tiny:stages=1");
    expect_staged("mla@tiny;seed=3", "mla@tiny:stages=1;seed=3");
    expect_staged("mla@tiny:n_tokens=1;seed=3", "mla@tiny:n_tokens=1,stages=1;seed=3");
    expect_staged("moe@v3:n_tokens=1,stages=0,weights=f8_e4m3", "moe@v3:n_tokens=1,stages=1,weights=f8_e4m3");
    expect_staged("mla@tiny:stages=1", NULL);
    expect_staged("rmsnorm@tiny", NULL);
}

static double operations_of(const char *id)
{
    problem p;
    complaint why;
    void **data;
    cr_assert(problem_parse(id, &p, &why), "%s", why.text);
    cr_assert(tensors_open(&p, &data));
    double const operations = cost_of(&p, data).operations;
    tensors_close(&p, data);
    problem_close(&p);
    return operations;
}

/* One token of mla keeps its keys in the latent, as mla_decode does: a key costs the same in both. Many tokens over few
 * keys expand them. */
Test(sum, attention_is_counted_in_the_form_that_takes_less)
{
#define SMALL "hidden_size=64,num_attention_heads=4,q_lora_rank=32,"
    double const key = operations_of("mla@v3:" SMALL "n_tokens=1,kv_len=1001") -
                       operations_of("mla@v3:" SMALL "n_tokens=1,kv_len=1000");
    cr_expect_eq(key, operations_of("mla_decode@v3:num_attention_heads=4,kv_len=1001") -
                          operations_of("mla_decode@v3:num_attention_heads=4,kv_len=1000"));
    problem p;
    complaint why;
    cr_assert(problem_parse("mla@v3:" SMALL "n_tokens=512,kv_len=512", &p, &why), "%s", why.text);
    cr_expect_eq(operations_of(p.id), 2 * p.op->work(p.prob.bytes));
    problem_close(&p);
}
