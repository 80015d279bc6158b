/* The tables of a run: what is counted, which reason is shown, what shares a line, and what has none. */
#include "report/table.h"
#include "report/text.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(by_op, .timeout = 20);

static result passed(double budget, double bits, bool exact)
{
    result r = {.v = PASS, .outputs = 1};
    r.output[0] = (output_stats){
        .count = 100, .budget = budget, .bits = bits, .bits_exact = exact, .bits_none = !exact && bits == 0};
    return r;
}

static result not_passed(verdict v, const char *why)
{
    result r = {.v = v};
    snprintf(r.why, sizeof r.why, "%s", why);
    if (v != SKIP) r.outputs = 1, r.output[0] = (output_stats){.count = 100, .budget = 7, .bits = 1};
    return r;
}

/* The table of the ports' results, those of a case one after another; the caller frees it. */
static char *table_of_ports(int cases, const char *const id[], int ports, const char *absent, const result results[])
{
    char *text = NULL;
    size_t bytes;
    report_run const run = {.cases = cases,
                            .id = (char *const *)(uintptr_t)id,
                            .backends = ports,
                            .name = {"port", "other", "third", "fourth", "fifth", "./sixth_of_a_long_name.so"},
                            .absent = {absent}};
    FILE *const f = open_memstream(&text, &bytes);
    by_op *const t = by_op_open(&run);
    cr_assert(f && t);
    for (int i = 0; i < cases; i++) cr_assert(by_op_add(t, i, &results[i * ports]));
    table_print(f, t);
    by_op_close(t);
    fclose(f);
    return text;
}

#define HEAD "port          op                   passed   elements  budget    bits\n"

static void expect_ports(int cases, const char *const id[], int ports, const char *absent, const result results[],
                         const char *expected)
{
    char *const text = table_of_ports(cases, id, ports, absent, results);
    cr_expect_str_eq(text, expected);
    for (const char *s = text; *s; s += strcspn(s, "\n") + 1)
        cr_expect(strcspn(s, "\n") <= 100, "wider than 100 columns: %s", s);
    free(text);
}

static void expect_table(int cases, const char *const id[], const char *absent, const result results[],
                         const char *expected)
{
    expect_ports(cases, id, 1, absent, results, expected);
}

Test(by_op, a_row_holds_the_worst_of_what_passed)
{
    static const char *const id[] = {"gate@odd", "gate:n_tokens=3", "gate;fill=tie",
                                     "gate",     "gate@v3",         "gate@v3;seed=2"};
    result results[] = {passed(0.25, 12.34, false), passed(0.5, 20, false),
                        passed(0, 0, true),         passed(0.1, 0, false), /* no variation: no bits */
                        not_passed(FAIL, "no"),     not_passed(VACUOUS, "wide")};
    results[0].flips = 3;
    results[1].constant = results[1].output[0].constant = true;
    results[2].output[0].constant = true;
    expect_table(6, id, NULL, results,
                 HEAD "port          gate                 4 of 6        600    50 %    12.3  3 flips, 1 constant\n"
                      "    1 failed, 1 vacuous, 1 constant in part\n");
}

Test(by_op, what_is_not_made_is_named)
{
    static const char *const id[] = {"moe@odd", "moe@v3", "moe@tiny", "moe@edge"};
    result results[] = {passed(0.25, 12, false), passed(0.25, 12, false), passed(0.25, 12, false),
                        not_passed(FAIL, "no")};
    for (int i = 0; i < 4; i++)
        snprintf(results[i].not_made, sizeof results[i].not_made, i == 1 ? "router_logits, act" : "act");
    expect_table(4, id, NULL, results,
                 HEAD "port          moe                  3 of 4        400    25 %    12.0\n"
                      "    1 failed, 4 without an output, 3 of them act\n");
    expect_table(3, id, NULL, (result[]){results[0], results[2], not_passed(SKIP, "why")},
                 HEAD "port          moe                  2 of 3        200    25 %    12.0\n"
                      "    2 without act, 1 skipped: why\n");
}

Test(by_op, bits_are_exact_or_absent)
{
    static const char *const id[] = {"embed@odd", "embed@v3", "rope@odd", "rope@v3",
                                     "gate@odd",  "gate@v3",  "mla@odd",  "mla@v3"};
    result const results[] = {passed(0, 0, true),    passed(0, 0, true),           passed(1, 0, false),
                              passed(1, 0, false),   not_passed(NOT_A_NUMBER, ""), not_passed(NOT_A_NUMBER, ""),
                              passed(0.5, 7, false), passed(0.5, -88.1, false)}; /* nothing is resolved */
    expect_table(8, id, NULL, results,
                 HEAD "port          embed                2 of 2        200     0 %   exact\n"
                      "port          rope                 2 of 2        200   100 %       -\n"
                      "port          gate                 0 of 2        200       -       -\n"
                      "    2 failed\n"
                      "port          mla                  2 of 2        200    50 %       -\n");
}

Test(by_op, the_most_common_reason_is_shown)
{
    static const char *const id[] = {"mla@v3", "mla@odd",    "mla@tiny", "mla@edge",
                                     "mla",    "mla;seed=2", "rope@v3",  "rope@odd"};
    result const results[] = {passed(1, 9, false),       not_passed(SKIP, "one"), not_passed(SKIP, "two"),
                              not_passed(SKIP, "two"),   not_passed(SKIP, "one"), not_passed(SKIP, "two"),
                              not_passed(SKIP, "three"), passed(1, 9, false)};
    expect_table(8, id, NULL, results,
                 HEAD "port          mla                  1 of 6        100   100 %     9.0\n"
                      "    5 skipped, 3 of them: two\n"
                      "port          rope                 1 of 2        100   100 %     9.0\n"
                      "    1 skipped: three\n");
}

Test(by_op, a_long_reason_is_wrapped)
{
    static const char *const id[] = {"mla@v3", "mla@odd"};
    result const results[] = {
        passed(1, 9, false),
        not_passed(SKIP,
                   "the module keeps one format, not hidden_states bf16, self_attn.kv_a_proj_with_mqa.weight f8_e4m3")};
    expect_table(2, id, NULL, results,
                 HEAD "port          mla                  1 of 2        100   100 %     9.0\n"
                      "    1 skipped: the module keeps one format, not hidden_states bf16,\n"
                      "    self_attn.kv_a_proj_with_mqa.weight f8_e4m3\n");
}

Test(by_op, ops_that_are_skipped_wholly_share_a_line)
{
    static const char *const id[] = {"rope@v3", "rope@odd", "mla@v3", "mla@odd", "gate@v3", "gate@odd"};
    result results[] = {passed(1, 9, false),     passed(1, 9, false),     not_passed(SKIP, "one"),
                        not_passed(SKIP, "two"), not_passed(SKIP, "two"), not_passed(SKIP, "two")};
    expect_table(6, id, NULL, results,
                 HEAD "port          rope                 2 of 2        200   100 %     9.0\n"
                      "port          2 other ops, 4 skipped, 3 of them: two\n");
    expect_table(4, id, NULL, results,
                 HEAD "port          rope                 2 of 2        200   100 %     9.0\n"
                      "port          mla, 2 skipped, 1 of them: one\n");
    results[0] = results[1] = not_passed(SKIP, "two");
    expect_table(6, id, NULL, results, HEAD "port          3 ops, 6 skipped, 5 of them: two\n");
}

static bool has_line(int cases, const char *const *id)
{
    report_run const run = {.cases = cases, .id = (char *const *)(uintptr_t)id, .backends = 1, .name = {"port"}};
    by_op *const t = by_op_open(&run);
    cr_assert(t != NULL);
    bool const line = !t->rows;
    by_op_close(t);
    return line;
}

Test(by_op, a_few_cases_of_other_ops_have_lines)
{
    static const char *const id[] = {"rope@v3", "mla@v3", "mla@odd"};
    static const char *const nine[] = {"a@x", "b@x", "c@x", "d@x", "e@x", "f@x", "g@x", "h@x", "i@x"};
    result const results[] = {passed(1, 9, false), passed(1, 9, false), passed(1, 9, false)};
    cr_expect(has_line(2, id) && !has_line(3, id));
    cr_expect(has_line(8, nine) && !has_line(9, nine));
    expect_table(3, id, NULL, results,
                 HEAD "port          rope                 1 of 1        100   100 %     9.0\n"
                      "port          mla                  2 of 2        200   100 %     9.0\n");
    expect_table(2, id, NULL, results, "");
}

Test(by_op, an_absent_port_has_no_row)
{
    static const char *const id[] = {"mla@v3", "mla@odd"};
    result const results[] = {not_passed(SKIP, "for the moon"), not_passed(SKIP, "for the moon")};
    expect_table(2, id, "for the moon", results, "");
}

/* Two cases of an op, the same result of every port. */
#define EACH(r) r, r, r, r, r, r

Test(by_op, several_ports_share_the_row_of_an_op)
{
    static const char *const id[] = {"rope@v3", "rope@odd", "mla@v3", "mla@odd"};
    result const good = passed(1, 9, false), same = passed(0, 0, true), none = not_passed(SKIP, "one"),
                 bad = not_passed(FAIL, "no");
    result const results[] = {good, same, none, good, same, not_passed(SKIP, "two"), good, bad, none, none, none, none};
    expect_ports(4, id, 3, NULL, results,
                 "                           port            other            third\n"
                 "op                passed   bits    passed   bits    passed   bits\n"
                 "rope                 2/2    9.0       2/2  exact         -      -\n"
                 "mla                  1/1    9.0       0/1      -         -      -\n"
                 "port          1 skipped: one\n"
                 "other         1 skipped: one\n"
                 "third         4 skipped: 3 one; 1 two\n");
}

Test(by_op, an_absent_port_has_no_column)
{
    static const char *const id[] = {"mla@v3", "mla@odd"};
    result const skip = not_passed(SKIP, "for the moon"), good = passed(1, 9, false);
    result const results[] = {skip, good, good, skip, good, good};
    expect_ports(2, id, 3, "for the moon", results,
                 "                          other            third\n"
                 "op                passed   bits    passed   bits\n"
                 "mla                  2/2    9.0       2/2    9.0\n");
}

Test(by_op, six_ports_take_two_blocks)
{
    static const char *const id[] = {"mla@v3", "mla@odd"};
    result const good = passed(1, 9, false);
    result const results[] = {EACH(good), EACH(good)};
    char *const text = table_of_ports(2, id, 6, NULL, results);
    cr_expect(strstr(text, "\n               ./sixth_of_a_lon\nop                passed   bits\n"), "%s", text);
    free(text);
}

Test(by_op, the_common_reasons_come_first)
{
    static const char *const id[] = {"mla@v3",     "mla@odd",    "mla;seed=1", "mla;seed=2",
                                     "mla;seed=3", "mla;seed=4", "mla;seed=5"};
    static const char *const why[] = {"a", "b", "b", "c", "d", "e", "b"};
    result results[14];
    for (int i = 0; i < 7; i++) results[2 * i] = passed(1, 9, false), results[2 * i + 1] = not_passed(SKIP, why[i]);
    char *const text = table_of_ports(7, id, 2, NULL, results);
    cr_expect(strstr(text, "\nother         7 skipped: 3 b; 1 a; 1 c; 1 d; 1 for other reasons\n"), "%s", text);
    free(text);
}

/* ---- the report on one screen ---- */

static char *screen_of(report_run *run, const result results[], const tally *counts)
{
    char *text = NULL;
    size_t bytes;
    FILE *const f = open_memstream(&text, &bytes);
    void *const own = report_as_text.open(f, run);
    cr_assert(f && own);
    for (int i = 0; i < run->cases; i++) report_as_text.result(own, i, &results[i * run->backends]);
    report_as_text.close(own, counts);
    fclose(f);
    return text;
}

/* Nobody named them: one line says which known ports can't run here, and one what to do next. */
Test(by_op, absent_ports_share_a_line)
{
    static const char *const id[] = {"mla@v3", "mla@odd"};
    result const skip = not_passed(SKIP, "for the moon"), good = passed(1, 9, false);
    result const results[] = {skip, good, skip, skip, good, skip};
    tally const counts = {.passed = 2};
    report_run run = {.cases = 2,
                      .id = (char *const *)(uintptr_t)id,
                      .backends = 3,
                      .name = {"cuda", "plain", "transformers"},
                      .absent = {"built without nvcc", NULL, "not installed: make transformers-port, 5.6 GB there"},
                      .known = true,
                      .kept = "build/verify/results.jsonl"};
    char *const text = screen_of(&run, results, &counts);
    cr_expect_str_eq(text, "plain                   passed failed skipped   elements budget   bits sees\n"
                           "mla                          2      0       0        200  100 %    9.0    -\n"
                           "\n"
                           "full report: build/verify/results.jsonl\n"
                           "next: judge your own port: docs/porting.md, or verify run --help\n"
                           "not here: cuda, transformers (--backend=NAME says why)\n"
                           "2 passed, 0 failed, 0 skipped\n");
    free(text);
}

/* Five ports of long names and large numbers, and one that is judged on less. */
Test(by_op, five_ports_fit_the_screen)
{
    static const char *const id[] = {"cross_entropy_backward@v3", "cross_entropy_backward@odd"};
    result const good = passed(1, -88.4, false), skip = not_passed(SKIP, "a port of a reason that is long enough for a "
                                                                         "second line, and that would take a third");
    result const results[] = {good, good, good, good, good, good, good, good, good, skip};
    tally const counts = {.passed = 9, .skipped = 1};
    report_run run = {.cases = 2,
                      .id = (char *const *)(uintptr_t)id,
                      .backends = 5,
                      .name = {"plain", "avx512", "portable", "cuda(sm_80 PTX on CPU)", "transformers"}};
    char *const text = screen_of(&run, results, &counts);
    for (const char *s = text; *s; s += strcspn(s, "\n") + 1)
        cr_expect(strcspn(s, "\n") <= 80, "wider than 80 columns: %s", s);
    cr_expect(strstr(text, " transformers\nop ") && strstr(text, "cuda(sm_8..."), "%s", text);
    cr_expect(strstr(text, "\ntransformers: 1 skipped: a port of"), "%s", text);
    free(text);
}

static result that_sees(const char *op, bool all)
{
    result r = passed(1, 9, false);
    r.glanced = true;
    for (int q = 0; ref_quirk(q) && all; q++)
        if (!strcmp(ref_quirk(q)->op, op)) ref_add(&r.quirks_seen, q);
    return r;
}

/* Which of two ports sees the mistakes of rope: in each of two cases, or, if it isn't judged on one, in the other. */
static int seen_by(const result results[4])
{
    static const char *const id[] = {"rope@v3", "rope@odd"};
    report_run const run = {.cases = 2, .id = (char *const *)(uintptr_t)id, .backends = 2, .name = {"one", "two"}};
    by_op *const t = by_op_open(&run);
    cr_assert(t && by_op_add(t, 0, results) && by_op_add(t, 1, results + 2));
    op_sight const s = by_op_sight(t, 0);
    by_op_close(t);
    cr_expect(s.quirks > 0);
    return s.seen == s.quirks ? 1 : s.seen ? -1 : 0;
}

Test(by_op, a_port_that_skips_or_fails_cases_hides_no_sight)
{
    result const sees = that_sees("rope", true), blind = that_sees("rope", false), skip = not_passed(SKIP, "why");
    result const all[] = {blind, blind, sees, sees}, one[] = {sees, blind, sees, blind};
    result const narrow[] = {sees, blind, sees, skip}, both[] = {sees, blind, skip, skip};
    result const fail = not_passed(FAIL, "why"), wrong[] = {sees, blind, sees, fail};
    cr_expect_eq(seen_by(all), 1);
    cr_expect_eq(seen_by(one), 0);
    cr_expect_eq(seen_by(narrow), 1);
    cr_expect_eq(seen_by(wrong), 1);
    cr_expect_eq(seen_by(both), 0);
}

/* The screen and what it is made of agree on that: its head stands over nine ops of one case each. */
Test(by_op, nine_cases_of_other_ops_have_a_screen)
{
    static const char *const nine[] = {"a@x", "b@x", "c@x", "d@x", "e@x", "f@x", "g@x", "h@x", "i@x"};
    result results[9];
    tally counts = {.passed = 9};
    report_run run = {.cases = 9, .id = (char *const *)(uintptr_t)nine, .backends = 1, .name = {"port"}};
    for (int i = 0; i < 9; i++) results[i] = passed(1, 9, false);
    char *const text = screen_of(&run, results, &counts);
    cr_expect(!strncmp(text, "port                    passed failed skipped", 45), "%s", text);
    free(text);
}
