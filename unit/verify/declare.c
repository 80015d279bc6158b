/* What verify declare and verify order read off ports whose arithmetic is known: plain, avx512 in FMA, and unit/planted/orders.c. */
#include "command.h"
#include "judge/sum_tree.h"

#include <criterion/criterion.h>

TestSuite(declare, .timeout = 300);

#define ORDERS BUILD "/planted/orders.so"

/* A port, and all that is true of it; clauses between semicolons. */
typedef struct {
    const char *environment, *arguments, *truth;
} known;

static const known ports[] = {
    {"", "swiglu --backend=plain",
     "sigmoid 3;sigmoid 4;sigmoid 6;sigmoid 6 1;flush none;flush ftz;gate_sigmoid f32 may;silu f32 may;"
     "silu f32 must"},
    {"", "rmsnorm --backend=plain",
     "acc 24 rn;rsqrt recip;rsqrt ieee;rsqrt 2;rsqrt 3;div ieee;div 1;div 1.5;div 2;div 3;flush none;"
     "z f32 may;x_norm f32 may;x_norm f32 must"},
    {"", "rope --backend=plain",
     "sincos 2;sincos 3;sincos 4;sincos 6;angle f64;cos_sin f32 may;cos_sin f32 must;flush none"},
    {"", "embed_backward --backend=plain", "acc 24 rn;flush none;partial f32 may;partial f32 must"},
    {"", "linear --backend=plain", "acc 24 rn;flush none;x f32 may;weight f32 may"},
    {"ORDER=sequential", "linear --backend=" ORDERS, "acc 24 rn;acc 24 rn splits=1;flush none;x f32 may"},
    {"ORDER=lanes", "linear --backend=" ORDERS, "acc 24 rn;acc 24 rn splits=8;flush none;x f32 may"},
    {"ORDER=double", "linear --backend=" ORDERS,
     "acc 53 rn;acc 53 rn splits=1;flush none;arith f64;x f32 may;x f64 must"},
};

/* Is the clause one of the list? */
static bool is_listed(const char *clause, size_t length, const char *list)
{
    for (const char *at = list; *at; at += strcspn(at, ";") + (strchr(at, ';') != NULL))
        if (strcspn(at, ";") == length && !strncmp(at, clause, length)) return true;
    return false;
}

/* The line that is ready to paste: the one without a leading #. */
static const char *proposal_of(const char *out)
{
    while (*out == '#') out += strcspn(out, "\n") + 1;
    return out;
}

static void expect_truth(const known *k, const char *proposal)
{
    const char *const end = strstr(proposal, "  # measured: ");
    cr_assert(end, "%s %s: nothing is proposed: %s", k->environment, k->arguments, proposal);
    for (const char *at = proposal; at < end;) {
        size_t length = strcspn(at, ";");
        if (at + length > end) length = (size_t)(end - at);
        cr_expect(is_listed(at, length, k->truth), "%s %s: '%.*s' isn't true", k->environment, k->arguments,
                  (int)length, at);
        at += length + strspn(at + length, "; ");
    }
}

/* Where the port declares one line itself, its own bits are known: no more than one of them may be lost; where it declares several, no
 * more than one of what the tightest line for all cases has. */
static void expect_tight(const known *k, const char *out, const char *proposal)
{
    const char *const own = strstr(out, "which resolves "), *const measured = strstr(proposal, "# measured: ");
    const char *const tightest = strstr(out, "# the tightest, ");
    double bits = 0, own_bits = 0, most = 0;
    cr_assert(measured && sscanf(measured, "# measured: %lf", &bits) == 1, "%s", out);
    if (own && sscanf(own, "which resolves %lf", &own_bits) == 1)
        cr_expect(bits > own_bits - 1, "%s %s: %.1f bits, and %.1f are declared", k->environment, k->arguments, bits,
                  own_bits);
    cr_expect(tightest && sscanf(tightest, "# the tightest, %lf", &most) == 1 && bits > most - 1,
              "%s %s: %.1f bits, and the tightest has %.1f", k->environment, k->arguments, bits, most);
}

static void expect_known(const known *k)
{
    char arguments[300];
    snprintf(arguments, sizeof arguments, "declare %s", k->arguments);
    const outcome *const o = run_verify(k->environment, arguments);
    cr_assert(o->code == 0, "%s: %s%s", arguments, o->out, o->err);
    const char *const proposal = proposal_of(o->out);
    expect_truth(k, proposal);
    expect_tight(k, o->out, proposal);
}

Test(declare, what_is_proposed_is_true_and_within_a_bit)
{
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) expect_known(&ports[i]);
}

static bool has_avx512(void)
{
    return run_verify("", "run linear@tiny --backend=avx512 --require=avx512")->code == 0;
}

Test(declare, lanes_that_are_read_are_proposed)
{
    known const fma = {"DSV3_FAST=fma", "linear --backend=avx512",
                       "acc 24 rn splits=16;flush none;x f32 may;weight f32 may"};
    if (!has_avx512()) cr_skip_test("no AVX-512 here");
    expect_known(&fma);
}

/* Sums that are cut are no matter of rounding to nearest. */
Test(declare, a_port_that_cuts_is_not_said_to_round)
{
    const outcome *const o = run_verify("ORDER=cutting", "declare linear --backend=" ORDERS);
    const char *const proposal = proposal_of(o->out);
    cr_assert(o->code == 0, "%s%s", o->out, o->err);
    cr_expect(!strstr(proposal, " rn"), "%s", proposal);
}

Test(declare, a_wrong_port_gets_no_declaration)
{
    const outcome *const o = run_verify("", "declare swiglu --backend=" BUILD "/planted/mistake_S2_gelu.so");
    cr_expect(o->code == 1, "code %d: %s", o->code, o->out);
    cr_expect(strstr(o->out, "# swiglu: no declaration that is tried allows swiglu@"), "%s", o->out);
    cr_expect(!strstr(o->out, "measured"), "%s", o->out);
}

Test(declare, a_port_without_the_op_is_measured_in_nothing)
{
    const outcome *const o = run_verify("", "declare rmsnorm --backend=" ORDERS);
    cr_expect(o->code == 3 && strstr(o->err, "nothing was measured"), "code %d: %s", o->code, o->err);
}

/* ---- order ---- */

typedef struct {
    const char *order, *words, *clause;
} read_order;

static const read_order orders[] = {
    {"sequential", "64 terms: sequential\n  in 24 bits, to nearest; products are rounded first\n",
     "  acc 24 rn splits=1\n"},
    {"backward", "64 terms: sequential, from the last term on\n", "  acc 24 rn splits=1\n"},
    {"lanes", "64 terms: 8 lanes, added one after the other; inside sequential\n", "  acc 24 rn splits=8\n"},
    {"halves", "64 terms: 8 lanes, added pairwise, by halves; inside sequential\n", "  acc 24 rn splits=8\n"},
    {"pairwise", "64 terms: pairwise, neighbours first\n", "  acc 24 rn\n"},
    {"blocks", "64 terms: blocks of 32, added one after the other; inside sequential\n",
     "  acc 24 rn promote=32 bits2=24\n"},
    {"cutting", "64 terms: 4 terms at once, step after step\n  in 24 bits, cut toward zero;",
     "block=4 guard=0 splits=1\n"},
    {"double", "64 terms: sequential\n  in 53 bits, to nearest; products are not rounded\n",
     "  acc 53 rn fused splits=1\n"},
    {"counted", "64 terms: sequential\n", "  one token and one output alone: in another order\n"},
};

Test(declare, orders_are_read_from_outside)
{
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        char environment[40];
        snprintf(environment, sizeof environment, "ORDER=%s", orders[i].order);
        const outcome *const o = run_verify(environment, "order --terms=64 --tokens=16 --backend=" ORDERS);
        cr_expect(o->code == 0 && strstr(o->out, orders[i].words), "%s: %s%s", orders[i].order, o->out, o->err);
        cr_expect(strstr(o->out, orders[i].clause), "%s: %s", orders[i].order, o->out);
    }
}

/* Of ((0 1) (2 3)) by hand, and of what no tree has. */
Test(declare, a_tree_is_told_from_none)
{
    int under[16] = {1, 2, 4, 4, 2, 1, 4, 4, 4, 4, 1, 2, 4, 4, 2, 1};
    char text[100];
    cr_assert(sum_tree_is_one(under, 4));
    sum_tree_print(under, 4, text, sizeof text);
    cr_expect_str_eq(text, "((0 1) (2 3))");
    under[1] = under[4] = 3;
    cr_expect(!sum_tree_is_one(under, 4));
}
