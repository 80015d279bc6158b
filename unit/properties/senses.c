/*
 * What statistics see that balls don't: small faults of value, each in a port of its own, found, named and measured, and the honest
 * port beside each; and every known mistake by its name. docs/statistics.md.
 */
#include "case/fill.h"
#include "judge/ladder.h"
#include "judge/nearness.h"
#include "judge/power.h"
#include "judge/finding.h"
#include "judge/sense.h"
#include "run/ask.h"
#include "run/case.h"
#include "witness.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

TestSuite(senses, .timeout = 480);

#define NEAR BUILD "/planted/near.so"

/* ---- small faults ---- */

/* A fault of unit/planted/near.c, so large, in a case. */
typedef struct {
    const char *fault;
    double by;
    const char *id;
    const char *declares; /* NULL: what the plain port does */
    verdict expected;     /* FAIL and SUSPECT: by filters alone */
    const char *filter;   /* that is named; NULL: any */
    double size;          /* of it; 0: not measured */
} row;

#define SHORT      "mla_decode@v3:num_attention_heads=4"
#define LONG       "mla_decode@v3:num_attention_heads=4,kv_len=4096"
#define PAIR       "mla_decode@v3:num_attention_heads=2,kv_len=4096"
#define LINEAR     "linear@v3:out_features=256"
#define NARROW     "linear@v3:out_features=64"
#define ANY_ORDER  "acc 24 rn"
#define ANY_KEYS   "acc 24 rn; kv f32 must; scale f32 must; scores f32 must; P f32 must"
#define ANY_QUERY  "acc 24 rn; kv f32 must; scores f32 must; P f32 must"
#define UNDECLARED ""

static const row rows[] = {
    {"softmax_scale", 1e-4, SHORT, NULL, FAIL, "softmax_scale", 1e-4},
    {"softmax_scale", 1e-5, SHORT, NULL, FAIL, "softmax_scale", 1e-5},
    {"softmax_scale", 1e-7, SHORT, NULL, PASS, NULL, 0},
    {"lse", 1e-4, SHORT, NULL, FAIL, "offset of lse", 1e-4},
    {"lse", 1e-6, SHORT, NULL, PASS, NULL, 0},
    {"scale", 1e-4, SHORT, NULL, SUSPECT, "scale of o", 1e-4},
    {"scale", 1e-5, SHORT, NULL, PASS, NULL, 0},
    {"softmax_scale", 1e-4, SHORT ",q=f32", NULL, FAIL, "softmax_scale", 1e-4},
    {"softmax_scale", 1e-5, SHORT ",q=f32", NULL, FAIL, "softmax_scale", 1e-5},
    {"scale", 1e-4, SHORT ",q=f32", NULL, FAIL, "scale of o", 1e-4},
    {"scale", 1e-5, SHORT ",q=f32", NULL, FAIL, "scale of o", 1e-5},
    {"scale", 1e-3, SHORT, ANY_KEYS, FAIL, "scale of o", 1e-3},
    {"softmax_scale", 1e-4, SHORT ",q=f32", UNDECLARED, SUSPECT, "softmax_scale", 1e-4},
    {"softmax_scale", 1e-4, SHORT, UNDECLARED, SUSPECT, "softmax_scale", 1e-4},
    {"softmax_scale", 1e-5, SHORT, UNDECLARED, PASS, NULL, 0},
    {"lse", 1e-3, SHORT, UNDECLARED, SUSPECT, "offset of lse", 1e-3},
    {"lse", 1e-4, SHORT, UNDECLARED, SUSPECT, "offset of lse", 1e-4},
    {"scale", 1e-2, SHORT, UNDECLARED, SUSPECT, "scale of o", 1e-2},
    {"scale", 1e-3, SHORT, UNDECLARED, SUSPECT, "scale of o", 1e-3},
    {"scale", 1e-5, SHORT, UNDECLARED, PASS, NULL, 0},
    {"key", 100, SHORT, UNDECLARED, SUSPECT, "key 100 dropped", 1},
    {"key", 37, SHORT, UNDECLARED, SUSPECT, "key 37 dropped", 1},
    {"softmax_scale", 1e-4, LONG, NULL, FAIL, "softmax_scale", 1e-4},
    {"key", 1234, PAIR, ANY_KEYS, FAIL, NULL, 0},
    {"key", -1, PAIR, ANY_KEYS, FAIL, "the last key dropped", 1},
    {"key", 2048, PAIR, ANY_KEYS, PASS, NULL, 0},
    {"truncated", 0, PAIR, ANY_KEYS, FAIL, "scale of o", 0},
    {"sums", 8, SHORT, ANY_QUERY, FAIL, NULL, 0},
    {"sums", 16, SHORT, ANY_QUERY, FAIL, NULL, 0},
    {"sums", 20, SHORT, ANY_QUERY, PASS, NULL, 0},
    {"arith", 12, SHORT, ANY_QUERY, FAIL, NULL, 0},
    {"arith", 16, SHORT, ANY_QUERY, PASS, NULL, 0},
    {"sums", 14, NARROW, ANY_ORDER, FAIL, NULL, 0},
    {"sums", 20, NARROW, ANY_ORDER, PASS, NULL, 0},
    {"sums_cut", 20, NARROW, ANY_ORDER, FAIL, NULL, 0},
    {"sums", 20, NARROW ",y=f32", ANY_ORDER, FAIL, NULL, 0},
    {"sums_cut", 23, NARROW ",y=f32", ANY_ORDER, FAIL, NULL, 0},
    {"sums", 16, "rmsnorm@v3:n_tokens=16", ANY_ORDER, FAIL, NULL, 0},
    {"eps", 1e-5, "rmsnorm@v3", NULL, FAIL, "rms_norm_eps", 9},
    {"eps", 1e-5, "rmsnorm@v3", UNDECLARED, SUSPECT, "rms_norm_eps", 9},
    {"eps", 2e-6, "rmsnorm@v3", NULL, SUSPECT, NULL, 0},
    {"mean", 1, "rmsnorm@v3", NULL, FAIL, "scale of y", 0.5 / 7169},
    {"eps", 2e-6, "rmsnorm@v3:hidden_size=512", NULL, PASS, NULL, 0},
    {"eps", 1e-5, "rmsnorm@v3:x=f32", NULL, FAIL, "rms_norm_eps", 9},
    {"eps", 2e-6, "rmsnorm@v3:x=f32", NULL, FAIL, "rms_norm_eps", 1},
    {"eps", 0, "rmsnorm@v3:x=f32", NULL, FAIL, "A3_eps_missing", 1},
    {"eps_outside", 0, "rmsnorm@v3:x=f32", NULL, FAIL, "A3_eps_outside", 1},
    {"mean", 1, "rmsnorm@v3:x=f32", NULL, FAIL, "scale of y", 0.5 / 7169},
    {"scale", 1e-3, LINEAR, NULL, FAIL, "scale of y", 1e-3},
    {"scale", 1e-5, LINEAR, NULL, PASS, NULL, 0},
    {"truncated", 0, LINEAR, ANY_ORDER, FAIL, NULL, 0},
    {"scale", 1e-3, LINEAR ",y=f32", ANY_ORDER, FAIL, "scale of y", 1e-3},
    {"scale", 1e-4, LINEAR ",y=f32", NULL, FAIL, "scale of y", 1e-4},
    {"scale", 1e-5, LINEAR ",y=f32", NULL, FAIL, "scale of y", 1e-5},
    {"scale", 1e-3, LINEAR, UNDECLARED, SUSPECT, "scale of y", 1e-3},
    {"feature", 3000, LINEAR, UNDECLARED, SUSPECT, NULL, 0},
    {"feature", -1, LINEAR ",y=f32", UNDECLARED, SUSPECT, "the last feature dropped", 1},
    {"smallest", 0.1, LINEAR, UNDECLARED, SUSPECT, NULL, 0},
    {"expert", 1e-4, "experts@odd", NULL, SUSPECT, "weight of expert 8", 1e-4},
    {"expert", 1e-2, "experts@odd", UNDECLARED, SUSPECT, "weight of expert 8", 1e-2},
    {"expert", 1e-3, "experts@odd", UNDECLARED, SUSPECT, "weight of expert 8", 1e-3},
    {"scale", 1e-3, "experts@odd", UNDECLARED, SUSPECT, "scale of y", 1e-3},
    {"scale", 1e-5, "experts@odd", NULL, PASS, NULL, 0},
    {"scale", 1e-4, "experts@odd:hidden_states=f32", ANY_ORDER, FAIL, "scale of y", 1e-4},
    {"logits", 1e-3, "cross_entropy@v3", ANY_ORDER "; terms f32 must", FAIL, NULL, 0},
    {"logit", 77, "cross_entropy@v3", ANY_ORDER "; terms f32 must", PASS, NULL, 0},
    {"routed_scaling_factor", 1e-6, "gate@v3", ANY_ORDER, FAIL, "routed_scaling_factor", 1e-6},
};
enum { ROWS = sizeof rows / sizeof *rows };

/* What is set for the port, or isn't there. */
static void set(const char *name, const char *value)
{
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

/* The port of a row, with a fault or without; what is set is for that port alone. */
static port *open_near(const row *w, const char *fault)
{
    char by[40];
    complaint why;
    backend b;
    snprintf(by, sizeof by, "%.17g", w->by);
    set("PLAIN", BUILD "/ports/plain.so");
    set("PLANT", fault);
    set("BY", by);
    set("DECLARES", w->declares);
    cr_assert(backend_resolve(NEAR, &b, &why), "%s", why.text);
    return port_open(&b, (port_limits){.timeout = 60});
}

/* Judges ports beside each other, and closes them. */
static void judge_ports(const char *id, port *const ports[], int count, result results[])
{
    complaint why;
    problem p;
    cr_assert(problem_parse(id, &p, &why), "%s", why.text);
    run_case(&p, NULL, ports, count, 0, results);
    problem_close(&p);
    for (int i = 0; i < count; i++) port_close(ports[i]);
}

/* One line of docs/data/senses.txt. */
static void print_row(const row *w, const char *fault, const result *r)
{
    const senses *const s = &r->sensed;
    printf("near %-21s %-6.4g %-48s %-12s %-7s t %7.1f ratio %8.3g  %s %.5g +- %.1g\n", fault ? fault : "-",
           fault ? w->by : 0, w->id, w->declares ? *w->declares ? "loosely" : "nothing" : "as it does",
           verdict_name(r->v), s->t, s->ratio, s->filter, s->size, s->sd);
}

static void expect_seen(const row *w, const result *r)
{
    const senses *const s = &r->sensed;
    print_row(w, w->fault, r);
    cr_expect(r->v == w->expected && (r->v == PASS || r->statistical), "%s %g in %s: %s, %s", w->fault, w->by, w->id,
              verdict_name(r->v), r->why);
    cr_expect(!w->filter || !strcmp(s->filter, w->filter), "%s in %s is named %s", w->fault, w->id, s->filter);
    cr_expect(w->size == 0 || fabs(s->size - w->size) <= 5 * s->sd, "%s %g in %s is measured as %g +- %g", w->fault,
              w->by, w->id, s->size, s->sd);
}

static void expect_honest(const row *w, const result *r)
{
    print_row(w, NULL, r);
    cr_expect(r->v == PASS && r->sensed.filters > 0, "%s: %s, %s", w->id, verdict_name(r->v), r->why);
}

static bool is_same_port(const row *a, const row *b)
{
    bool const same = a->declares && b->declares ? !strcmp(a->declares, b->declares) : a->declares == b->declares;
    return same && !strcmp(a->id, b->id);
}

static bool is_first(int i)
{
    for (int k = 0; k < i; k++)
        if (is_same_port(&rows[k], &rows[i])) return false;
    return true;
}

/* The faults of one case under one declaration, and the honest port beside them. */
static void judge_beside(int first)
{
    static result results[ROWS + 1];
    port *ports[ROWS + 1] = {open_near(&rows[first], NULL)};
    const row *of[ROWS + 1] = {&rows[first]};
    int count = 1;
    for (int i = first; i < ROWS; i++) {
        if (!is_same_port(&rows[first], &rows[i])) continue;
        of[count] = &rows[i];
        ports[count++] = open_near(&rows[i], rows[i].fault);
    }
    judge_ports(rows[first].id, ports, count, results);
    expect_honest(of[0], &results[0]);
    for (int i = 1; i < count; i++) expect_seen(of[i], &results[i]);
}

Test(senses, small_faults_are_seen_and_measured_and_honest_ports_pass)
{
    for (int i = 0; i < ROWS; i++)
        if (is_first(i)) judge_beside(i);
}

/* Ports that were accused once. */
Test(senses, honest_ports_of_other_ways_pass)
{
    static const struct {
        const char *port, *id, *declares;
    } cases[] = {
        /* two sums that the formula divides, and that cut in ways of their own */
        {BUILD "/planted/cut.so", "balance_loss_backward@odd:batch=20,n_tokens=500;seed=673583754"},
        {BUILD "/planted/cut.so", "balance_loss_backward@odd:batch=20,n_tokens=500;seed=407151978"},
        /* what is rounded is the scaled query in base 2 */
        {BUILD "/planted/folded.so", "mla_prefill@odd:q=bf16"},
        {BUILD "/planted/folded.so", "mla_prefill@v3:num_attention_heads=2"},
        /* sums of a few BF16 numbers, of which an accumulator that cuts has nothing to cut */
        {NEAR, "embed_backward@v3:vocab_size=16;seed=481191748", "acc 24 rz fused guard=255; partial f32 must"},
    };
    set("PLAIN", BUILD "/ports/plain.so");
    set("PLANT", NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        complaint why;
        backend b;
        result r;
        set("DECLARES", cases[i].declares);
        cr_assert(backend_resolve(cases[i].port, &b, &why), "%s", why.text);
        judge_ports(cases[i].id, (port *[]){port_open(&b, (port_limits){.timeout = 60})}, 1, &r);
        cr_expect(r.v == PASS && r.sensed.filters > 0 && fabs(r.sensed.t) < 6, "%s: %s, %s at %.1f sigmas", cases[i].id,
                  verdict_name(r.v), r.sensed.filter, r.sensed.t);
    }
}

/* ---- rungs that are left ---- */

/* What a constant of the problem changes. */
static const double *direction_of(const nulls *kept, const char *constant)
{
    for (int i = 0; i < kept->all.count; i++)
        if (kept->all.of[i].kind == CONSTANT && !strcmp(kept->all.of[i].name, constant)) return kept->all.of[i].d;
    return NULL;
}

/* Of another seed: the least chance that one of them is as near to the line of the narrow null as it is. */
static double least_chance(const null_ports *narrow, const double *d, const null_ports *wide, const null_ports *others)
{
    double least = 1;
    for (int k = 0; k < others->ports; k++)
        least = fmin(least, chance_of_nearness(narrow, d, others->written + k * others->n, wide));
    return least;
}

/* The least chance that ports which cut sums, and round P or nothing, lie where a wrong softmax_scale brings those that round
 * nothing, beside those that round P. */
static double least_chance_in(const char *id, bool round_p)
{
    complaint why;
    ref_numerics said;
    problem p;
    void **data;
    null_ports wide, others;
    nulls kept = {.count = 0};
    cr_assert(problem_parse(id, &p, &why) && tensors_open(&p, &data));
    cr_assert(ref_numerics_parse(p.op->name, "scale f32 must; scores f32 must", &said, why.text, sizeof why.text));
    rung const only_cut = {ladder_sums(&said) - 1, ref_none()};
    rung const cut_and_rounded = {only_cut.sums, ladder_points(p.op->name, &said)};
    ref_numerics const narrow = ladder_numerics(p.op->name, &said, &only_cut),
                       rounds_p = ladder_numerics(p.op->name, &said, &cut_and_rounded);
    nulls_look_at(&kept, &p, data, false);
    const known_null *const k = nulls_beside(&kept, &narrow, 1);
    cr_assert(k && null_open(&p, &rounds_p, data, 1, &wide));
    cr_assert(null_open(&p, round_p ? &rounds_p : &narrow, data, 3, &others));
    const double *const d = direction_of(&kept, "softmax_scale");
    cr_assert(d);
    double const least = least_chance(&k->null, d, &wide, &others);
    null_close(&wide);
    null_close(&others);
    nulls_forget(&kept);
    tensors_close(&p, data);
    problem_close(&p);
    return least;
}

Test(senses, ports_of_a_rung_do_not_leave_it)
{
    cr_expect(least_chance_in(SHORT, true) >= chance_of_suspicion());
    cr_expect(least_chance_in(SHORT, false) < chance_of_suspicion());
}

/* Where parts have a key or two, and each its own maximum, rounding P does next to nothing. */
Test(senses, ports_of_few_keys_may_round_nothing)
{
    cr_expect(least_chance_in("mla_prefill@odd:batch=10,n_tokens=60,n_keys=100", false) >= chance_of_suspicion());
}

/* ---- what is promised ---- */

/* Of a mistake in a case, beside what the plain port declares, which the result says. */
static double promised(const char *id, const char *mistake, const result *r)
{
    power all[REF_QUIRKS];
    complaint why;
    ref_numerics n;
    problem p;
    void **data;
    double sigmas = 0;
    cr_assert(problem_parse(id, &p, &why), "%s", why.text);
    cr_assert(ref_numerics_parse(p.op->name, r->declared, &n, why.text, sizeof why.text), "%s", why.text);
    cr_assert(tensors_open(&p, &data));
    int const count = power_of(&p, &n, data, all);
    for (int i = 0; i < count; i++)
        if (!strcmp(ref_quirk(all[i].quirk)->name, mistake) && all[i].kind == POWER_SIGMAS) sigmas = all[i].sigmas;
    tensors_close(&p, data);
    problem_close(&p);
    return sigmas;
}

/* A port that makes a mistake which only filters see is as many sigmas off as is said beforehand. */
Test(senses, what_is_promised_is_found)
{
    for (int i = 0; i < ROWS; i++) {
        result r;
        if (!rows[i].filter || strncmp(rows[i].filter, "A3_", 3)) continue;
        judge_ports(rows[i].id, (port *[]){open_near(&rows[i], rows[i].fault)}, 1, &r);
        double const sigmas = promised(rows[i].id, rows[i].filter, &r);
        printf("power %s in %s: promised %.1f, found %.1f\n", rows[i].filter, rows[i].id, sigmas, fabs(r.sensed.t));
        cr_expect(sigmas >= 12 && fabs(fabs(r.sensed.t) - sigmas) <= 5, "%s in %s: %g promised, %g found",
                  rows[i].filter, rows[i].id, sigmas, r.sensed.t);
    }
}

/* ---- names ---- */

/* What the filters can't see: decisions are the port's own, wherever they are wrong; one mistake has two names. */
static bool is_unnamed(const char *name)
{
    static const char *const not [] = {"G2_group_max", "G2_group_top_k_over_m", "G2_group_sum_of_two",
                                       "G4_ungrouped", "G15_bias_missing",      "E8_gate_up_swapped"};
    for (size_t i = 0; i < sizeof not / sizeof *not ; i++)
        if (!strcmp(name, not [i])) return true;
    return false;
}

/* Where a mistake is seen; of the largest cases smaller ones. */
static const char *case_of(int quirk)
{
    const char *const id = witness_of(quirk);
    return !strcmp(id, "mla_decode@v3") ? SHORT : id;
}

/* The mistaken formula's outputs. */
static bool write_formula(const problem *p, int quirk, void *const data[])
{
    ref_reading const rd = {.quirks = ref_only(quirk)};
    enclosures e;
    if (!enclose(p, &rd, &ref_dd, data, &e)) return false;
    write_results(p, &e, data);
    enclosures_free(&e);
    return true;
}

/* The outputs of the port with that mistake, or of the formula where no port has it; r->declared is what the port declares. */
static bool make_mistake(const problem *p, int quirk, void *const data[], result *r)
{
    char path[200];
    complaint why;
    backend b;
    answer a;
    snprintf(path, sizeof path, BUILD "/planted/mistake_%s.so", ref_quirk(quirk)->name);
    if (access(path, R_OK)) return write_formula(p, quirk, data);
    cr_assert(backend_resolve(path, &b, &why), "%s", why.text);
    port *const asked = port_open(&b, (port_limits){.timeout = 60});
    bool const ran = ask(p, data, false, asked, &a, r);
    port_close(asked);
    return ran;
}

/* Senses a mistake although the balls refuse it. False: that case has no null. */
static bool sense_mistake(const problem *p, int quirk, void *const data[], nulls *kept, result *r)
{
    complaint why;
    ref_numerics n;
    memset(r, 0, sizeof *r);
    cr_assert(make_mistake(p, quirk, data, r), "%s: %s", ref_quirk(quirk)->name, r->why);
    cr_assert(ref_numerics_parse(p->op->name, r->declared, &n, why.text, sizeof why.text), "%s", why.text);
    r->v = PASS;
    cr_assert(sense(kept, p, &n, NULL, data, NULL, r), "%s: no memory", ref_quirk(quirk)->name);
    return r->sensed.filters > 0;
}

/* Fills that aren't like real data, and ops that only copy, count or decide. */
static bool has_no_null(const char *id)
{
    static const char *const without[] = {"quant@",      "bias_update@", "mtp_accept@",
                                          "mtp_inputs@", "cache_store@", "embed@"};
    bool none = strstr(id, ";fill=") && !strstr(id, ";fill=far");
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) none |= !strncmp(id, without[i], strlen(without[i]));
    return none;
}

static void expect_name(int quirk, bool sensed, const result *r)
{
    const char *const name = ref_quirk(quirk)->name, *const id = case_of(quirk);
    const senses *const s = &r->sensed;
    printf("name %-26s %-62s ", name, id);
    printf(sensed ? "t %8.1f  %s %.5g +- %.1g\n" : "has no null\n", s->t, s->filter, s->size, s->sd);
    cr_expect(sensed != has_no_null(id), "%s in %s", name, id);
    if (sensed && !is_unnamed(name))
        cr_expect(r->v != PASS && !strcmp(s->filter, name), "%s in %s is named %s", name, id, s->filter);
}

static bool is_first_of_its_case(int quirk)
{
    for (int q = 0; q < quirk; q++)
        if (!strcmp(case_of(q), case_of(quirk))) return false;
    return true;
}

/* Each mistake that is seen in the case of the first one. */
static void sense_those_of(int first)
{
    const char *const id = case_of(first);
    nulls kept = {.count = 0};
    complaint why;
    problem p;
    void **data;
    cr_assert(problem_parse(id, &p, &why), "%s: %s", id, why.text);
    cr_assert(tensors_open(&p, &data), "%s: no memory", id);
    for (int q = first; ref_quirk(q); q++) {
        result r;
        if (!strcmp(case_of(q), id)) expect_name(q, sense_mistake(&p, q, data, &kept, &r), &r);
    }
    nulls_forget(&kept);
    tensors_close(&p, data);
    problem_close(&p);
}

Test(senses, mistakes_have_their_names)
{
    for (int q = 0; ref_quirk(q); q++)
        if (is_first_of_its_case(q)) sense_those_of(q);
}
