/* verify order: in which order a port adds, and in what. docs/porting.md. */
#include "judge/sum_tree.h"
#include "options.h"
#include "run/sum_read.h"
#include "waiting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    option_list backends;
    port_limits limits;
    int terms, tokens, columns;
    bool tree;
} arguments;

static const option options[] = {
    {"--backend", OPTION_BACKENDS, offsetof(arguments, backends), "B",
     "the port: plain, avx512, portable, cuda, transformers; a path such as ./port.so; cuda:./kernels.cu; or "
     "exec:'COMMAND'"},
    {"--terms", OPTION_WHOLE, offsetof(arguments, terms), "N",
     "terms of a sum, in_features of linear; default 256. Beyond that outputs are F32, since BF16 can't count on", 3,
     MOST_TERMS},
    {"--tokens", OPTION_WHOLE, offsetof(arguments, tokens), "N", "sums at once, n_tokens of linear; default 64", 1,
     MAX_ROWS_OF_PROBE},
    {"--out-features", OPTION_WHOLE, offsetof(arguments, columns), "N", "out_features of linear; default 16", 1, 4096},
    {"--tree", OPTION_FLAG, offsetof(arguments, tree), NULL, "print every order as nested sums, too"},
    {"--timeout", OPTION_NUMBER, offsetof(arguments, limits.timeout), "S",
     "seconds for one call of the port; default 60", 0.01, 86400},
    {NULL},
};

static const syntax order_syntax = {
    "order", "usage: verify order --backend=B [options]\n", options,
    "Asks the port for sums of ones among which 2^100 and -2^100 stand, for every pair of\n"
    "places: what is lost tells which terms are added first. Prints the order of linear's sums\n"
    "in words, for BF16, F32 and FP8 weights, the bits and the rounding of what adds, and the\n"
    "clause that declares both. A port that adds one token in another order than several is\n"
    "told so. The port must give the same result twice.\n"};

typedef struct {
    const arguments *a;
    port *asked;
    const char *x, *weight;
    sum_probe probe;
    int *under;
} reading;

/* ---- what is printed ---- */

static const char *rounding_words(const char *rounding)
{
    static const char *const words[][2] = {{"rn", "to nearest"},
                                           {"rz", "cut toward zero"},
                                           {"rd", "toward minus infinity"},
                                           {"ru", "toward plus infinity"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(rounding, words[i][0])) return words[i][1];
    return rounding;
}

static void print_accumulator(const sum_accumulator *acc)
{
    if (!acc->bits) return;
    printf("  in %d bits, %s", acc->bits, rounding_words(acc->rounding));
    if (acc->guard >= 0) printf("; terms of a step are aligned %d bits beyond these", acc->guard);
    if (acc->products) printf("; products are %s", acc->fused ? "not rounded" : "rounded first");
    putchar('\n');
}

static void print_clause(const sum_order *o, const sum_accumulator *acc)
{
    char text[80];
    if (sum_clause(o, acc, text, sizeof text)) printf("  acc %s\n", text);
}

static void print_tree(const reading *r)
{
    size_t const cap = 64u << 10;
    char *const text = malloc(cap);
    if (!text) return;
    sum_tree_print(r->under, r->a->terms, text, cap);
    printf("  %s\n", text);
    free(text);
}

/* ---- other shapes ---- */

/* Of half as many terms, are the blocks as long? False: there are as many of them, or the port gives no such sums. */
static bool has_fixed_blocks(const reading *r, int block)
{
    sum_probe half;
    complaint why;
    int const n = r->a->terms / 2;
    int *const under = calloc((size_t)n, sizeof *under);
    bool fixed = sum_probe_open(&half, r->asked, r->x, r->weight, n, r->a->tokens, r->a->columns, &why) && under &&
                 sum_probe_row(&half, under, &why);
    for (int i = 1; fixed && i < block; i++) fixed = under[i] <= block;
    fixed = fixed && (n <= block || under[block] > block);
    sum_probe_close(&half);
    free(under);
    return fixed;
}

static int print_order(reading *r)
{
    complaint why;
    sum_order o = {.step = 1};
    sum_accumulator acc;
    int const n = r->a->terms;
    printf("linear, x %s, weight %s, %d terms: ", r->x, r->weight, n);
    if (!sum_tree_is_one(r->under, n)) {
        int const exact = sum_tree_exact(r->under, n);
        if (exact > 2)
            printf("no order: %d terms are added exactly, so that 2^100 hides none of them\n", exact);
        else
            puts("no tree of additions explains what is lost: the order changes, or ones are lost elsewhere");
        return EXIT_GOOD;
    }
    bool const known = sum_tree_describe(r->under, n, &o);
    puts(known ? o.words : "none of the orders that have a name; --tree prints it");
    if (r->a->tree) print_tree(r);
    if (!sum_probe_accumulator(&r->probe, r->under, &acc, &why)) return usage_error("%s", why.text);
    print_accumulator(&acc);
    if (o.block && r->a->terms / 2 > o.block && !has_fixed_blocks(r, o.block))
        snprintf(o.keys, sizeof o.keys, "splits=%d", (n + o.block - 1) / o.block);
    if (known) print_clause(&o, &acc);
    return EXIT_GOOD;
}

/* One token and one column, term 0 beside each other. */
static int compare_shape(const reading *r)
{
    sum_probe one;
    complaint why;
    int const n = r->a->terms;
    int *const under = calloc((size_t)n, sizeof *under);
    bool const good =
        sum_probe_open(&one, r->asked, r->x, r->weight, n, 1, 1, &why) && under && sum_probe_row(&one, under, &why);
    sum_probe_close(&one);
    if (good)
        puts(memcmp(under, r->under, (size_t)n * sizeof *under)
                 ? "  one token and one output alone: in another order"
                 : "  one token and one output alone: in the same order");
    free(under);
    return good ? EXIT_GOOD : usage_error("%s", why.text);
}

/* ---- the command ---- */

/* EXIT_NOTHING: the port skips this. */
static int read_order(reading *r)
{
    complaint why;
    const arguments *const a = r->a;
    bool const open = sum_probe_open(&r->probe, r->asked, r->x, r->weight, a->terms, a->tokens, a->columns, &why);
    r->under = calloc((size_t)a->terms * (size_t)a->terms, sizeof *r->under);
    if (!r->under) refuse(&why, "no memory for %d terms", a->terms);
    bool const good = open && r->under && sum_probe_pairs(&r->probe, r->under, &why);
    int code = good ? print_order(r) : r->probe.skip ? EXIT_NOTHING : usage_error("%s", why.text);
    if (!code) code = compare_shape(r);
    fflush(stdout);
    free(r->under);
    sum_probe_close(&r->probe);
    return code;
}

static int read_orders(const arguments *a, port *asked)
{
    static const char *const formats[][2] = {{"bf16", "bf16"}, {"f32", "f32"}, {"bf16", "f8_e4m3"}, {"f32", "f8_e4m3"}};
    int worst = EXIT_NOTHING;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        reading r = {.a = a, .asked = asked, .x = formats[i][0], .weight = formats[i][1]};
        int const code = read_order(&r);
        if (code == EXIT_USAGE) return code;
        if (code == EXIT_GOOD) worst = EXIT_GOOD;
    }
    if (worst) fprintf(stderr, "verify: nothing was read: the port skips linear\n");
    return worst;
}

int command_order(int argc, char **argv)
{
    arguments a = {.limits = {.timeout = 60}, .terms = 256, .tokens = 64, .columns = 16};
    operands rest;
    complaint why;
    backend b;
    int code;
    if (!options_read(&order_syntax, argc, argv, &a, &rest, &code)) return code;
    if (rest.count) return usage_error("order takes no '%.200s': it reads linear; leave it out", rest.word[0]);
    if (a.backends.count != 1) return usage_error("order takes one port, as in: verify order --backend=./port.so");
    if (!backend_resolve(a.backends.item[0], &b, &why)) return usage_error("%s", why.text);
    port *const asked = port_open(&b, a.limits);
    if (port_is(asked) == PORT_READY)
        code = read_orders(&a, asked);
    else
        code = usage_error("backend %s can't be used: %s", a.backends.item[0], port_why(asked));
    port_close(asked);
    return code;
}
