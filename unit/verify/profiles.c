/* Profiles: their entries exist, and each departure is told from a bug, on a port that has it. */
#include "command.h"
#include "case/op.h"
#include "profile.h"
#include "run/by_convention.h"
#include "witness.h"

#include <criterion/criterion.h>

TestSuite(profiles, .timeout = 300);

static void expect_key(const profile *p, const convention *c)
{
    const op *const o = op_find(c->op);
    const field_row *const f = o ? op_field(o, c->key) : NULL;
    cr_assert(f, "%s: %s has no key %s", p->name, c->op, c->key);
    cr_expect(c->value >= f->least && c->value <= f->most, "%s: %s=%g", p->name, c->key, c->value);
}

Test(profiles, what_they_list_exists)
{
    int i = 0;
    for (; profile_at(i); i++) {
        const profile *const p = profile_at(i);
        cr_expect(profile_named(p->name) == i && !strcmp(profile_names[i], p->name), "%s", p->name);
        cr_expect(strchr(p->repository, '/') && *p->as_of, "%s", p->name);
        for (const convention *c = p->conventions; c->source; c++) {
            if (c->key) expect_key(p, c);
            cr_expect(strstr(c->source, ".py") || strstr(c->source, ".cpp"), "%s: %s names no file", p->name,
                      c->source);
        }
    }
    cr_expect(i > 0 && !profile_names[i]);
}

/* The plain port with that mistake, on a case that sees it. */
static const outcome *judge_mistake(const char *quirk, const char *id, const char *options)
{
    char arguments[400];
    snprintf(arguments, sizeof arguments, "run '%s' %s --backend=" BUILD "/planted/mistake_%s.so", id, options, quirk);
    return run_verify("", arguments);
}

static void expect_convention(const profile *p, const ref_quirk_row *q, const char *id)
{
    char option[60], wanted[200];
    const outcome *o = judge_mistake(q->name, id, "");
    cr_expect(o->code == 1 && strstr(o->out, " FAIL("), "%s on %s: %s", q->name, id, o->out);
    snprintf(option, sizeof option, "--profile=%s", p->name);
    o = judge_mistake(q->name, id, option);
    snprintf(wanted, sizeof wanted, "as %s does (", p->name);
    cr_expect(o->code == 0 && strstr(o->out, " CONVENTION(proved)"), "%s on %s, %s: %s", q->name, id, option, o->out);
    cr_expect(strstr(o->out, wanted) && strstr(o->out, q->name), "%s: %s", q->name, o->out);
}

Test(profiles, every_departure_is_told_from_a_bug)
{
    for (int i = 0; profile_at(i); i++)
        for (const convention *c = profile_at(i)->conventions; c->source; c++)
            if (!c->key) expect_convention(profile_at(i), ref_quirk(c->quirk), witness_of(c->quirk));
}

/* What seek_convention makes of an answer that filters alone refuse, for so much of a mistake. */
static verdict along(int quirk, double size, bool alone)
{
    problem p;
    complaint why;
    static result r;
    cr_assert(problem_parse("mtp@odd", &p, &why));
    r = (result){.v = FAIL, .statistical = true, .sensed = {.quirk = quirk, .size = size, .sd = 1e-3, .alone = alone}};
    seek_convention(&(case_state){.p = &p}, NULL, profile_at(profile_named("vllm")), &r);
    problem_close(&p);
    return r.v;
}

Test(profiles, what_filters_find_must_be_the_departure_and_no_more)
{
    cr_expect(along(QUIRK_M5_first_zeroed, 1.004, true) == CONVENTION);
    cr_expect(along(QUIRK_M5_first_zeroed, 0.9, true) == FAIL, "a part of it");
    cr_expect(along(QUIRK_M5_first_zeroed, 1, false) == FAIL, "and more");
    cr_expect(along(QUIRK_M4_no_enorm, 1, true) == FAIL, "another mistake");
    cr_expect(along(-1, 1, true) == FAIL, "no mistake that is known");
}

/* vLLM has both. */
Test(profiles, two_departures_at_once_are_told_from_a_bug)
{
    const char *const arguments = "run mtp@odd --profile=vllm --backend=" BUILD "/planted/zeroed.so";
    const outcome *o = run_verify("PLAIN=" BUILD "/planted/mistake_M4_no_head_norm.so", arguments);
    cr_expect(o->code == 0 && strstr(o->out, " CONVENTION(proved)"), "%s", o->out);
    cr_expect(strstr(o->out, "M4_no_head_norm,") && strstr(o->out, "M5_first_zeroed;"), "%s", o->out);
    o = run_verify("PLAIN=" BUILD "/planted/mistake_M4_no_enorm.so", arguments);
    cr_expect(o->code == 1 && strstr(o->out, " FAIL(proved)"), "%s", o->out);
}

#define MASKED "gate@odd;fill=negative"

Test(profiles, another_mistake_stays_one)
{
    const outcome *o = judge_mistake("G2_group_max", "gate@v3", "--profile=transformers-2025");
    cr_expect(o->code == 1 && strstr(o->out, " FAIL(proved)") && !strstr(o->out, "CONVENTION"), "%s", o->out);
    o = judge_mistake("G3_masked_to_zero", MASKED, "--profile=deepseek");
    cr_expect(o->code == 1 && strstr(o->out, " FAIL(proved)"), "%s", o->out);
    o = judge_mistake("G3_masked_to_zero", MASKED, "--profile=transformers-2025 --strict");
    cr_expect(o->code == 1 && strstr(o->out, " CONVENTION(proved)"), "%s", o->out);
    cr_expect(strstr(o->out, " --profile=transformers-2025"), "the line to run again: %s", o->out);
}

Test(profiles, a_key_with_another_value_is_named)
{
    const outcome *const o = judge_mistake("R1_half_split", "rope@v3", "--profile=transformers");
    cr_expect(o->code == 1 && strstr(o->out, "the case has out_layout=0"), "%s", o->out);
}

Test(profiles, reports_name_it)
{
    const outcome *const o = judge_mistake("G3_masked_to_zero", MASKED, "--profile=transformers-2025 --format=jsonl");
    cr_expect(strstr(o->out, "\"profile\":\"transformers-2025\""), "%s", o->out);
    cr_expect(strstr(o->out, "\"verdict\":\"CONVENTION\""), "%s", o->out);
}

Test(profiles, they_are_listed)
{
    const outcome *const o = run_verify("", "list --profiles");
    cr_expect(o->code == 0 && strstr(o->out, "vllm: vllm-project/vllm, 2026-07"), "%s", o->out);
    cr_expect(strstr(o->out, "inference/kernel.py:30"), "%s", o->out);
    const outcome *const help = run_verify("", "run --help");
    for (int i = 0; profile_at(i); i++) cr_expect(strstr(help->out, profile_names[i]), "%s", profile_names[i]);
    const outcome *const wrong = run_verify("", "run rmsnorm@tiny --profile=vlm");
    cr_expect(wrong->code == 2 && strstr(wrong->err, "did you mean 'vllm'?"), "%s", wrong->err);
}
