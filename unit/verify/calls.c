/* Tensors in wider rows, and sequences of calls: faults that a single call on compact tensors doesn't show. */
#include "command.h"

#include <criterion/criterion.h>
#include <jansson.h>

TestSuite(calls, .timeout = 120);

typedef struct {
    const char *plant, *id, *verdict, *why;
    int code;
} row;

static void check(const row *r, const char *port)
{
    char environment[128], arguments[400];
    snprintf(environment, sizeof environment, "PLANT=%s PLAIN=" BUILD "/ports/plain.so", r->plant);
    snprintf(arguments, sizeof arguments, "run '%s' --format=jsonl --backend=%s", r->id, port);
    const outcome *const o = run_verify(environment, arguments);
    json_t *const object = json_loads(first_result(o->out), JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert(object != NULL, "%s, %s: no JSON line but: %s%s", r->plant, r->id, o->out, o->err);
    const char *const id = json_string_value(json_object_get(object, "id"));
    const char *const verdict = json_string_value(json_object_get(object, "verdict"));
    const char *const why = json_string_value(json_object_get(object, "why"));
    cr_expect(!strcmp(id, r->id), "%s is reported as %s", r->id, id);
    cr_expect(!strcmp(verdict, r->verdict), "%s, %s: %s, not %s (%s)", r->plant, id, verdict, r->verdict, why);
    cr_expect(strstr(why, r->why) != NULL, "%s, %s: why is '%s', not '%s'", r->plant, id, why, r->why);
    cr_expect(o->code == r->code, "%s, %s: exit code %d, not %d", r->plant, id, o->code, r->code);
    json_decref(object);
}

#define LATENT "mla_decode@odd:view.q=24:48/72,view.block_table=1:7/9"

static const row rows[] = {
    {"honest", "rmsnorm@odd:view.x=16:80/96,view.y=3:67/70", "PASS", "", 0},
    {"honest", LATENT, "PASS", "", 0},
    {"compact_in", "rmsnorm@odd", "PASS", "", 0},
    {"compact_in", "mla_decode@odd", "PASS", "", 0},
    {"compact_in", "rmsnorm@odd:view.x=16:80/96", "NAN", "", 1},
    {"compact_in", "mla_decode@odd:view.q=24:48/72", "NAN", "", 1},
    {"compact_out", "rmsnorm@odd", "PASS", "", 0},
    {"compact_out", "rmsnorm@odd:view.y=16:80/96", "CORRUPT",
     "the port wrote outside the view of y: row 0, column 80 (the view is 16:80/96)", 1},
    {"compact_out", "mla_decode@odd:view.lse=0:4/5", "CORRUPT", "outside the view of lse: row 0, column 4", 1},
    {"spills", "rmsnorm@odd", "PASS", "", 0},
    {"spills", "rmsnorm@odd:view.y=16:80/96", "CORRUPT", "outside the view of y: row 0, column 80", 1},
    {"honest", "mla_decode@odd:kv_lens=37+9/38+9/37+9", "PASS", "", 0},
    {"keeps_lengths", "mla_decode@odd:kv_lens=37+9", "PASS", "", 0},
    {"keeps_lengths", "mla_decode@odd:kv_lens=38+9", "PASS", "", 0},
    {"keeps_lengths", "mla_decode@odd:kv_lens=37+9/38+9/37+9", "NONDET",
     "step 3 of 3 repeats step 1 and differs from it in o: the port keeps state", 1},
    {"keeps_lengths", "mla_decode@odd:kv_lens=38+9/37+9", "FAIL", "step 2 of 2, mla_decode@odd:kv_lens=37+9: ", 1},
    {"honest", "rmsnorm@odd:n_tokens=2/9/2,view.x=16:80/96", "PASS", "", 0},
};

Test(calls, faults_that_one_call_hides)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check(&rows[i], BUILD "/planted/calls.so");
}

/* A fault of the third call is said to be one of the third call. */
static const row steps[] = {
    {"honest", "rmsnorm@odd:n_tokens=7/9/8,x=f32", "PASS", "", 0},
    {"third_nan", "rmsnorm@odd:n_tokens=7/9/8,x=f32", "NAN", "step 3 of 3, rmsnorm@odd:n_tokens=8,x=f32: ", 1},
    {"third_scribbles", "rmsnorm@odd:n_tokens=7/9/8,x=f32", "CORRUPT",
     "step 3 of 3: the port wrote to input x, at byte 0", 1},
    {"third_overreads", "rmsnorm@odd:n_tokens=7/8/9,x=f32", "CRASH", "step 3 of 3: signal SEGV: access 0 bytes behind",
     1},
    {"third_overwrites", "rmsnorm@odd:n_tokens=9/8/7,x=f32", "CORRUPT",
     "step 3 of 3: the port wrote beyond the ends of y", 1},
    {"third_refuses", "rmsnorm@odd:n_tokens=7/9/8,x=f32", "SKIP", "the port doesn't support this case", 3},
    {"device", "rmsnorm@odd:n_tokens=7/9/7,x=f32", "PASS", "", 0},
};

Test(calls, the_step_is_named)
{
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) check(&steps[i], BUILD "/planted/planted.so");
}

/* ---- what is said of all steps ---- */

/* The result as JSON; the caller drops it. */
static json_t *result_of(const char *environment, const char *id, const char *port)
{
    char arguments[300];
    snprintf(arguments, sizeof arguments, "run '%s' --format=jsonl --backend=%s", id, port);
    const outcome *const o = run_verify(environment, arguments);
    json_t *const line = json_loads(first_result(o->out), JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert(line != NULL, "%s: no JSON line but: %s%s", id, o->out, o->err);
    return line;
}

static double number_of(const json_t *line, size_t output, const char *key)
{
    return json_number_value(json_object_get(json_array_get(json_object_get(line, "outputs"), output), key));
}

/* Statistics are those of all steps: sums, the largest budget, the smallest resolution. */
Test(calls, all_steps_count)
{
    static const char *const ids[] = {"mla_decode@odd:kv_lens=37+9/41+9/20+9", "mla_decode@odd:kv_lens=37+9",
                                      "mla_decode@odd:kv_lens=41+9", "mla_decode@odd:kv_lens=20+9"};
    static const char *const sums[] = {"count", "single", "mutants", "decidable", "decided", "rows"};
    json_t *line[4];
    for (int i = 0; i < 4; i++) line[i] = result_of("", ids[i], "plain");
    for (size_t output = 0; output < 2; output++) {
        double budget = 0, bits = 1e9, worst = -1, before = 0;
        for (int i = 1; i < 4; i++) {
            double const here = number_of(line[i], output, "budget");
            if (here > budget) budget = here, worst = before + number_of(line[i], output, "worst");
            before += number_of(line[i], output, "count");
            bits = number_of(line[i], output, "bits") < bits ? number_of(line[i], output, "bits") : bits;
        }
        for (size_t k = 0; k < sizeof sums / sizeof *sums; k++) {
            double sum = 0;
            for (int i = 1; i < 4; i++) sum += number_of(line[i], output, sums[k]);
            cr_expect(number_of(line[0], output, sums[k]) == sum, "output %zu: %s %g", output, sums[k],
                      number_of(line[0], output, sums[k]));
        }
        cr_expect(number_of(line[0], output, "budget") == budget && number_of(line[0], output, "bits") == bits &&
                      number_of(line[0], output, "worst") == worst,
                  "output %zu: budget %g, %g bits, worst %g", output, budget, bits, worst);
    }
    for (int i = 0; i < 4; i++) json_decref(line[i]);
}

/* A hint is one step's: a sequence has none, and its reason names the step that has. */
Test(calls, a_sequence_has_no_hint)
{
    json_t *const all = result_of("PLANT=silent_bf16", "rmsnorm@odd:n_tokens=7/9,x=f32", BUILD "/planted/planted.so");
    json_t *const step = result_of("PLANT=silent_bf16", "rmsnorm@odd:x=f32", BUILD "/planted/planted.so");
    const char *const why = json_string_value(json_object_get(all, "why"));
    cr_expect(strstr(why, "step 1 of 2, rmsnorm@odd:x=f32: ") != NULL, "%s", why);
    cr_expect_str_eq(json_string_value(json_object_get(all, "would_pass")), "");
    cr_expect_str_eq(json_string_value(json_object_get(step, "would_pass")), "arith bf16");
    json_decref(all);
    json_decref(step);
}

static const row programs[] = {
    {"honest", "rmsnorm@odd:n_tokens=7/9/7,x=f32", "PASS", "", 0},
    {"honest", "rmsnorm@odd:x=f32,view.x=0:64/65", "SKIP", "views are for ports in C", 3},
    {"keeps_rows", "rmsnorm@odd:x=f32", "PASS", "", 0},
    {"keeps_rows", "rmsnorm@odd:n_tokens=7/9/7,x=f32", "NONDET", "step 3 of 3 repeats step 1 and differs from it in y",
     1},
    {"keeps_rows", "rmsnorm@odd:n_tokens=9/7,x=f32", "FAIL", "step 2 of 2, rmsnorm@odd:x=f32: ", 1},
    {"crash", "rmsnorm@odd:n_tokens=9/7,x=f32", "CRASH", "step 1 of 2: signal ABRT", 1},
};

Test(calls, programs_too)
{
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
        check(&programs[i], "'exec:python3 unit/planted/program.py'");
}

/* Commands on files know single calls on compact tensors, and say so. */
Test(calls, files_hold_neither)
{
    static const struct {
        const char *arguments, *why;
    } refused[] = {
        {"bundle make " BUILD "/unit/none rmsnorm@odd:n_tokens=7/9", "is a sequence of calls, which run alone judges"},
        {"compare none --case=rmsnorm@odd:n_tokens=7/9", "take a step of it, such as rmsnorm@odd\n"},
        {"bundle make " BUILD "/unit/none rmsnorm@odd:view.y=0:64/65",
         "tensors in files are compact: leave view.y out"},
        {"compare none --case=rmsnorm@odd:view.y=0:64/65", "tensors in files are compact: leave view.y out"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const outcome *const o = run_verify("", refused[i].arguments);
        cr_expect(o->code == 2 && strstr(o->err, refused[i].why), "%s: %d, %s", refused[i].arguments, o->code, o->err);
    }
}

Test(calls, show_takes_the_first)
{
    const outcome *const o = run_verify("", "show 'rmsnorm@odd:n_tokens=9/7,view.x=0:64/65'");
    cr_expect(o->code == 0 && strstr(o->out, "the first of the 2 calls of rmsnorm@odd:n_tokens=9/7,view.x=0:64/65:\n"
                                             "rmsnorm@odd:n_tokens=9,view.x=0:64/65\n"),
              "%s", o->out);
    cr_expect(strstr(o->out, "(9, 64), columns 0:64 of 65\n") != NULL, "%s", o->out);
}
