/* See candidates.h. */
#include "candidates.h"

#include <stdio.h>

/* ---- what one clause alone may change ---- */

static const char *const usual[] = {"acc 24 rn",      "acc 24 rn fused splits=1",
                                    "acc 53 rn",      "sigmoid 2",
                                    "exp 2",          "flush none",
                                    "rescales 0",     "parts 1",
                                    "rsqrt ieee",     "div ieee",
                                    "log 2 2",        "sincos 2",
                                    "angle f64",      "form naive",
                                    "form absorbed",  "scaled q",
                                    "scaled scores",  "quotient div",
                                    "quotient exact", "arith f64"};

const char *candidate_usual(int i)
{
    return i < (int)(sizeof usual / sizeof *usual) ? usual[i] : NULL;
}

/* ---- all of them ---- */

/* How sums go that round to nearest, and how those that cut do: these are units, too. */
static const char *const binary64[] = {"53 rn", NULL}, *const nearest[] = {"24 rn", "24 rz", NULL};
static const char *const cutting[] = {"24 rz fused block=16 guard=255",
                                      "24 rz fused block=16",
                                      "24 rz fused block=4",
                                      "24 rz fused guard=255",
                                      "24 rz",
                                      "14 rz fused block=32",
                                      "14 rz",
                                      NULL};
static const char assumed_sums[] = "24 rz";

#define WAYS(...)                                                                                                      \
    (const char *const[])                                                                                              \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }
static const struct {
    const char *word;
    const char *const *way;
    const char *assumed;
} clauses[] = {
    {"rsqrt", WAYS("recip", "root", "ieee", "1", "1.5", "2", "3", "4", "16", "256"), "4"},
    {"div", WAYS("ieee", "1", "1.5", "2", "3", "4", "16", "256"), "4"},
    {"exp", WAYS("1", "1.5", "2", "3", "4", "4 1", "4 2", "16 8", "256 64"), "4 2"},
    {"log", WAYS("1", "1.5", "2", "2 2", "3 4", "4 8", "16 64", "256 256"), "4 8"},
    {"sigmoid", WAYS("1", "1.5", "2", "3", "4", "6", "6 1", "6 2", "16 8", "256 64"), "6 2"},
    {"sincos", WAYS("1", "1.5", "2", "3", "4", "6", "8", "64", "1024"), "8"},
    {"angle", WAYS("f64", "f32", "f32 40", "f32 400"), "f32"},
    {"rescales", WAYS("0", "1", "any"), "any"},
    {"parts", WAYS("1", "any"), "any"},
    {"form", WAYS("naive", "absorbed", "any"), "any"},
    {"scaled", WAYS("q", "scores", "any"), "any"},
    {"quotient", WAYS("exact", "div", "recip", "any"), "any"},
    {"flush", WAYS("none", "ftz", "daz"), "daz"},
    {"arith", WAYS("f64", "f32", "bf16 norm=f32", "bf16 softmax=f32", "bf16 sigmoid=f32", "bf16"), "f32"},
};
static const char *const point[] = {"f64 must", "f32 must",   "bf16 must", "output must",
                                    "f32 may",  "output may", "bf16 may",  NULL};
static const char *const output[] = {"output must", "output must rz", NULL};

/* Neither is wider than any other: that is another arithmetic. */
static bool stands_alone(const char *way)
{
    static const char *const alone[] = {"root", "absorbed", "scores", "div", "recip"};
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++)
        if (!strcmp(way, alone[i])) return true;
    return strstr(way, "must") != NULL;
}

bool candidate_is_wider(const candidate *c, int way, int than)
{
    return way > than && !stands_alone(c->way[way]);
}

bool candidate_is_binary64(const candidate *c, int way)
{
    return !strncmp(c->way[way], "f64", 3) && strcmp(c->word, "angle") != 0;
}

/* Adds the ways that the op knows. */
static void add_ways(const char *op, candidate *c, const char *const way[], const char *assumed)
{
    for (int i = 0; way[i] && c->ways < MOST_WAYS; i++) {
        ref_numerics n;
        char text[100], why[200];
        snprintf(text, sizeof text, "%s %s", c->word, way[i]);
        if (!ref_numerics_parse(op, text, &n, why, sizeof why)) continue;
        if (!strcmp(way[i], assumed)) c->assumed = c->ways;
        c->way[c->ways++] = way[i];
    }
}

static void add_units(candidate *c)
{
    for (int i = 0; ref_unit(i) && c->ways < MOST_WAYS; i++)
        if (!strstr(ref_unit(i)->acc, " rn")) c->way[c->ways++] = ref_unit(i)->name;
}

/* A candidate without ways is none. */
static void keep(candidates *all, const candidate *c)
{
    if (c->ways && all->count < MOST_CANDIDATES) all->of[all->count++] = *c;
}

sum_kind sum_kind_of(const char *read)
{
    return strstr(read, " rz") || strstr(read, " rd") ? SUMS_CUT : SUMS_NEAREST;
}

void candidates_of(const char *op, sum_kind sums, const char *read, candidates *all)
{
    candidate acc = {.word = "acc"};
    all->count = 0;
    if (sums == SUMS_CUT) add_units(&acc);
    snprintf(all->read, sizeof all->read, "%s", read);
    if (sums == SUMS_NEAREST) add_ways(op, &acc, binary64, assumed_sums);
    if (*read && sum_kind_of(read) == sums) add_ways(op, &acc, (const char *const[]){all->read, NULL}, assumed_sums);
    add_ways(op, &acc, sums == SUMS_NEAREST ? nearest : cutting, assumed_sums);
    keep(all, &acc);
    for (size_t i = 0; i < sizeof clauses / sizeof *clauses; i++) {
        candidate c = {.ways = 0};
        snprintf(c.word, sizeof c.word, "%s", clauses[i].word);
        add_ways(op, &c, clauses[i].way, clauses[i].assumed);
        keep(all, &c);
    }
    for (int i = 0; ref_point(i); i++) {
        const char *const prefix = ref_point_prefix(op, i);
        bool const written = ref_point(i)->output;
        candidate c = {.ways = 0};
        if (!prefix) continue;
        snprintf(c.word, sizeof c.word, "%s%s", prefix, ref_point(i)->name);
        add_ways(op, &c, written ? output : point, written ? "output must" : "output may");
        keep(all, &c);
    }
}
