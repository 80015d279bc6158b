/* config: what a port of this configuration does, drawn choice by choice, and the declaration of exactly that. */
#include "legal.h"

#include <dlfcn.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t mixed(uint64_t z)
{
    z = (z ^ z >> 33) * 0xff51afd7ed558ccdu;
    z = (z ^ z >> 33) * 0xc4ceb9fe1a85ec53u;
    return z ^ z >> 33;
}

static uint64_t word(uint64_t h, char const *text)
{
    for (; *text; text++) h = mixed(h ^ (uint64_t)(unsigned char)*text);
    return h;
}

/* LEGAL says name=value: true, and the value. */
static bool set_by_hand(char const *name, int *value)
{
    char const *text = getenv("LEGAL");
    size_t const length = strlen(name);
    for (text = text ? strchr(text, ',') : NULL; text; text = strchr(text + 1, ','))
        if (!strncmp(text + 1, name, length) && text[1 + length] == '=') {
            *value = atoi(text + 2 + length);
            return true;
        }
    return false;
}

/* 3, where LEGAL says habit=3, or this object was loaded as legal.3.so; else 0. */
static int number_of_habits(void)
{
    static char const here;
    int value = 0;
    Dl_info from;
    if (set_by_hand("habit", &value) || !dladdr(&here, &from)) return value;
    char const *const slash = strrchr(from.dli_fname, '/'), *const dot = strchr(slash ? slash : from.dli_fname, '.');
    return dot ? atoi(dot + 1) : 0;
}

static int drawn(uint64_t key, char const *name, int count)
{
    int value = 0;
    if (set_by_hand(name, &value)) return value;
    return (int)(word(key, name) >> 16 & 0xffffff) % count;
}

int legal_draw(legal const *c, char const *name, int count)
{
    return drawn(c->key, name, count);
}

int legal_habit(legal const *c, char const *name, int count)
{
    return drawn(c->habits, name, count);
}

void legal_start(legal *c, char const *op, int64_t a, int64_t b, int64_t d, int dtype)
{
    char const *text = getenv("LEGAL");
    uint64_t key = word(mixed(text ? strtoull(text, NULL, 10) + 1 : 1), op);
    key = mixed(mixed(mixed(mixed(key ^ (uint64_t)a) ^ (uint64_t)b) ^ (uint64_t)d) ^ (uint64_t)dtype);
    int const habits = number_of_habits();
    *c = (legal){.key = key,
                 .habits = habits ? mixed(key ^ mixed((uint64_t)habits)) : key,
                 .prefix = "",
                 .acc = number_f32,
                 .outer = number_f32,
                 .block = 1,
                 .guard = 255,
                 .splits = 1};
    c->fused = true;
    legal_reset();
}

void legal_say(legal *c, char const *format, ...)
{
    size_t const used = strlen(c->text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->text + used, LEGAL_TEXT - used, format, arguments);
    va_end(arguments);
}

/* Ordinary kernels, tensor cores by name of their bits, and a few accumulators that nobody builds. */
void legal_sums(legal *c, bool chain_only)
{
    static struct {
        int bits, cut, block, guard, promote;
    } const unit[] = {
        {24, 0, 1, 255, 0},  {24, 0, 1, 255, 0},  {24, 0, 1, 255, 0},   {24, 1, 1, 255, 0},  {24, 1, 1, 0, 0},
        {24, 1, 4, 0, 0},    {24, 1, 8, 1, 0},    {24, 1, 16, 2, 0},    {14, 1, 32, 0, 128}, {14, 1, 32, 0, 0},
        {24, 0, 4, 255, 0},  {24, 0, 16, 255, 0}, {53, 0, 1, 255, 0},   {53, 0, 1, 255, 0},  {8, 0, 1, 255, 0},
        {11, 0, 1, 255, 16}, {24, 0, 4, 255, 4},  {14, 1, 32, 255, 64}, {24, 1, 32, 255, 0}, {12, 1, 4, 3, 0},
    };
    static int const parts[] = {1, 1, 2, 3, 4, 8, 16};
    int const u = legal_draw(c, "acc", sizeof unit / sizeof *unit);
    c->acc = number_accumulator(unit[u].bits, unit[u].cut);
    c->block = unit[u].block, c->guard = unit[u].guard, c->promote = unit[u].promote;
    if (chain_only) c->promote = 0;
    c->fused = c->block > 1 || legal_draw(c, "fused", 2);
    c->merges_in_tree = legal_habit(c, "merge", 2);
    c->order = (enum legal_order)legal_draw(c, "order", c->block == 1 && !c->promote && c->guard == 255 ? 5 : 4);
    if (c->order != TREE && c->habits != c->key) c->order = (enum legal_order)legal_habit(c, "order", TREE);
    c->splits = chain_only || c->order == TREE ? 1 : parts[legal_draw(c, "splits", 7)];
    if (c->promote && !legal_draw(c, "promoted_parts", 2)) c->splits = 1;
    if (c->order == LANES && c->splits == 1) c->order = FORWARD;
    legal_say(c, "acc %d %s", unit[u].bits, unit[u].cut ? "rz" : "rn");
    if (c->fused) legal_say(c, " fused");
    if (c->block > 1) legal_say(c, " block=%d", c->block);
    if (unit[u].cut) legal_say(c, " guard=%d", c->guard);
    if (c->promote) legal_say(c, " promote=%d bits2=24", c->promote);
    if (c->order != TREE && !chain_only) legal_say(c, " splits=%d", c->splits);
}

bool legal_unit_sums(legal *c)
{
    if (legal_draw(c, "by_name", 2)) return false;
    c->unit = legal_unit_list + legal_draw(c, "unit", legal_unit_count - 2); /* the last two take FP8 */
    c->acc = number_accumulator(c->unit->bits, false);
    c->splits = 1 << legal_draw(c, "unit_splits", 4);
    legal_say(c, "acc %s splits=%d", c->unit->name, c->splits);
    return true;
}

void legal_arithmetic(legal *c, bool bf16)
{
    static enum legal_arith const any[] = {IN_F32, IN_F32, IN_F64, IN_F32, IN_BF16};
    c->arith = any[legal_draw(c, "arith", bf16 ? 5 : 4)];
    if (c->arith == IN_F64 && c->acc.bits != 53) c->arith = IN_F32;
    bool const flushes = c->unit && (c->unit->kind == UNIT_PAIRS || c->unit->kind == UNIT_TWO_CHAINS);
    int const flush = flushes ? 3 : legal_draw(c, "flush", 4);
    c->ftz = flush >= 2, c->daz = flush == 3;
    c->direction = legal_habit(c, "direction", 3) - 1;
    if (c->arith == IN_F64 || c->acc.bits == 53) c->ftz = c->daz = false;
    legal_say(c, "; flush %s; arith %s",
              c->daz   ? "daz"
              : c->ftz ? "ftz"
                       : "none",
              c->arith == IN_BF16                                   ? "bf16"
              : c->arith == IN_F64 && legal_draw(c, "arith_f64", 2) ? "f64"
                                                                    : "f32");
}

double legal_silu(legal const *c, double z)
{
    double sigmoid = legal_sigmoid(c, z);
    if (c->rounds_sigmoid) sigmoid = legal_at(c, c->gate_sigmoid, sigmoid);
    return legal_op(c, z * sigmoid);
}

void legal_silu_config(legal *c, dsv3_dtype dtype)
{
    c->rounds_sigmoid = c->arith == IN_BF16 || legal_draw(c, "gate_sigmoid", 2);
    if (c->rounds_sigmoid) c->gate_sigmoid = legal_round_at(c, "gate_sigmoid", dtype);
}

void legal_division(legal *c)
{
    static double const rel[] = {0, 0, 1, 2, 4};
    c->div = rel[legal_draw(c, "div", 5)];
    c->error_by_two = legal_habit(c, "by_two", 2);
    c->reciprocal = legal_habit(c, "recip", 2);
    if (c->div > 0 || c->arith == IN_F64 || (c->acc.bits == 53 && !legal_draw(c, "cast", 2)))
        legal_say(c, "; div %g", fmax(c->div, 1));
    else
        legal_say(c, "; div ieee");
}

void legal_functions(legal *c, char const *words)
{
    static legal_error const levels[] = {{1, 0, 0}, {2, 0, 0}, {4, 2, 0}, {8, 1, 0}, {100, 0, 0}};
    static legal_error const logs[] = {{2, 0, 0}, {1, 0, 1}, {4, 0, 8}, {2, 0, 100}};
    static double const angles[] = {2, 3, 8, 1000}, roots[] = {0, 0, 1, 2, 4, 1000};
    if (strstr(words, "exp")) {
        c->exp = levels[legal_draw(c, "exp", 5)];
        legal_say(c, "; exp %g %g", c->exp.rel, c->exp.slope);
    }
    if (strstr(words, "log")) {
        c->log = logs[legal_draw(c, "log", 4)];
        legal_say(c, "; log %g %g", c->log.rel, c->log.absolute);
    }
    if (strstr(words, "sigmoid")) {
        c->sigmoid = levels[legal_draw(c, "sigmoid", 5)];
        legal_say(c, "; sigmoid %g %g", c->sigmoid.rel, c->sigmoid.slope);
    }
    if (strstr(words, "sincos")) {
        c->sincos = (legal_error){0, 0, angles[legal_draw(c, "sincos", 4)]};
        legal_say(c, "; sincos %g", c->sincos.absolute);
    }
    if (strstr(words, "rsqrt")) {
        c->rsqrt = roots[legal_draw(c, "rsqrt", 6)];
        if (c->rsqrt > 0 || c->arith == IN_F64)
            legal_say(c, "; rsqrt %g", fmax(c->rsqrt, 1));
        else
            legal_say(c, "; rsqrt ieee");
    }
}

bool legal_cuts(legal const *c, char const *name)
{
    return !legal_draw(c, "nearest", 1) && legal_draw(c, name, 5) == 0;
}

void legal_output(legal *c, char const *name, dsv3_dtype dtype)
{
    char const *format = dtype == DSV3_BF16 ? "bf16" : "f32";
    c->cut_output = legal_cuts(c, name);
    legal_say(c, "; %s%s %s must %s", c->prefix, name, format, c->cut_output ? "rz" : "rn");
}

/* Wide arithmetic keeps what is not rounded to BF16; an intermediate in binary32 is rounded already. */
legal_point legal_round_at(legal *c, char const *name, dsv3_dtype dtype)
{
    bool const bf16 = c->arith == IN_BF16 || (dtype == DSV3_BF16 && legal_draw(c, name, 2));
    bool const kept = !bf16 && c->arith == IN_F64 && legal_draw(c, "keep", 2);
    legal_say(c, "; %s%s %s %s", c->prefix, name, bf16 ? "bf16" : "f32", kept ? "may" : "must");
    return (legal_point){!kept, bf16 ? number_bf16 : number_f32};
}

double legal_at(legal const *c, legal_point point, double x)
{
    double const y = point.rounds ? number_round(point.format, x) : x;
    return c->ftz && fabs(y) < 0x1p-126 ? copysign(0, y) : y;
}
