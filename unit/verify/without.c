/* Ports without lse or without stages: what they make is judged, and nothing hides behind what they don't. */
#include "case/fill.h"
#include "case/without.h"
#include "command.h"
#include "port/wire.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <unistd.h>

TestSuite(without, .timeout = 120);

typedef struct {
    const char *plant, *id, *verdict, *why, *not_made; /* not_made: names, a blank behind each */
    int code;
} row;

#define LACK  "; a port that doesn't make it declares 'without lse'"
#define LACKS "; a port that doesn't make stages declares 'without stages'"
#define STEPS "mla_decode@odd:kv_lens=37+9/41+9/37+9"

static const row rows[] = {
    {"no_lse", "mla_decode@odd", "PASS", "", "lse ", 0},
    {"no_lse", "mla_prefill@odd", "PASS", "", "lse ", 0},
    {"alone", "mla_decode@odd", "PASS", "", "lse ", 0},
    {"no_lse", STEPS, "PASS", "", "lse ", 0},
    {"undeclared", "mla_decode@odd", "UNWRITTEN", "not written: lse" LACK, "", 1},
    {"undeclared", STEPS, "UNWRITTEN", "step 1 of 3, mla_decode@odd:kv_lens=37+9: not written: lse", "", 1},
    {"half_lse", "mla_decode@odd", "UNWRITTEN", "12 of 24 elements of lse were not written, the first is 12", "", 1},
    {"wrong_o", "mla_decode@odd", "FAIL", "2 of 384 elements are no legal result", "lse ", 1},
    {"no_o", "mla_decode@odd", "UNWRITTEN", "384 of 384 elements of o were not written, the first is 0", "", 1},
    {"no_o_nor_lse", "mla_decode@odd", "UNWRITTEN", "384 of 384 elements of o were not written", "", 1},
    {"makes_lse", "mla_decode@odd", "PASS", "", "", 0},
    {"wrong_lse", "mla_decode@odd", "FAIL", "1 of 408 elements are no legal result", "", 1},
    {"no_stages", "experts@odd:stages=1", "PASS", "", "act ", 0},
    {"no_stages", "moe@odd:stages=1", "PASS", "", "router_logits act shared_act ", 0},
    {"no_stages", "moe@odd", "PASS", "", "", 0},
    {"no_stages", "mla@odd:stages=1", "PASS", "", "q_a_layernorm q attn_output ", 0},
    {"no_stages", "mtp@tiny:stages=1", "PASS", "",
     "eh_proj input_layernorm q_a_layernorm q kv attn_output self_attn post_attention_layernorm router_logits act "
     "shared_act mlp ",
     0},
    {"undeclared", "moe@odd:stages=1", "UNWRITTEN", "not written: router_logits, act, shared_act" LACKS, "", 1},
    {"some_stages", "moe@odd:stages=1", "UNWRITTEN",
     "not written: act, shared_act; it declares 'without stages' and yet makes router_logits", "", 1},
    {"wrong_y", "moe@odd:stages=1", "FAIL", "2 of 532 elements are no legal result", "router_logits act shared_act ",
     1},
};

static const row programs[] = {
    {"honest", "mla_decode@odd:q=f32", "PASS", "", "", 0},
    {"no_lse", "mla_decode@odd:q=f32", "PASS", "", "lse ", 0},
    {"no_lse", "mla_decode@odd:q=f32,kv_lens=37+9/41+9/37+9", "PASS", "", "lse ", 0},
    {"undeclared", "mla_decode@odd:q=f32", "UNWRITTEN", "not written: lse" LACK, "", 1},
    {"half_lse", "mla_decode@odd:q=f32", "REJECTED", "lse has shape (1, 2, 4), not (3, 2, 4)", "", 1},
    {"wrong_o", "mla_decode@odd:q=f32", "FAIL", "1 of 384 elements are no legal result", "lse ", 1},
    {"no_o", "mla_decode@odd:q=f32", "REJECTED", "holds no tensor o", "", 1},
    {"second_lse", "mla_decode@odd:q=f32", "NONDET", "two runs on the same inputs differ in lse", "", 1},
};

#define PROGRAM   "'exec:python3 unit/planted/program.py'"
#define SO        BUILD "/planted/without.so"
#define WITH(row) "PLAIN=" BUILD "/ports/plain.so PLANT=" row

static void list_not_made(const json_t *line, char *text, size_t cap)
{
    const json_t *const list = json_object_get(line, "not_made");
    size_t used = 0;
    *text = 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        used += (size_t)snprintf(text + used, cap - used, "%s ", json_string_value(json_array_get(list, i)));
}

static void check(const row *r, const char *port)
{
    char environment[160], arguments[400], not_made[300];
    snprintf(environment, sizeof environment, WITH("%s"), r->plant);
    snprintf(arguments, sizeof arguments, "run '%s' --format=jsonl --backend=%s", r->id, port);
    const outcome *const o = run_verify(environment, arguments);
    json_t *const line = json_loads(first_result(o->out), JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert(line != NULL, "%s, %s: no JSON line but: %s%s", r->plant, r->id, o->out, o->err);
    const char *const got = json_string_value(json_object_get(line, "verdict"));
    const char *const why = json_string_value(json_object_get(line, "why"));
    list_not_made(line, not_made, sizeof not_made);
    cr_expect(!strcmp(got, r->verdict), "%s, %s: %s, not %s (%s)", r->plant, r->id, got, r->verdict, why);
    cr_expect(strstr(why, r->why) != NULL, "%s, %s: why is '%s', not '%s'", r->plant, r->id, why, r->why);
    cr_expect(!strcmp(not_made, r->not_made), "%s, %s: not made: '%s'", r->plant, r->id, not_made);
    cr_expect(o->code == r->code, "%s, %s: exit code %d, not %d", r->plant, r->id, o->code, r->code);
    json_decref(line);
}

Test(without, nothing_hides_behind_it)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check(&rows[i], SO);
}

Test(without, programs_too)
{
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) check(&programs[i], PROGRAM);
}

/* The outputs of a port without stages are judged as those of the case with stages=0: one budget, one resolution. */
Test(without, no_stages_is_stages_0)
{
    static const char *const ids[] = {"experts@odd", "moe@odd", "mla@odd"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char arguments[200];
        json_t *outputs[2];
        for (int stages = 0; stages < 2; stages++) {
            snprintf(arguments, sizeof arguments, "run '%s:stages=%d' --format=jsonl --backend=" SO, ids[i], stages);
            const outcome *const o = run_verify(WITH("no_stages"), arguments);
            json_t *const line = json_loads(first_result(o->out), JSON_DISABLE_EOF_CHECK, NULL);
            outputs[stages] = json_incref(json_object_get(line, "outputs"));
            json_decref(line);
        }
        cr_expect(json_array_size(outputs[0]) > 0 && json_equal(outputs[0], outputs[1]), "%s", ids[i]);
        json_decref(outputs[0]);
        json_decref(outputs[1]);
    }
}

/* ---- reports ---- */

static void expect_line(const outcome *o, const char *words)
{
    char text[400];
    snprintf(text, sizeof text, "\n%s\n", words);
    cr_expect(!strncmp(o->out, words, strlen(words)) || strstr(o->out, text), "'%s' is missing in: %s", words, o->out);
}

Test(without, one_line_says_so)
{
    const outcome *o = run_verify(WITH("no_lse"), "run mla_decode@odd --backend=" SO);
    expect_line(o, "without      PASS(proved)  mla_decode@odd  o 100 % of budget, 13.2 bits, 96 %\n    single  0.0 "
                   "sigmas  not made: lse");
    o = run_verify(WITH("wrong_y"), "run moe@odd:stages=1 --backend=" SO);
    expect_line(o, "  not made router_logits, act, shared_act");
    o = run_verify(WITH("no_lse"), "run 'mla_decode@odd;seed=1..3' --backend=" SO);
    expect_line(o, "without: 3 without lse");
}

/* ---- files ---- */

static void write_outputs(const char *folder, const char *plant)
{
    char command[400];
    snprintf(command, sizeof command, "PLANT=%s python3 unit/planted/program.py %s/mla_decode_odd_q_f32 %s/out", plant,
             folder, folder);
    cr_assert(system(command) == 0, "%s", command);
}

static void expect_compared(const char *folder, const char *plant, const char *numerics, int code, const char *words)
{
    char arguments[300];
    write_outputs(folder, plant);
    snprintf(arguments, sizeof arguments, "compare %s/out --case=mla_decode@odd:q=f32 --numerics='%s'", folder,
             numerics);
    const outcome *const o = run_verify("", arguments);
    cr_expect(o->code == code && (strstr(o->out, words) || strstr(o->err, words)), "%s, '%s': %d, %s%s", plant,
              numerics, o->code, o->out, o->err);
}

Test(without, files_too)
{
    char folder[] = "/tmp/dsv3-test-XXXXXX", arguments[200];
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(arguments, sizeof arguments, "bundle make %s mla_decode@odd:q=f32", folder);
    cr_assert(run_verify("", arguments)->code == 0);
    expect_compared(folder, "honest", "flush daz", 0, "lse 0 % of budget");
    expect_compared(folder, "no_lse", "without lse", 0, "not made: lse\n");
    expect_compared(folder, "no_lse", "flush daz", 2, "not written: lse" LACK);
    expect_compared(folder, "wrong_o", "without lse", 1, "  not made lse\n");
    expect_compared(folder, "no_o", "without lse", 2, "holds no tensor o");
    snprintf(arguments, sizeof arguments, "rm -r %s", folder);
    cr_expect(system(arguments) == 0);
}

Test(without, show_sees_what_is_left)
{
    const outcome *const o = run_verify("", "show mla_decode@odd --numerics='without lse'");
    cr_expect(strstr(o->out, "any; flush daz; arith f32; without lse\n") && strstr(o->out, "A12_lse_base_2: BLIND"),
              "%s", o->out);
    cr_expect(!strstr(o->out, "lse: resolution"), "%s", o->out);
}

/* ---- what may be left out ---- */

/* Every op keeps an output that a port must make, whatever its sizes and formats. */
Test(without, something_is_always_judged)
{
    int optional = 0;
    for (int o = 0; ops[o]; o++)
        for (const char *const *preset = preset_names; preset < preset_names + PRESETS; preset++) {
            problem p;
            complaint why;
            char id[100];
            unsigned all = 0;
            int made = 0;
            snprintf(id, sizeof id, "%s@%s%s", ops[o]->name, *preset, op_field(ops[o], "stages") ? ":stages=1" : "");
            cr_assert(problem_parse(id, &p, &why), "%s", why.text);
            for (int i = 0; i < p.tensors; i++) {
                all |= optional_as(&p.tensor[i]);
                made += p.tensor[i].row->kind == TENSOR_OUT && !optional_as(&p.tensor[i]);
            }
            cr_expect(made > 0 && all == ref_optional(p.op->name), "%s: %d must be made, %u are optional", id, made,
                      all);
            optional += all != 0;
            problem_close(&p);
        }
    cr_expect(optional == 7 * PRESETS, "%d", optional);
}

/* What a worker says that it left out is not believed. */
Test(without, no_answer_talks_an_output_away)
{
    problem p;
    complaint why = {""};
    unsigned without;
    cr_assert(problem_parse("mla_decode@odd", &p, &why), "%s", why.text);
    cr_expect(without_read(&p, 0, REF_LSE, &without, &why) && without == 0);
    cr_expect(without_read(&p, 2, REF_LSE, &without, &why) && without == REF_LSE);
    cr_expect(!without_read(&p, 1, REF_LSE, &without, &why) && !strcmp(why.text, "not written: o"), "%s", why.text);
    cr_expect(!without_read(&p, 3, REF_LSE | REF_STAGES, &without, &why), "o is gone");
    cr_expect(!without_read(&p, 4, REF_LSE, &without, &why) && strstr(why.text, "that isn't there"), "%s", why.text);
    problem_close(&p);
}

Test(without, declarations)
{
    static const struct {
        const char *arguments, *why;
    } refused[] = {
        {"show rmsnorm@odd --numerics='without lse'", "rmsnorm has no output that a port may be without"},
        {"show mla_decode@odd --numerics='without o'", "of mla_decode a port may be without lse alone"},
        {"show mla_decode@odd --numerics='without'", "as in 'without lse'"},
        {"show moe@odd --numerics='without lse'", "of moe a port may be without stages alone, as in 'without stages'"},
        {"show moe@odd --numerics='without stages now'", "as in 'without stages'"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const outcome *const o = run_verify("", refused[i].arguments);
        cr_expect(o->code == 2 && strstr(o->err, refused[i].why), "%s: %d, %s", refused[i].arguments, o->code, o->err);
    }
}
