/* Each fault that a port can have gets its verdict, its reason and its exit code; and the run goes on. */
#include "command.h"
#include "port/backends.h"

#include <criterion/criterion.h>
#include <jansson.h>

#define CASE "rmsnorm@odd:x=f32"
#define PORT " --backend=" BUILD "/planted/planted.so"

TestSuite(verdicts, .timeout = 120);

typedef struct {
    const char *plant, *verdict, *why;
    int code;
    const char *fill; /* NULL: real */
} row;

static const row rows[] = {
    {"honest", "PASS", "", 0},
    {"device", "PASS", "", 0},
    {"silent", "PASS", "", 0},
    {"old_size", "PASS", "", 0},
    {"older_header", "PASS", "", 0},
    {"prepared", "PASS", "", 0},
    {"prepare_fails", "REJECTED", "prepare returned status NO_MEMORY", 1},
    {"prepare_refuses", "SKIP", "doesn't support", 3},
    {"prepare_scribbles", "CORRUPT", "wrote to input x, at byte 0", 1},
    {"no_eps", "FAIL", "no legal result", 1},
    {"one_ulp", "FAIL", "1 of 448 elements", 1, "exact"},
    {"honest", "PASS", "", 0, "exact"},
    {"honest", "PASS", "", 0, "adversarial"},
    {"false_declaration", "FAIL", "no legal result", 1},
    {"nan", "NAN", "1 of 448 elements", 1},
    {"infinity", "NAN", "1 of 448 elements", 1},
    {"unwritten", "UNWRITTEN", "7 of 448 elements of y were not written, the first is 63", 1},
    {"overwrite", "CORRUPT", "beyond the ends of y", 1},
    {"scribble", "CORRUPT", "wrote to input x, at byte 0", 1},
    {"flush", "FPENV", "flush-to-zero denormals-are-zero", 1},
    {"round_up", "FPENV", "the rounding mode", 1},
    {"x87_short", "FPENV", "the x87 rounding", 1},
    {"nondet", "NONDET", "two runs on the same inputs differ in y", 1},
    {"abort", "CRASH", "signal ABRT", 1},
    {"exit", "CRASH", "exit code 7", 1},
    {"overread", "CRASH", "access 0 bytes behind the end of x", 1},
    {"underread", "CRASH", "bytes before the start of x", 1},
    {"hang", "TIMEOUT", "no answer within 1 s", 1},
    {"failed", "REJECTED", "status FAILED", 1},
    {"no_such_status", "REJECTED", "of no known number", 1},
    {"garbled", "REJECTED", "acc needs BITS", 1},
    {"late_refusal", "REJECTED", "wrote to y and then said UNSUPPORTED", 1},
    {"no_op", "SKIP", "doesn't support", 3},
    {"not_here", "SKIP", "this port is for the moon", 3},
    {"vacuous", "VACUOUS", "wrong results would pass", 3},
    {"kill_parent", "ERROR", "died by signal KILL", 1},
};

static const row programs[] = {
    {"honest", "PASS", "", 0},
    {"print", "PASS", "", 0},
    {"no_eps", "FAIL", "no legal result", 1},
    {"nondet", "NONDET", "two runs on the same inputs differ in y", 1},
    {"unsupported", "SKIP", "only on Sundays", 3},
    {"error", "REJECTED", "ValueError: no such thing", 1},
    {"crash", "CRASH", "signal ABRT", 1},
    {"exit", "CRASH", "exit code 5", 1},
    {"hang", "TIMEOUT", "no answer within 1 s", 1},
    {"garbage", "REJECTED", "no JSON object: 'result: fine'", 1},
    {"long_line", "REJECTED", "a line of more than 65536 bytes", 1},
    {"shape", "REJECTED", "y has shape (64, 7), not (7, 64)", 1},
    {"dtype", "REJECTED", "y has format bf16, not f32", 1},
    {"f16", "REJECTED", "y has format f16, not f32", 1},
    {"nothing", "REJECTED", "it said ok and wrote no outputs.safetensors", 1},
    {"missing", "REJECTED", "holds no tensor y", 1},
    {"second_unsupported", "NONDET", "asked again for the same case it says unsupported", 1},
    {"slow_start", "PASS", "", 0},
    {"dies_before_child", "CRASH", "exit code 5", 1},
    {"leaves_session", "PASS", "", 0},
    {"early", "REJECTED", "", 1},
    {"fifo", "REJECTED", "outputs.safetensors is no regular file", 1},
    {"litter", "PASS", "", 0},
    {"escapes", "REJECTED", "the port reports: ValueError: ?[31mred?[0m?9 passed", 1},
    {"long_numerics", "REJECTED", "its declaration is longer than 4095 characters", 1},
};

static void check_row(const row *r, const char *port)
{
    char environment[64], arguments[300];
    snprintf(environment, sizeof environment, "PLANT=%s", r->plant);
    snprintf(arguments, sizeof arguments, "run '" CASE ";fill=%s' --format=jsonl --timeout=1 --backend=%s",
             r->fill ? r->fill : "real", port);
    const outcome *const o = run_verify(environment, arguments);
    json_t *const object = json_loads(first_result(o->out), JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, NULL);
    cr_assert(object != NULL, "%s: no JSON line but: %s%s", r->plant, o->out, o->err);
    const char *const verdict = json_string_value(json_object_get(object, "verdict"));
    const char *const why = json_string_value(json_object_get(object, "why"));
    cr_expect(!strcmp(verdict, r->verdict), "%s: %s, not %s (%s)", r->plant, verdict, r->verdict, why);
    cr_expect(strstr(why, r->why) != NULL, "%s: why is '%s', not '%s'", r->plant, why, r->why);
    cr_expect(o->code == r->code, "%s: exit code %d, not %d", r->plant, o->code, r->code);
    json_decref(object);
}

Test(verdicts, every_fault_gets_its_verdict)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) check_row(&rows[i], BUILD "/planted/planted.so");
}

/* Its table ends where that of its header did. */
Test(verdicts, a_port_of_an_older_header_runs)
{
    row const honest = {"honest", "PASS", "", 0};
    check_row(&honest, BUILD "/planted/older.so");
}

/* A field that its header lacks is 0 to it: cases that set it are no matter of its arithmetic, others are judged as ever. */
Test(verdicts, a_port_of_an_older_header_skips_what_came_later)
{
    static const struct {
        const char *plant, *id, *line;
        int code;
    } runs[] = {
        {"old_header", "mla_prefill@odd", "before_full  PASS(proved)  mla_prefill@odd", 0},
        {"old_header", "mla_prefill@odd:full=1", "the port was compiled with an older dsv3.h, which lacks a key", 3},
        {"new_header", "mla_prefill@odd:full=1", "before_full  FAIL(proved)  mla_prefill@odd:full=1", 1},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        char environment[80], arguments[160];
        snprintf(environment, sizeof environment, "PLANT=%s PLAIN=" BUILD "/ports/plain.so", runs[i].plant);
        snprintf(arguments, sizeof arguments, "run %s --backend=" BUILD "/planted/before_full.so", runs[i].id);
        const outcome *const o = run_verify(environment, arguments);
        cr_expect(o->code == runs[i].code && strstr(o->out, runs[i].line), "%s %s: exit code %d, %s", runs[i].plant,
                  runs[i].id, o->code, o->out);
    }
}

Test(verdicts, programs_too)
{
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
        check_row(&programs[i], "'exec:python3 unit/planted/program.py'");
}

/* A port that dies, hangs or kills its parent costs its own cases, not those of others. */
Test(verdicts, the_run_goes_on)
{
    static const char *const plants[] = {"abort", "hang", "kill_parent"};
    for (size_t i = 0; i < sizeof plants / sizeof *plants; i++) {
        char environment[64];
        snprintf(environment, sizeof environment, "PLANT=%s", plants[i]);
        const outcome *const o =
            run_verify(environment, "run '" CASE ",n_tokens=1..3' --timeout=0.5 --jobs=2 --backend=plain" PORT);
        cr_expect(o->code == 1, "%s: exit code %d", plants[i], o->code);
        bool const all = strstr(o->out, strcmp(plants[i], "kill_parent") ? "3 passed, 3 failed, 0 skipped"
                                                                         : "0 passed, 6 failed, 0 skipped");
        cr_expect(all, "%s: %s", plants[i], o->out);
    }
}

/* A failing port's text names tensor, place, truth, what is legal, the declaration, and how to see it again. */
Test(verdicts, a_failure_is_explained)
{
    static const char *const words[] = {"FAIL(proved)",
                                        "y (7, 64) f32",
                                        "worst [",
                                        "truth ",
                                        "legal ",
                                        "declared acc 24 rn",
                                        "assumed",
                                        "bin/verify run 'rmsnorm@odd:x=f32' --backend='/",
                                        "bin/verify show 'rmsnorm@odd:x=f32'\n",
                                        "0 passed, 1 failed, 0 skipped"};
    const outcome *const o = run_verify("PLANT=no_eps", "run '" CASE "'" PORT);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        cr_expect(strstr(o->out, words[i]) != NULL, "'%s' is missing in: %s", words[i], o->out);
}

/* An honest port that declares nothing passes too, with less resolution. */
Test(verdicts, declaring_buys_resolution)
{
    double bits[2];
    static const char *const plants[] = {"PLANT=honest", "PLANT=silent"};
    for (int i = 0; i < 2; i++) {
        const outcome *const o = run_verify(plants[i], "run 'rmsnorm@v3:x=f32' --format=jsonl" PORT);
        json_t *const object = json_loads(first_result(o->out), JSON_DISABLE_EOF_CHECK, NULL);
        cr_assert(object != NULL, "%s", o->out);
        bits[i] = json_number_value(json_object_get(json_array_get(json_object_get(object, "outputs"), 0), "bits"));
        json_decref(object);
    }
    cr_expect(bits[0] > bits[1] + 0.5, "declared %g bits, undeclared %g", bits[0], bits[1]);
}

/* A name is seen, whatever the file is called; of its ending only .so and a version are left out. */
Test(port, is_called_by_its_file)
{
    static const char *const called[][2] = {
        {"./mine.so", "mine"}, {"a/b/lib.so.1.2", "lib"}, {"./my.sound.so", "my.sound"},
        {"./mine", "mine"},    {"./a.so.so.so", "a"},     {"./.so", "port"},
        {"./ .so", "port"},    {"a/.so.1", "port"},       {"./.sock.so", ".sock"},
    };
    for (size_t i = 0; i < sizeof called / sizeof *called; i++) {
        backend b;
        complaint why;
        cr_assert(backend_resolve(called[i][0], &b, &why), "%s", why.text);
        cr_expect_str_eq(b.name, called[i][1], "%s is called '%s'", called[i][0], b.name);
    }
    backend b = {.name = "exec"};
    backend_call(&b, "  ");
    cr_expect_str_eq(b.name, "port");
}
