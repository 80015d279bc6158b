/* See weights.h. */
#include "weights.h"

#include "engine/compare_weights.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_RULES_SEEN = 40, MOST_SHOWN = 20 };

/* How many were equal after one and the same rule. */
typedef struct {
    char rule[120];
    int64_t count;
} rule_count;

typedef struct {
    bool strict, verbose;
    int64_t equal, different, unknown;
    int rules;
    rule_count rule[MOST_RULES_SEEN];
} tally;

static void count_rule(tally *t, const char *rule)
{
    int i = 0;
    while (i < t->rules && strcmp(t->rule[i].rule, rule) != 0) i++;
    if (i == MOST_RULES_SEEN) return;
    if (i == t->rules) snprintf(t->rule[t->rules++].rule, sizeof t->rule->rule, "%s", rule);
    t->rule[i].count++;
}

static void show_weight(void *context, const compared_weight *w)
{
    tally *const t = context;
    int64_t *const count = w->verdict == WEIGHT_EQUAL       ? &t->equal
                           : w->verdict == WEIGHT_DIFFERENT ? &t->different
                                                            : &t->unknown;
    ++*count;
    if (w->verdict == WEIGHT_EQUAL && *w->rule) count_rule(t, w->rule);
    bool const shown = t->verbose || (w->verdict != WEIGHT_EQUAL && *count <= MOST_SHOWN);
    static const char *const words[] = {"equal", "DIFFERENT", "in the engine alone"};
    if (shown) printf("%-20s %s%s%s%s\n", words[w->verdict], w->name, *w->rule || *w->why ? ": " : "", w->rule, w->why);
}

/* Those of one module, which end before ".mlp", say, are a line. */
static size_t module_of(const char *name)
{
    static const char layers[] = "model.layers.";
    if (strncmp(name, layers, sizeof layers - 1) != 0) return strlen(name);
    return sizeof layers - 1 + strcspn(name + sizeof layers - 1, ".");
}

/* Of a layer behind the model's, which is an MTP module's. */
static bool is_of_module(const char *name, const dsv3_config *config)
{
    static const char layers[] = "model.layers.";
    return !strncmp(name, layers, sizeof layers - 1) && atoll(name + sizeof layers - 1) >= config->num_hidden_layers;
}

/* What the engine doesn't hold, a line a layer. Returns how many; *needed: those of the model itself. */
static int64_t show_missing(const checkpoint *c, const dsv3_config *config, const bool seen[], int64_t *needed)
{
    int64_t all = 0;
    *needed = 0;
    for (int64_t i = 0; i < c->count;) {
        const char *const name = c->entry[i].tensor->name;
        size_t const length = module_of(name);
        int64_t of_module = 0, missing = 0, last = i;
        for (; i < c->count && !strncmp(c->entry[i].tensor->name, name, length) &&
               module_of(c->entry[i].tensor->name) == length;
             i++) {
            of_module++;
            missing += !seen[i];
            if (!seen[i]) last = i;
        }
        all += missing;
        if (!is_of_module(name, config)) *needed += missing;
        if (missing == 1) printf("%-20s %s\n", "not in the engine", c->entry[last].tensor->name);
        if (missing > 1)
            printf("%-20s %.*s: %lld of %lld, such as %s\n", "not in the engine", (int)length, name, (long long)missing,
                   (long long)of_module, c->entry[last].tensor->name + length + 1);
    }
    return all;
}

static int report(const tally *t, const checkpoint *c, const dsv3_config *config, const bool seen[])
{
    int64_t same = t->equal, needed;
    int64_t const missing = show_missing(c, config, seen, &needed);
    for (int i = 0; i < t->rules; i++) same -= t->rule[i].count;
    printf("%lld equal\n", (long long)same);
    for (int i = 0; i < t->rules; i++) printf("%lld equal, %s\n", (long long)t->rule[i].count, t->rule[i].rule);
    printf("%lld different, %lld in the engine alone, %lld in the checkpoint alone\n", (long long)t->different,
           (long long)t->unknown, (long long)missing);
    if (t->different || (t->strict && needed)) return EXIT_BAD_VERDICT;
    return t->equal ? EXIT_GOOD : EXIT_NOTHING;
}

int judge_weights(const checkpoint *c, const dsv3_config *config, const recording *r, const name_map *names,
                  bool strict, bool verbose)
{
    complaint why;
    tally t = {.strict = strict, .verbose = verbose};
    bool *const seen = calloc((size_t)c->count + 1, sizeof *seen);
    if (!seen) return usage_error("no memory for the list of weights");
    bool const good = compare_weights(c, config, r, names, seen, show_weight, &t, &why);
    int const code = good ? report(&t, c, config, seen) : usage_error("%s", why.text);
    free(seen);
    return code;
}
