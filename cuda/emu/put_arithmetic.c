/* See put.h. */
#include "put.h"

#include "c_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* add, sub, mul, div of two floats, to nearest; fma of three. */
static bool put_float(const reader *r, const instruction *i)
{
    static const char *const names[] = {"add", "sub", "mul", "div"}, *const signs[] = {"+", "-", "*", "/"};
    const char *const type = type_of(i), *const sign = operator_of(i->part[0], names, signs, 4);
    const char *const suffix = strcmp(type, "f32") ? "" : "f";
    if (!is_float(type)) return false;
    refuse_modifiers(r, i, " rn ");
    if (sign)
        need(r, i, 3),
            put(r, i->operand[0], type, "%s %s %s", value(r, i->operand[1], type), sign, value(r, i->operand[2], type));
    else if (!strcmp(i->part[0], "fma"))
        need(r, i, 4), put(r, i->operand[0], type, "fma%s(%s, %s, %s)", suffix, value(r, i->operand[1], type),
                           value(r, i->operand[2], type), value(r, i->operand[3], type));
    else if (!strcmp(i->part[0], "sqrt"))
        need(r, i, 2), put(r, i->operand[0], type, "sqrt%s(%s)", suffix, value(r, i->operand[1], type));
    else if (!strcmp(i->part[0], "neg"))
        need(r, i, 2), put(r, i->operand[0], type, "-%s", value(r, i->operand[1], type));
    else if (!strcmp(i->part[0], "max") || !strcmp(i->part[0], "min"))
        need(r, i, 3), put(r, i->operand[0], type, "%s_of(%s, %s)", i->part[0], value(r, i->operand[1], type),
                           value(r, i->operand[2], type));
    else if (!strcmp(i->part[0], "abs"))
        need(r, i, 2), put(r, i->operand[0], type, "fabs%s(%s)", suffix, value(r, i->operand[1], type));
    else
        return false;
    return true;
}

/* mul.wide and mad.wide: of twice the width. */
static bool put_wide(const reader *r, const instruction *i)
{
    const char *const type = type_of(i);
    char twice[8];
    bool const adds = !strcmp(i->part[0], "mad");
    if (!has(i, "wide") || (!adds && strcmp(i->part[0], "mul"))) return false;
    snprintf(twice, sizeof twice, "%c%u", *type, width_of(type) * 16);
    need(r, i, 3 + adds);
    put(r, i->operand[0], twice, "(%s)%s * %s%s%s", c_type(r, twice), value(r, i->operand[1], type),
        value(r, i->operand[2], type), adds ? " + " : "", adds ? value(r, i->operand[3], twice) : "");
    return true;
}

/* In unsigned arithmetic, which wraps as the machine's does. */
static bool put_whole(const reader *r, const instruction *i)
{
    static const char *const names[] = {"add", "sub", "mul", "and", "or", "xor"}, *const signs[] = {"+", "-", "*",
                                                                                                    "&", "|", "^"};
    const char *const type = type_of(i), *const sign = operator_of(i->part[0], names, signs, 6);
    char unsigned_type[8];
    snprintf(unsigned_type, sizeof unsigned_type, "b%u", width_of(type) * 8);
    const char *const u = strcmp(type, "pred") ? unsigned_type : "pred";
    if (put_wide(r, i)) return true;
    refuse_modifiers(r, i, " lo ");
    if (sign)
        need(r, i, 3),
            put(r, i->operand[0], type, "%s %s %s", value(r, i->operand[1], u), sign, value(r, i->operand[2], u));
    else if (!strcmp(i->part[0], "mad"))
        need(r, i, 4), put(r, i->operand[0], type, "%s * %s + %s", value(r, i->operand[1], u),
                           value(r, i->operand[2], u), value(r, i->operand[3], u));
    else if (!strcmp(i->part[0], "not"))
        need(r, i, 2), put(r, i->operand[0], type, strcmp(type, "pred") ? "~%s" : "!%s", value(r, i->operand[1], u));
    else if (!strcmp(i->part[0], "neg"))
        need(r, i, 2), put(r, i->operand[0], type, "0 - %s", value(r, i->operand[1], u));
    else if (!strcmp(i->part[0], "max") || !strcmp(i->part[0], "min"))
        need(r, i, 3), put(r, i->operand[0], type, "%s %s %s ? %s : %s", value(r, i->operand[1], type),
                           i->part[0][1] == 'a' ? ">" : "<", value(r, i->operand[2], type),
                           value(r, i->operand[1], type), value(r, i->operand[2], type));
    else if (!strcmp(i->part[0], "bfi"))
        need(r, i, 5), put(r, i->operand[0], type, "inserted_bits(%s, %s, %s, %s, %u)", value(r, i->operand[1], u),
                           value(r, i->operand[2], u), value(r, i->operand[3], "u32"), value(r, i->operand[4], "u32"),
                           width_of(type) * 8);
    else if (!strcmp(i->part[0], "prmt") && i->parts == 2)
        need(r, i, 4), put(r, i->operand[0], type, "permuted_bytes(%s, %s, %s)", value(r, i->operand[1], u),
                           value(r, i->operand[2], u), value(r, i->operand[3], u));
    else if (!strcmp(i->part[0], "div") || !strcmp(i->part[0], "rem"))
        need(r, i, 3), put(r, i->operand[0], type, "%s_of_%s(%s, %s)", i->part[0], *type == 's' ? "signed" : "unsigned",
                           value(r, i->operand[1], type), value(r, i->operand[2], type));
    else
        return false;
    return true;
}

/* By so many bits or more everything is shifted out; an arithmetic shift leaves the sign. */
static void put_shift(const reader *r, const instruction *i)
{
    const char *const type = type_of(i), *const n = value(r, i->operand[2], "u32");
    uint32_t const width = width_of(type) * 8;
    need(r, i, 3);
    if (!strcmp(i->part[0], "shl"))
        put(r, i->operand[0], type, "%s < %u ? %s << %s : 0", n, width, value(r, i->operand[1], type), n);
    else if (*type == 's')
        put(r, i->operand[0], type, "%s >> (%s < %u ? %s : %u)", value(r, i->operand[1], type), n, width, n, width - 1);
    else
        put(r, i->operand[0], type, "%s < %u ? %s >> %s : 0", n, width, value(r, i->operand[1], type), n);
}

/* Of floats: nan, num, and the comparisons that are true of a NaN. */
static bool put_unordered(const reader *r, const instruction *i)
{
    static const char *const names[] = {"equ", "neu", "ltu", "leu", "gtu", "geu"}, *const signs[] = {"==", "!=", "<",
                                                                                                     "<=", ">",  ">="};
    const char *const type = type_of(i), *const sign = operator_of(i->part[1], names, signs, 6);
    bool const num = !strcmp(i->part[1], "num");
    if (i->parts != 3 || !is_float(type) || (!sign && !num && strcmp(i->part[1], "nan"))) return false;
    need(r, i, 3);
    const char *const a = value(r, i->operand[1], type), *const b = value(r, i->operand[2], type);
    if (sign)
        put(r, i->operand[0], "pred", "is_unordered(%s, %s) || %s %s %s", a, b, a, sign, b);
    else
        put(r, i->operand[0], "pred", "%sis_unordered(%s, %s)", num ? "!" : "", a, b);
    return true;
}

static void put_comparison(const reader *r, const instruction *i)
{
    if (put_unordered(r, i)) return;
    static const char *const names[] = {"eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs"},
                             *const signs[] = {"==", "!=", "<", "<=", ">", ">=", "<", "<=", ">", ">="};
    const char *const sign = operator_of(i->part[1], names, signs, 10), *const type = type_of(i);
    if (!sign || i->parts != 3) stop(r, "setp.%s isn't known", i->part[1]);
    need(r, i, 3);
    if (is_float(type) && !strcmp(i->part[1], "ne")) /* false of a NaN, which C's != is not */
        put(r, i->operand[0], "pred", "is_apart(%s, %s)", value(r, i->operand[1], type), value(r, i->operand[2], type));
    else
        put(r, i->operand[0], "pred", "%s %s %s", value(r, i->operand[1], type), sign, value(r, i->operand[2], type));
}

/* mov.b32 %r, {%a, %b}, mov.b32 {%a, %b}, %r, and of one register. */
static void put_move(const reader *r, instruction *i)
{
    const char *const type = type_of(i);
    bool const pack = *i->operand[1] == '{', unpack = *i->operand[0] == '{';
    instruction *const half = calloc(1, sizeof *half);
    need(r, i, 2);
    if (pack || unpack) {
        char *const inner = i->operand[pack] + 1, bits[8];
        inner[strlen(inner) - 1] = 0;
        split_operands(r, half, inner);
        uint32_t const width = width_of(type) * 8 / (uint32_t)half->operands;
        snprintf(bits, sizeof bits, "b%u", width);
        if (pack) printf("%s = 0", c_name(i->operand[0]));
        for (int k = 0; k < half->operands; k++)
            if (pack)
                printf(" | (%s)%s << %u", c_bits(r, type), value(r, half->operand[k], bits), width * (uint32_t)k);
            else
                put(r, half->operand[k], bits, "%s >> %u", value(r, i->operand[1], type), width * (uint32_t)k);
        if (pack) puts(";");
    } else
        put(r, i->operand[0], type, "%s", value(r, i->operand[1], type));
    free(half);
}

static void put_conversion(const reader *r, const instruction *i)
{
    const char *const from = type_of(i), *const to = i->part[i->parts - 2];
    const char *const v = strcmp(from, "bf16") ? value(r, i->operand[1], from) : "";
    need(r, i, 2);
    for (int p = 1; p + 2 < i->parts; p++)
        if (strcmp(i->part[p], "rn")) stop(r, "cvt: .%s isn't known", i->part[p]);
    if (!strcmp(to, "bf16") && !strcmp(from, "f32"))
        put(r, i->operand[0], "b16", "bf16_of(%s)", v);
    else if (is_float(from) && !is_float(to))
        stop(r, "cvt.%s.%s isn't known", to, from);
    else if (!strcmp(from, "bf16") || !strcmp(to, "f16") || !strcmp(from, "f16"))
        stop(r, "cvt.%s.%s isn't known", to, from);
    else
        put(r, i->operand[0], to, "(%s)%s", c_type(r, to), v);
}

static const char *direction_of(const instruction *i)
{
    return has(i, "rz") ? "FE_TOWARDZERO" : has(i, "rm") ? "FE_DOWNWARD" : has(i, "rp") ? "FE_UPWARD" : NULL;
}

static bool put_directed(const reader *r, const instruction *i)
{
    static const char *const names[] = {"add", "sub", "mul", "fma"}, *const kinds[] = {"DIRECTED_ADD", "DIRECTED_ADD",
                                                                                       "DIRECTED_MUL", "DIRECTED_FMA"};
    const char *const type = type_of(i), *const direction = direction_of(i),
                      *const kind = operator_of(i->part[0], names, kinds, 4);
    if (!is_float(type) || !direction || !kind) return false;
    bool const three = !strcmp(i->part[0], "fma");
    need(r, i, 3 + three);
    put(r, i->operand[0], type, "directed_%s(%s, %s, %s, %s%s, %s)", type, direction, kind,
        value(r, i->operand[1], type), strcmp(i->part[0], "sub") ? "" : "-", value(r, i->operand[2], type),
        three ? value(r, i->operand[3], type) : "0");
    return true;
}

static bool put_approximation(const reader *r, const instruction *i)
{
    static const char names[] = " ex2 lg2 rcp rsqrt sqrt sin cos tanh ";
    const char *const type = type_of(i), *const head = i->part[0];
    char word[40];
    snprintf(word, sizeof word, " %.30s ", head);
    if (!strcmp(head, "rcp") && has(i, "rn") && is_float(type))
        need(r, i, 2), put(r, i->operand[0], type, "1 / %s", value(r, i->operand[1], type));
    else if (!strcmp(type, "f64") && has(i, "approx") && (!strcmp(head, "rcp") || !strcmp(head, "rsqrt")))
        need(r, i, 2), put(r, i->operand[0], type, "upper_half(1 / %s(upper_half(%s)))", head[1] == 's' ? "sqrt" : "",
                           value(r, i->operand[1], type));
    else if (!strcmp(type, "f32") && has(i, "approx") && strstr(names, word))
        need(r, i, 2), put(r, i->operand[0], type, "approx_%s(%s)", head, value(r, i->operand[1], type));
    else if (!strcmp(type, "f32") && !strcmp(head, "div") && (has(i, "approx") || has(i, "full")))
        need(r, i, 3),
            put(r, i->operand[0], type, "%s / %s", value(r, i->operand[1], type), value(r, i->operand[2], type));
    else if (!strcmp(head, "copysign") && is_float(type))
        need(r, i, 3), put(r, i->operand[0], type, "copysign(%s, %s)", value(r, i->operand[2], type),
                           value(r, i->operand[1], type));
    else
        return false;
    return true;
}

/* cvt to a whole number, and to a whole float: .rni, .rzi, .rmi, .rpi. */
static bool put_rounding(const reader *r, const instruction *i, const char *to, const char *from)
{
    static const char *const names[] = {"rni", "rzi", "rmi", "rpi"}, *const functions[] = {"rint", "trunc", "floor",
                                                                                           "ceil"};
    const char *const f = i->parts == 4 ? operator_of(i->part[1], names, functions, 4) : NULL;
    if (!f || !is_float(from)) return false;
    const char *const v = value(r, i->operand[1], from);
    if (is_float(to))
        put(r, i->operand[0], to, "%s(%s)", f, v);
    else
        put(r, i->operand[0], to, "clamped_%s(%s(%s), %u)", *to == 's' ? "signed" : "unsigned", f, v, width_of(to) * 8);
    return true;
}

static bool is_half(const char *type)
{
    return !strcmp(type, "f16") || !strcmp(type, "bf16");
}

/* A register of a half format, as a double; and back. */
static const char *half_value(const reader *r, const char *operand, const char *type)
{
    static char text[4][700];
    static int next;
    char *const to = text[next = (next + 1) % 4];
    snprintf(to, sizeof *text, "%s(%s)", *type == 'b' ? "of_bf16" : "of_half", value(r, operand, "b16"));
    return to;
}

static const char *half_maker(const char *type)
{
    return *type == 'b' ? "bf16_of_double" : "half_of";
}

static bool put_conversion_of_floats(const reader *r, const instruction *i)
{
    if (strcmp(i->part[0], "cvt") || i->parts < 3) return false;
    const char *const from = type_of(i), *const to = i->part[i->parts - 2];
    bool const plain = i->parts == 3, nearest = i->parts == 4 && has(i, "rn");
    if (put_rounding(r, i, to, from)) return true;
    if (plain && is_float(from) && !strcmp(from, to))
        need(r, i, 2), put(r, i->operand[0], to, "%s", value(r, i->operand[1], from));
    else if (plain && is_half(from) && is_float(to))
        need(r, i, 2), put(r, i->operand[0], to, "%s", half_value(r, i->operand[1], from));
    else if (nearest && is_float(from) && is_half(to) && strcmp(from, "f64"))
        need(r, i, 2), put(r, i->operand[0], "b16", "%s(%s)", half_maker(to), value(r, i->operand[1], from));
    else if (nearest && !strcmp(from, "f32") && (!strcmp(to, "bf16x2") || !strcmp(to, "f16x2")))
        need(r, i, 3), put(r, i->operand[0], "b32", "(uint32_t)%s(%s) << 16 | %s(%s)", half_maker(to),
                           value(r, i->operand[1], from), half_maker(to), value(r, i->operand[2], from));
    else
        return false;
    return true;
}

/* add, sub, mul, fma, neg, abs of f16 and bf16, and of two at once. */
static bool put_halves(const reader *r, const instruction *i)
{
    const char *const type = type_of(i), *const head = i->part[0], *const make = half_maker(type);
    bool const two = !strcmp(type, "f16x2") || !strcmp(type, "bf16x2");
    char word[40], a[3][700];
    snprintf(word, sizeof word, " %.30s ", head);
    if ((!two && !is_half(type)) || !strstr(" add sub mul fma neg abs ", word)) return false;
    refuse_modifiers(r, i, " rn ");
    int const n = !strcmp(head, "fma") ? 3 : *head == 'n' || !strcmp(head, "abs") ? 1 : 2;
    need(r, i, n + 1);
    printf("{ %s out = 0; ", two ? "uint32_t" : "uint16_t");
    for (int k = 0; k < 1 + two; k++) {
        for (int o = 0; o < n; o++)
            snprintf(a[o], sizeof *a, "%s((uint16_t)(%s >> %d))", *type == 'b' ? "of_bf16" : "of_half",
                     value(r, i->operand[o + 1], two ? "b32" : "b16"), 16 * k);
        printf("out |= (uint32_t)");
        if (n == 3)
            printf("%s(odd_fma(%s, %s, %s))", make, a[0], a[1], a[2]);
        else if (n == 1)
            printf("%s(%s(%s))", make, *head == 'n' ? "-" : "fabsf", a[0]);
        else if (*head == 'm')
            printf("%s((double)%s * %s)", make, a[0], a[1]);
        else
            printf("%s(odd_fma(1, %s, %s%s))", make, a[0], *head == 's' ? "-" : "", a[1]);
        printf(" << %d; ", 16 * k);
    }
    printf("%s = out; }\n", c_name(i->operand[0]));
    return true;
}

static bool put_bits(const reader *r, const instruction *i)
{
    const char *const type = type_of(i), *const head = i->part[0];
    uint32_t const width = width_of(type) * 8;
    char u[8];
    snprintf(u, sizeof u, "u%u", width);
    if (!strcmp(head, "abs") && *type == 's')
        need(r, i, 2), put(r, i->operand[0], type, "%s < 0 ? 0 - %s : %s", value(r, i->operand[1], type),
                           value(r, i->operand[1], u), value(r, i->operand[1], u));
    else if (!strcmp(head, "popc"))
        need(r, i, 2), put(r, i->operand[0], "u32", "__builtin_popcountll(%s)", value(r, i->operand[1], u));
    else if (!strcmp(head, "clz") && width == 64)
        need(r, i, 2), put(r, i->operand[0], "u32", "%s ? __builtin_clzll(%s) : 64", value(r, i->operand[1], u),
                           value(r, i->operand[1], u));
    else if (!strcmp(head, "sad") && i->parts == 2)
        need(r, i, 4), put(r, i->operand[0], type, "(%s > %s ? %s - %s : %s - %s) + %s", value(r, i->operand[1], type),
                           value(r, i->operand[2], type), value(r, i->operand[1], u), value(r, i->operand[2], u),
                           value(r, i->operand[2], u), value(r, i->operand[1], u), value(r, i->operand[3], u));
    else if (!strcmp(head, "dp4a") && i->parts == 3)
        need(r, i, 4), put(r, i->operand[0], "b32", "four_products(%s, %s, %s, %s, %s)", value(r, i->operand[1], u),
                           value(r, i->operand[2], u), value(r, i->operand[3], u),
                           *i->part[1] == 's' ? "true" : "false", *type == 's' ? "true" : "false");
    else if (!strcmp(head, "clz") && width == 32)
        need(r, i, 2), put(r, i->operand[0], "u32", "leading_zeros(%s)", value(r, i->operand[1], u));
    else if (!strcmp(head, "brev") && width == 32)
        need(r, i, 2), put(r, i->operand[0], type, "reversed_bits(%s)", value(r, i->operand[1], u));
    else if ((!strcmp(head, "mul") || !strcmp(head, "mad")) && i->parts == 3 && has(i, "hi"))
        need(r, i, 3 + (head[1] == 'a')),
            put(r, i->operand[0], type, "(%s)((%s)%s * %s >> %u) + %s", c_type(r, u),
                *type == 's' ? "__int128" : "unsigned __int128", value(r, i->operand[1], type),
                value(r, i->operand[2], type), width, head[1] == 'a' ? value(r, i->operand[3], u) : "0");
    else if (!strcmp(head, "bfe"))
        need(r, i, 4),
            put(r, i->operand[0], type, "extracted_bits(%s, %s, %s, %u, %s)", value(r, i->operand[1], u),
                value(r, i->operand[2], "u32"), value(r, i->operand[3], "u32"), width, *type == 's' ? "true" : "false");
    else if (!strcmp(head, "shf") && i->parts == 4 && has(i, "wrap"))
        need(r, i, 4), put(r, i->operand[0], type, "funnel_%s(%s, %s, %s & 31)", has(i, "l") ? "left" : "right",
                           value(r, i->operand[1], u), value(r, i->operand[2], u), value(r, i->operand[3], "u32"));
    else if (!strcmp(head, "bfind") && width == 32 && *type == 'u')
        need(r, i, 2), put(r, i->operand[0], type,
                           has(i, "shiftamt") ? "%s ? leading_zeros(%s) : ~0u" : "%s ? 31 - leading_zeros(%s) : ~0u",
                           value(r, i->operand[1], u), value(r, i->operand[1], u));
    else if (!strcmp(head, "lop3") && i->parts == 2)
        need(r, i, 5), put(r, i->operand[0], type, "logic_of_three(%s, %s, %s, %s)", value(r, i->operand[1], u),
                           value(r, i->operand[2], u), value(r, i->operand[3], u), value(r, i->operand[4], "u32"));
    else
        return false;
    return true;
}

/* One register of another. */
static bool put_choice(const reader *r, instruction *i)
{
    const char *const head = i->part[0];
    if (!strcmp(head, "mov"))
        put_move(r, i);
    else if (!strcmp(head, "selp"))
        need(r, i, 4), put(r, i->operand[0], type_of(i), "%s ? %s : %s", value(r, i->operand[3], "pred"),
                           value(r, i->operand[1], type_of(i)), value(r, i->operand[2], type_of(i)));
    else if (!strcmp(head, "setp"))
        put_comparison(r, i);
    else if (!strcmp(head, "shl") || !strcmp(head, "shr"))
        put_shift(r, i);
    else
        return false;
    return true;
}

bool put_arithmetic(const reader *r, instruction *i)
{
    if (!strcmp(i->part[0], "cvt")) return put_conversion_of_floats(r, i) || (put_conversion(r, i), true);
    if (put_directed(r, i) || put_approximation(r, i) || put_halves(r, i) || put_bits(r, i) || put_choice(r, i))
        return true;
    return is_float(type_of(i)) ? put_float(r, i) : put_whole(r, i);
}
