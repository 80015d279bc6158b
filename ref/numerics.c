/* Declared arithmetic: text to struct. Grammar: docs/numerics.md, section "Declaring arithmetic". */
#include "clauses.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* The arithmetic that is assumed of a port that declares nothing: it covers what ordinary kernels do. */
static const ref_numerics defaults = {
    .acc = {.bits = 24, .rounding = REF_RZ, .block = 1, .guard = 0, .fused = false, .promote_bits = 24},
    .rsqrt = {.rel = 4},
    .div = {.rel = 4},
    .exp = {.rel = 4, .more = 2},
    .log = {.rel = 4, .more = 8},
    .sigmoid = {.rel = 6, .more = 2},
    .sincos = 8,
    .frequency = -1,
    .rescales = -1,
    .parts = -1,
    .flush = REF_FLUSH_DAZ,
    .arith = DSV3_F32,
};

/* The largest error of a function that a declaration may state, in units of 2^-24: 2^-10. A wider one excuses mistakes:
 * no mscale is a few percent of a score, no YaRN a sixteenth of a turn. */
static const double most_error = 0x1p14;

enum { MOST_WORDS = 16 }; /* of a clause */

/* A parse in progress: whose declaration, where it goes, and where an error goes. */
typedef struct {
    const char *op;
    ref_numerics *n;
    char *why;
    size_t cap;
    const ref_unit_row **unit; /* the one that acc names, or NULL */
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

/* "BITS rn|rz|rd", and any keys. */
static bool parse_acc_words(const parser *p, char **word, int words)
{
    ref_accumulator *const acc = &p->n->acc;
    long bits;
    int direction = 0;
    while (words >= 2 && direction < 3 && strcmp(word[1], direction_names[direction])) direction++;
    if (words < 2 || direction == 3 || !whole_number(word[0], 2, 53, &bits))
        return refuse(p,
                      "numerics: acc needs BITS (2 to 53) and rn, rz or rd, as in 'acc 24 rn fused'; or a unit, as in "
                      "'acc hopper.f8' (docs/numerics.md lists them)");
    acc->bits = (int)bits;
    acc->rounding = (ref_direction)direction;
    acc->guard = acc->rounding == REF_RN ? 255 : 0;
    for (int i = 2; i < words; i++)
        if (!parse_acc_key(p, word[i])) return false;
    return true;
}

static int split_words(char *text, char **word, int most)
{
    char *rest = NULL;
    int words = 0;
    for (char *w = strtok_r(text, " \t\n", &rest); w; w = strtok_r(NULL, " \t\n", &rest)) {
        if (words == most) return most + 1;
        word[words++] = w;
    }
    return words;
}

/* A unit's own words, then those that say how its sums are split and promoted. */
static bool parse_unit(const parser *p, const ref_unit_row *unit, char **word, int words)
{
    char text[80], *own[MOST_WORDS];
    strcpy(text, unit->acc);
    bool good = parse_acc_words(p, own, split_words(text, own, MOST_WORDS));
    bool const promotes = p->n->acc.promote > 0;
    for (int i = 0; good && i < words; i++) {
        bool const splits = !strncmp(word[i], "splits=", 7);
        bool const promote = !strncmp(word[i], "promote=", 8) || !strncmp(word[i], "bits2=", 6);
        if (!splits && !(promote && !promotes))
            return refuse(p, "numerics: '%s' may not follow %s, which is 'acc %s'", word[i], unit->name, unit->acc);
        good = parse_acc_key(p, word[i]);
    }
    return good;
}

static bool parse_acc(const parser *p, char **word, int words)
{
    const ref_unit_row *const unit = words > 1 ? unit_called(word[1]) : NULL;
    *p->unit = unit;
    p->n->acc = defaults.acc;
    bool const good = unit ? parse_unit(p, unit, word + 2, words - 2) : parse_acc_words(p, word + 1, words - 1);
    if (good) ref_add(&p->n->declared, CLAUSE_ACC);
    return good;
}

static bool parse_function(const parser *p, char **word, int words, int clause)
{
    const function_row *const row = clause_function(clause);
    ref_function f = {.ieee = row->ieee && words == 2 && !strcmp(word[1], "ieee")};
    double *const number[] = {&f.rel, &f.more};
    bool good = words == 2 || (words == 3 && row->more);
    for (int i = 1; good && i < words && !f.ieee; i++) {
        char *end;
        *number[i - 1] = strtod(word[i], &end);
        good = end != word[i] && !*end && *number[i - 1] >= 0 && *number[i - 1] <= most_error;
    }
    bool const way = clause == CLAUSE_RSQRT && words == 2 && (!strcmp(word[1], "recip") || !strcmp(word[1], "root"));
    if (clause == CLAUSE_RSQRT)
        p->n->root = !way ? REF_ROOT_ANY : !strcmp(word[1], "root") ? REF_ROOT_DIVIDED : REF_ROOT_RECIP;
    if (way) f = (ref_function){.ieee = good = true};
    if (!good)
        return refuse(p, "numerics: %s needs %sits relative error in units of 2^-24%s, at most %g, as in '%s 4%s'",
                      word[0],
                      clause == CLAUSE_RSQRT ? "'ieee', 'recip', 'root' or "
                      : row->ieee            ? "'ieee' or "
                                             : "",
                      row->more ? " and perhaps one number more" : "", most_error, word[0], row->more ? " 2" : "");
    memcpy((char *)p->n + row->offset, &f, sizeof f);
    ref_add(&p->n->declared, clause);
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
    ref_add(&p->n->declared, clause);
    return true;
}

static bool parse_angle(const parser *p, char **word, int words)
{
    dsv3_dtype const format = words == 2 || words == 3 ? ref_dtype_of(word[1]) : DSV3_NONE;
    char *end = NULL;
    double const units = words == 3 ? strtod(word[2], &end) : -1;
    bool const counted = words != 3 || (end != word[2] && !*end && units >= 0 && units <= most_error);
    if ((format != DSV3_F32 && format != DSV3_F64) || !counted)
        return refuse(p,
                      "numerics: angle is f32 or f64, and perhaps the relative error of a frequency in units of that "
                      "format, at most %g, as in 'angle f32 28'",
                      most_error);
    p->n->angle_f64 = format == DSV3_F64;
    p->n->frequency = units;
    ref_add(&p->n->declared, CLAUSE_ANGLE);
    return true;
}

static bool parse_form(const parser *p, char **word, int words)
{
    for (int i = 0; words == 2 && i < 3; i++)
        if (!strcmp(word[1], form_names[i])) {
            p->n->form = (ref_form)i;
            ref_add(&p->n->declared, CLAUSE_FORM);
            return true;
        }
    return refuse(p, "numerics: form is naive, absorbed or any");
}

static bool parse_quotient(const parser *p, char **word, int words)
{
    for (int i = 0; words == 2 && i < 4; i++)
        if (!strcmp(word[1], quotient_names[i])) {
            p->n->quotient = (ref_quotient)i;
            ref_add(&p->n->declared, CLAUSE_QUOTIENT);
            return true;
        }
    return refuse(p, "numerics: quotient is any, exact, div or recip");
}

static bool parse_scaled(const parser *p, char **word, int words)
{
    for (int i = 0; words == 2 && i < 3; i++)
        if (!strcmp(word[1], scaled_names[i])) {
            p->n->scaled = (ref_scaled)i;
            ref_add(&p->n->declared, CLAUSE_SCALED);
            return true;
        }
    return refuse(p, "numerics: scaled is q, scores or any");
}

static bool parse_flush(const parser *p, char **word, int words)
{
    for (int i = 0; words == 2 && i < 3; i++)
        if (!strcmp(word[1], flush_names[i])) {
            p->n->flush = (ref_flush)i;
            ref_add(&p->n->declared, CLAUSE_FLUSH);
            return true;
        }
    return refuse(p, "numerics: flush is none, ftz or daz");
}

/* A format of elementwise arithmetic. */
static bool arithmetic(const char *word, dsv3_dtype *out)
{
    *out = ref_dtype_of(word);
    return *out == DSV3_F32 || *out == DSV3_BF16 || *out == DSV3_F64;
}

static void append(const parser *p, const char *prefix, const char *word)
{
    size_t const used = strlen(p->why); /* below cap */
    snprintf(p->why + used, p->cap - used, " %s%s", prefix, word);
}

/* "norm=FORMAT" and the like. */
static bool parse_piece(const parser *p, const char *word)
{
    for (int i = 0; i < REF_PIECES; i++) {
        size_t const length = strlen(piece_names[i]);
        if (strncmp(word, piece_names[i], length) || word[length] != '=' || !has_piece(p->op, (ref_piece)i)) continue;
        return arithmetic(word + length + 1, &p->n->arith_of[i]) ||
               refuse(p, "numerics: %s of arith is f32, bf16 or f64", piece_names[i]);
    }
    refuse(p, "numerics: '%.40s' is no part of arith; it takes f32, bf16 or f64, then", word);
    for (int i = 0, known = 0; i <= REF_PIECES; i++)
        if (i < REF_PIECES && has_piece(p->op, (ref_piece)i))
            append(p, piece_names[i], "="), known++;
        else if (i == REF_PIECES && !known)
            append(p, "", "nothing");
    return false;
}

static bool parse_arith(const parser *p, char **word, int words)
{
    for (int i = 0; i < REF_PIECES; i++) p->n->arith_of[i] = DSV3_NONE;
    if (words < 2 || !arithmetic(word[1], &p->n->arith)) return refuse(p, "numerics: arith is f32, bf16 or f64");
    for (int i = 2; i < words; i++)
        if (!parse_piece(p, word[i])) return false;
    ref_add(&p->n->declared, CLAUSE_ARITH);
    return true;
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
    ref_add(&p->n->declared, point);
    return true;
}

/* An output that the port doesn't make. */
static bool parse_without(const parser *p, char **word, int words)
{
    unsigned const optional = ref_optional(p->op);
    for (int bit = 0; words == 2 && bit < REF_WITHOUT; bit++)
        if (optional >> bit & 1 && !strcmp(word[1], ref_without_name(bit))) return p->n->without |= 1u << bit, true;
    if (!optional) return refuse(p, "numerics: %s has no output that a port may be without", p->op);
    return refuse(p, "numerics: of %s a port may be without %s alone, as in 'without %s'", p->op,
                  ref_without_name(optional != REF_LSE), ref_without_name(optional != REF_LSE));
}

static bool unknown_clause(const parser *p, const char *word)
{
    refuse(p, "numerics: '%.40s' is unknown to %s; known: acc flush arith", word, p->op);
    for (int i = CLAUSE_SINCOS; i <= CLAUSE_PARTS; i++)
        if (clause_concerns(p->op, i)) append(p, "", clause_name(i));
    for (int i = CLAUSE_RSQRT; i <= CLAUSE_SIGMOID; i++)
        if (clause_concerns(p->op, i)) append(p, "", clause_name(i));
    for (int i = 0; i < REF_POINTS; i++)
        if (!strcmp(ref_point(i)->op, p->op)) append(p, "", clause_name(i));
    for (const part_row *part = op_parts; part->op; part++)
        if (!strcmp(part->op, p->op)) append(p, part->prefix, "POINT");
    if (ref_optional(p->op)) append(p, "", "without");
    return false;
}

static bool parse_rescales(const parser *p, char **word, int words)
{
    double n = 0;
    if (words == 2 && !strcmp(word[1], "any")) return ref_add(&p->n->declared, CLAUSE_RESCALES), true;
    bool const good = parse_number(p, word, words, 0x1p40, &n, CLAUSE_RESCALES);
    p->n->rescales = good ? (int64_t)n : 0;
    return good;
}

static bool parse_parts(const parser *p, char **word, int words)
{
    long n = -1;
    if (words != 2 || (strcmp(word[1], "any") && !whole_number(word[1], 1, 1L << 40, &n)))
        return refuse(p, "numerics: parts is any, or a whole number of 1 or more");
    p->n->parts = n;
    ref_add(&p->n->declared, CLAUSE_PARTS);
    return true;
}

static bool parse_words(const parser *p, char **word, int words)
{
    int const clause = clause_called(p->op, word[0]);
    if (!strcmp(word[0], "without")) return parse_without(p, word, words);
    switch (clause) {
    case CLAUSE_ACC: return parse_acc(p, word, words);
    case CLAUSE_RSQRT:
    case CLAUSE_DIV:
    case CLAUSE_EXP:
    case CLAUSE_LOG:
    case CLAUSE_SIGMOID: return parse_function(p, word, words, clause);
    case CLAUSE_SINCOS: return parse_number(p, word, words, most_error, &p->n->sincos, CLAUSE_SINCOS);
    case CLAUSE_ANGLE: return parse_angle(p, word, words);
    case CLAUSE_RESCALES: return parse_rescales(p, word, words);
    case CLAUSE_FORM: return parse_form(p, word, words);
    case CLAUSE_QUOTIENT: return parse_quotient(p, word, words);
    case CLAUSE_SCALED: return parse_scaled(p, word, words);
    case CLAUSE_PARTS: return parse_parts(p, word, words);
    case CLAUSE_FLUSH: return parse_flush(p, word, words);
    case CLAUSE_ARITH: return parse_arith(p, word, words);
    case CLAUSES: return unknown_clause(p, word[0]);
    default: return parse_point(p, word, words, clause);
    }
}

static bool parse_clause(const parser *p, char *clause)
{
    char *word[MOST_WORDS];
    int const words = split_words(clause, word, MOST_WORDS);
    if (words > MOST_WORDS) return refuse(p, "numerics: a clause has at most %d words", MOST_WORDS);
    return words == 0 || parse_words(p, word, words);
}

bool ref_numerics_parse(const char *op, const char *text, ref_numerics *out, char *why, size_t cap)
{
    char copy[REF_NUMERICS_CAP], *rest = NULL;
    const ref_unit_row *unit = NULL;
    parser const p = {op, out, why, cap, &unit};
    *out = defaults;
    if (!text) return true;
    if (strlen(text) >= sizeof copy) return refuse(&p, "numerics: longer than %zu characters", sizeof copy - 1);
    strcpy(copy, text);
    for (char *clause = strtok_r(copy, ";", &rest); clause; clause = strtok_r(NULL, ";", &rest))
        if (!parse_clause(&p, clause)) return false;
    if (unit && unit->flushes && out->flush == REF_FLUSH_NONE)
        return refuse(&p, "numerics: %s takes subnormal numbers for 0: declare flush daz, not none", unit->name);
    return true;
}
