/* Declared arithmetic: text to struct and back. Grammar: docs/numerics.md, section "Declaring arithmetic". */
#include "ref.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* Bits of `declared`: the points, then these. */
enum {
    CLAUSE_ACC = REF_POINTS,
    CLAUSE_RSQRT,
    CLAUSE_DIV,
    CLAUSE_EXP,
    CLAUSE_LOG,
    CLAUSE_SIGMOID,
    CLAUSE_SINCOS,
    CLAUSE_ANGLE,
    CLAUSE_RESCALES,
    CLAUSE_FORM,
    CLAUSE_QUOTIENT,
    CLAUSE_FLUSH,
    CLAUSE_ARITH,
    CLAUSES
};
_Static_assert(CLAUSES <= 128, "a ref_set holds 128");

/* The clauses that name a function: where it is kept, whether it may be ieee, whether it takes a second number, and the ops
 * that it concerns. */
typedef struct {
    const char *name;
    size_t offset;
    bool ieee, more;
    const char *ops;
} function_row;

static const function_row functions[] = {
    {"rsqrt", offsetof(ref_numerics, rsqrt), true, false, "rmsnorm mla"},
    {"div", offsetof(ref_numerics, div), true, false,
     "rmsnorm gate mla_decode mla mla_prefill cross_entropy quant moe balance_loss mtp_accept mtp"},
    {"exp", offsetof(ref_numerics, exp), false, true, "mla_decode mla mla_prefill gate cross_entropy moe"},
    {"log", offsetof(ref_numerics, log), false, true, "mla_decode mla_prefill cross_entropy"},
    {"sigmoid", offsetof(ref_numerics, sigmoid), false, true, "gate swiglu experts moe"},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

enum { MAY, OUTPUT, STAGE }; /* the third column of points.def */

static const ref_point_row points[] = {
#define POINT(op, name, kind, meaning) {#op, #name, kind == OUTPUT, kind == STAGE, meaning},
#include "points.def"
#undef POINT
};

static const ref_quirk_row quirks[] = {
#define QUIRK(name, op, summary, evidence) {#name, #op, summary, evidence},
#include "quirks.def"
#undef QUIRK
};

const ref_point_row *ref_point(int i)
{
    return i >= 0 && i < REF_POINTS ? &points[i] : NULL;
}

const ref_quirk_row *ref_quirk(int i)
{
    return i >= 0 && i < REF_QUIRKS ? &quirks[i] : NULL;
}

/* What is assumed of a port that says nothing: a superset of what ordinary kernels do. */
static const ref_numerics defaults = {
    .acc = {.bits = 24, .truncates = true, .block = 1, .guard = 0, .fused = false, .promote_bits = 24},
    .rsqrt = {.rel = 4},
    .div = {.rel = 4},
    .exp = {.rel = 4, .more = 2},
    .log = {.rel = 4, .more = 8},
    .sigmoid = {.rel = 6, .more = 2},
    .sincos = 8,
    .rescales = -1,
    .flush = REF_FLUSH_DAZ,
    .arith = DSV3_F32,
};

static const char *const flush_names[] = {"none", "ftz", "daz"};
static const char *const form_names[] = {"any", "naive", "absorbed"};
static const char *const quotient_names[] = {"any", "exact", "div", "recip"};

/* The ops that a clause concerns which isn't a point or a function; NULL: all. */
static const struct {
    int clause;
    const char *name, *ops;
} choices[] = {
    {CLAUSE_SINCOS, "sincos", "rope mla"},
    {CLAUSE_ANGLE, "angle", "rope mla"},
    {CLAUSE_RESCALES, "rescales", "mla_decode mla_prefill mla cross_entropy"},
    {CLAUSE_FORM, "form", "mla"},
    {CLAUSE_QUOTIENT, "quotient", "quant"},
};
enum { CHOICES = sizeof choices / sizeof *choices };

/* Is op one of the words of the list? */
static bool named(const char *list, const char *op)
{
    size_t const n = strlen(op);
    for (const char *s = list; s; s = strchr(s, ' ') ? strchr(s, ' ') + 1 : NULL)
        if (!strncmp(s, op, n) && (s[n] == ' ' || !s[n])) return true;
    return false;
}

/* What a composition is made of: it names the points of its parts with a prefix. */
static const struct {
    const char *op, *prefix, *part;
} parts[] = {{"mtp", "self_attn.", "mla"}, {"mtp", "mlp.", "moe"}};
enum { PARTS = sizeof parts / sizeof *parts };

/* Is op, or a part of it, one of the words of the list? */
static bool concerned(const char *list, const char *op)
{
    for (int i = 0; i < PARTS; i++)
        if (!strcmp(parts[i].op, op) && named(list, parts[i].part)) return true;
    return named(list, op);
}

const char *ref_point_prefix(const char *op, int point)
{
    if (!strcmp(points[point].op, op)) return "";
    for (int i = 0; i < PARTS; i++)
        if (!strcmp(parts[i].op, op) && !strcmp(parts[i].part, points[point].op)) return parts[i].prefix;
    return NULL;
}

/* Is it an output of the op itself, not of a part? */
static bool is_output_of(const char *op, int point)
{
    return points[point].output && !strcmp(points[point].op, op);
}

/* Is this what the op calls the point? */
static bool is_called(const char *op, int point, const char *word)
{
    const char *const prefix = ref_point_prefix(op, point);
    size_t const length = prefix ? strlen(prefix) : 0;
    return prefix && !strncmp(word, prefix, length) && !strcmp(word + length, points[point].name);
}

/* The error of a parse, and where it goes. */
typedef struct {
    const char *op;
    ref_numerics *n;
    char *why;
    size_t cap;
} parser;

__attribute__((format(printf, 2, 3))) static bool refuse(const parser *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(p->why, p->cap, format, args);
    va_end(args);
    return false;
}

/* Is it a format of real numbers? */
static bool is_real(dsv3_dtype d)
{
    return d != DSV3_NONE && d != DSV3_I32 && d != DSV3_U8;
}

static bool whole_number(const char *text, long least, long most, long *out)
{
    char *end;
    long const v = strtol(text, &end, 10);
    if (!*text || *end || v < least || v > most) return false;
    *out = v;
    return true;
}

/* "key=value" of an acc clause. */
static bool parse_acc_key(const parser *p, const char *word)
{
    static const struct {
        const char *key;
        long least, most;
    } keys[] = {
        {"block", 1, 4096}, {"guard", 0, 255}, {"splits", 1, 1 << 20}, {"promote", 1, 1 << 20}, {"bits2", 2, 53}};
    ref_accumulator *const acc = &p->n->acc;
    if (!strcmp(word, "fused")) {
        acc->fused = true;
        return true;
    }
    const char *const equals = strchr(word, '=');
    for (size_t i = 0; equals && i < sizeof keys / sizeof *keys; i++) {
        long v;
        if (strncmp(word, keys[i].key, (size_t)(equals - word)) || keys[i].key[equals - word]) continue;
        if (!whole_number(equals + 1, keys[i].least, keys[i].most, &v))
            return refuse(p, "numerics: %s of acc is a whole number from %ld to %ld", word, keys[i].least,
                          keys[i].most);
        switch (i) {
        case 0: acc->block = (int)v; break;
        case 1: acc->guard = (int)v; break;
        case 2: acc->splits = v; break;
        case 3: acc->promote = v; break;
        case 4: acc->promote_bits = (int)v; break;
        }
        return true;
    }
    return refuse(p,
                  "numerics: '%s' is no part of acc; it takes BITS rn|rz, then fused, block=, guard=, splits=, "
                  "promote=, bits2=",
                  word);
}

static bool parse_acc(const parser *p, char **word, int words)
{
    long bits;
    if (words < 3 || !whole_number(word[1], 2, 53, &bits) || (strcmp(word[2], "rn") && strcmp(word[2], "rz")))
        return refuse(p, "numerics: acc needs BITS (2 to 53) and rn or rz, as in 'acc 24 rn fused'");
    ref_accumulator *const acc = &p->n->acc;
    acc->bits = (int)bits;
    acc->truncates = !strcmp(word[2], "rz");
    acc->guard = acc->truncates ? 0 : 255;
    for (int i = 3; i < words; i++)
        if (!parse_acc_key(p, word[i])) return false;
    p->n->declared |= (ref_set)1 << CLAUSE_ACC;
    return true;
}

static bool parse_function(const parser *p, char **word, int words, int which)
{
    const function_row *const row = &functions[which];
    ref_function f = {.ieee = row->ieee && words == 2 && !strcmp(word[1], "ieee")};
    double *const number[] = {&f.rel, &f.more};
    bool good = words == 2 || (words == 3 && row->more);
    for (int i = 1; good && i < words && !f.ieee; i++) {
        char *end;
        *number[i - 1] = strtod(word[i], &end);
        good = end != word[i] && !*end && *number[i - 1] >= 0 && *number[i - 1] <= 0x1p20;
    }
    if (!good)
        return refuse(p, "numerics: %s needs %sits relative error in units of 2^-24%s, as in '%s 4%s'", word[0],
                      row->ieee ? "'ieee' or " : "", row->more ? " and perhaps one number more" : "", word[0],
                      row->more ? " 2" : "");
    memcpy((char *)p->n + row->offset, &f, sizeof f);
    p->n->declared |= (ref_set)1 << (CLAUSE_RSQRT + which);
    return true;
}

/* A clause with one number. */
static bool parse_number(const parser *p, char **word, int words, double most, double *out, int clause)
{
    char *end = NULL;
    double const v = words == 2 ? strtod(word[1], &end) : -1;
    if (!end || end == word[1] || *end || !(v >= 0 && v <= most))
        return refuse(p, "numerics: %s needs one number from 0 to %g", word[0], most);
    *out = v;
    p->n->declared |= (ref_set)1 << clause;
    return true;
}

static bool parse_angle(const parser *p, char **word, int words)
{
    dsv3_dtype const f32 = words == 2 ? ref_dtype_of(word[1]) : DSV3_NONE;
    bool const f64 = words == 2 && !strcmp(word[1], "f64");
    if (!f64 && f32 != DSV3_F32) return refuse(p, "numerics: angle is f32 or f64");
    p->n->angle_f64 = f64;
    p->n->declared |= (ref_set)1 << CLAUSE_ANGLE;
    return true;
}

static bool parse_form(const parser *p, char **word, int words)
{
    for (int i = 0; words == 2 && i < 3; i++)
        if (!strcmp(word[1], form_names[i])) {
            p->n->form = (ref_form)i;
            p->n->declared |= (ref_set)1 << CLAUSE_FORM;
            return true;
        }
    return refuse(p, "numerics: form is naive, absorbed or any");
}

static bool parse_quotient(const parser *p, char **word, int words)
{
    for (int i = 0; words == 2 && i < 4; i++)
        if (!strcmp(word[1], quotient_names[i])) {
            p->n->quotient = (ref_quotient)i;
            p->n->declared |= (ref_set)1 << CLAUSE_QUOTIENT;
            return true;
        }
    return refuse(p, "numerics: quotient is any, exact, div or recip");
}

static bool parse_choice(const parser *p, char **word, int words)
{
    bool const flush = !strcmp(word[0], "flush");
    if (flush)
        for (int i = 0; words == 2 && i < 3; i++)
            if (!strcmp(word[1], flush_names[i])) {
                p->n->flush = (ref_flush)i;
                p->n->declared |= (ref_set)1 << CLAUSE_FLUSH;
                return true;
            }
    dsv3_dtype const d = words == 2 && !flush ? ref_dtype_of(word[1]) : DSV3_NONE;
    if (d == DSV3_F32 || d == DSV3_BF16) {
        p->n->arith = d;
        p->n->declared |= (ref_set)1 << CLAUSE_ARITH;
        return true;
    }
    return flush ? refuse(p, "numerics: flush is none, ftz or daz") : refuse(p, "numerics: arith is f32 or bf16");
}

static bool parse_point(const parser *p, char **word, int words, int point)
{
    ref_rounding *const r = &p->n->point[point];
    bool const output = is_output_of(p->op, point);
    bool const mode_ok = words == 3 || (words == 4 && (!strcmp(word[3], "rn") || !strcmp(word[3], "rz")));
    bool const must = words >= 3 && !strcmp(word[2], "must");
    bool const format_ok = words >= 3 && (!strcmp(word[1], "output") || is_real(ref_dtype_of(word[1])));
    if (!mode_ok || (!must && strcmp(word[2], "may")) || !format_ok)
        return refuse(p, "numerics: a rounding point needs FORMAT must|may [rn|rz], as in '%s bf16 must'", word[0]);
    if (output && !must) return refuse(p, "numerics: %s is an output, and outputs are always must", word[0]);
    *r = (ref_rounding){ref_dtype_of(word[1]), must, words == 4 && !strcmp(word[3], "rz")};
    p->n->declared |= (ref_set)1 << point;
    return true;
}

static void append(const parser *p, const char *prefix, const char *word)
{
    size_t const used = strlen(p->why); /* below cap */
    snprintf(p->why + used, p->cap - used, " %s%s", prefix, word);
}

/* Ops that add nothing up. */
static bool has_no_sum(const char *op)
{
    return named("rope swiglu embed quant", op);
}

static bool unknown_clause(const parser *p, const char *word)
{
    refuse(p, "numerics: '%.40s' is unknown to %s; known: acc flush arith", word, p->op);
    for (int i = 0; i < CHOICES; i++)
        if (concerned(choices[i].ops, p->op)) append(p, "", choices[i].name);
    for (int i = 0; i < FUNCTIONS; i++)
        if (concerned(functions[i].ops, p->op)) append(p, "", functions[i].name);
    for (int i = 0; i < REF_POINTS; i++)
        if (!strcmp(points[i].op, p->op)) append(p, "", points[i].name);
    for (int i = 0; i < PARTS; i++)
        if (!strcmp(parts[i].op, p->op)) append(p, parts[i].prefix, "POINT");
    return false;
}

static bool parse_rescales(const parser *p, char **word, int words)
{
    double n = 0;
    if (words == 2 && !strcmp(word[1], "any")) return p->n->declared |= (ref_set)1 << CLAUSE_RESCALES, true;
    bool const good = parse_number(p, word, words, 0x1p40, &n, CLAUSE_RESCALES);
    p->n->rescales = good ? (int64_t)n : 0;
    return good;
}

static bool parse_of_some_ops(const parser *p, char **word, int words, int clause)
{
    switch (clause) {
    case CLAUSE_SINCOS: return parse_number(p, word, words, 0x1p20, &p->n->sincos, CLAUSE_SINCOS);
    case CLAUSE_ANGLE: return parse_angle(p, word, words);
    case CLAUSE_RESCALES: return parse_rescales(p, word, words);
    case CLAUSE_QUOTIENT: return parse_quotient(p, word, words);
    default: return parse_form(p, word, words);
    }
}

static bool parse_clause(const parser *p, char *clause)
{
    char *word[16], *rest = NULL;
    int words = 0;
    for (char *w = strtok_r(clause, " \t\n", &rest); w; w = strtok_r(NULL, " \t\n", &rest)) {
        if (words == 16) return refuse(p, "numerics: a clause has at most 16 words");
        word[words++] = w;
    }
    if (words == 0) return true;
    if (!strcmp(word[0], "acc")) return parse_acc(p, word, words);
    for (int i = 0; i < FUNCTIONS; i++)
        if (!strcmp(word[0], functions[i].name) && concerned(functions[i].ops, p->op))
            return parse_function(p, word, words, i);
    for (int i = 0; i < CHOICES; i++)
        if (!strcmp(word[0], choices[i].name) && concerned(choices[i].ops, p->op))
            return parse_of_some_ops(p, word, words, choices[i].clause);
    if (!strcmp(word[0], "flush") || !strcmp(word[0], "arith")) return parse_choice(p, word, words);
    for (int i = 0; i < REF_POINTS; i++)
        if (is_called(p->op, i, word[0])) return parse_point(p, word, words, i);
    return unknown_clause(p, word[0]);
}

bool ref_numerics_parse(const char *op, const char *text, ref_numerics *out, char *why, size_t cap)
{
    char copy[REF_NUMERICS_CAP], *rest = NULL;
    parser const p = {op, out, why, cap};
    *out = defaults;
    if (!text) return true;
    if (strlen(text) >= sizeof copy) return refuse(&p, "numerics: longer than %zu characters", sizeof copy - 1);
    strcpy(copy, text);
    for (char *clause = strtok_r(copy, ";", &rest); clause; clause = strtok_r(NULL, ";", &rest))
        if (!parse_clause(&p, clause)) return false;
    return true;
}

static void print_acc(const ref_accumulator *a, char *text, size_t cap)
{
    int const natural_guard = a->truncates ? 0 : 255;
    int used = snprintf(text, cap, "acc %d %s", a->bits, a->truncates ? "rz" : "rn");
#define MORE(...) used += snprintf(text + used, used < (int)cap ? cap - (size_t)used : 0, __VA_ARGS__)
    if (a->fused) MORE(" fused");
    if (a->block != 1) MORE(" block=%d", a->block);
    if (a->guard != natural_guard) MORE(" guard=%d", a->guard);
    if (a->splits) MORE(" splits=%lld", (long long)a->splits);
    if (a->promote) MORE(" promote=%lld bits2=%d", (long long)a->promote, a->promote_bits);
#undef MORE
}

/* The shortest decimal that reads as v. */
static const char *number_text(double v, char *text, size_t cap)
{
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, cap, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    return text;
}

static void print_function(const function_row *row, const ref_numerics *n, char *text, size_t cap)
{
    char rel[32], more[32];
    ref_function f;
    memcpy(&f, (const char *)n + row->offset, sizeof f);
    number_text(f.rel, rel, sizeof rel);
    if (f.ieee)
        snprintf(text, cap, "%s ieee", row->name);
    else if (row->more)
        snprintf(text, cap, "%s %s %s", row->name, rel, number_text(f.more, more, sizeof more));
    else
        snprintf(text, cap, "%s %s", row->name, rel);
}

static void print_point(const char *op, int i, const ref_numerics *n, char *text, size_t cap)
{
    const ref_rounding *const r = &n->point[i];
    bool const output = is_output_of(op, i);
    snprintf(text, cap, "%s%s %s %s%s", ref_point_prefix(op, i), points[i].name,
             r->format ? ref_dtype_name(r->format) : "output", r->must || output ? "must" : "may",
             r->truncates ? " rz" : "");
}

static void print_clause(const char *op, int clause, const ref_numerics *n, char *text, size_t cap)
{
    char number[32];
    switch (clause) {
    case CLAUSE_ACC: print_acc(&n->acc, text, cap); return;
    case CLAUSE_RSQRT:
    case CLAUSE_DIV:
    case CLAUSE_EXP:
    case CLAUSE_LOG:
    case CLAUSE_SIGMOID: print_function(&functions[clause - CLAUSE_RSQRT], n, text, cap); return;
    case CLAUSE_SINCOS: snprintf(text, cap, "sincos %s", number_text(n->sincos, number, sizeof number)); return;
    case CLAUSE_ANGLE: snprintf(text, cap, "angle %s", n->angle_f64 ? "f64" : "f32"); return;
    case CLAUSE_RESCALES:
        if (n->rescales < 0)
            snprintf(text, cap, "rescales any");
        else
            snprintf(text, cap, "rescales %lld", (long long)n->rescales);
        return;
    case CLAUSE_FORM: snprintf(text, cap, "form %s", form_names[n->form]); return;
    case CLAUSE_QUOTIENT: snprintf(text, cap, "quotient %s", quotient_names[n->quotient]); return;
    case CLAUSE_FLUSH: snprintf(text, cap, "flush %s", flush_names[n->flush]); return;
    case CLAUSE_ARITH: snprintf(text, cap, "arith %s", ref_dtype_name(n->arith)); return;
    default: print_point(op, clause, n, text, cap);
    }
}

/* A choice isn't rounded. */
static bool is_decision(int point)
{
    return !strcmp(points[point].name, "topk_idx");
}

/* Does the clause say anything about this op? */
static bool concerns(const char *op, int clause)
{
    if (clause < REF_POINTS) return ref_point_prefix(op, clause) != NULL;
    if (clause >= CLAUSE_RSQRT && clause < CLAUSE_RSQRT + FUNCTIONS)
        return concerned(functions[clause - CLAUSE_RSQRT].ops, op);
    for (int i = 0; i < CHOICES; i++)
        if (choices[i].clause == clause) return concerned(choices[i].ops, op);
    return clause != CLAUSE_ACC || !has_no_sum(op);
}

void ref_numerics_print(const char *op, const ref_numerics *n, bool assumed_only, char *text, size_t cap)
{
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < CLAUSES; i++) {
        /* accumulator first, then the points in the order of the formula, then the rest */
        int const clause = i == 0 ? CLAUSE_ACC : i <= REF_POINTS ? i - 1 : i;
        char one[160];
        bool const undeclared_output = clause < REF_POINTS && (is_output_of(op, clause) || is_decision(clause));
        if (!concerns(op, clause) || (assumed_only && n->declared >> clause & 1)) continue;
        if (undeclared_output && !(n->declared >> clause & 1)) continue;
        print_clause(op, clause, n, one, sizeof one);
        used += (size_t)snprintf(text + used, cap - used, "%s%s", used ? "; " : "", one);
        if (used >= cap) return;
    }
}
