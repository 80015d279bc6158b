/*
 * ptx2c FILE.ptx: the C of its kernels, a statement a statement, on standard output. An opcode or a feature that it doesn't know is
 * one sentence that names the line, and exit 2: nothing is left out in silence. Source: NVIDIA, PTX ISA 9.0.
 */
#include "ptx_text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names and types in C ---- */

/* Registers and labels: %rd12 -> r_rd12, $L__BB0_2 -> r__L__BB0_2 */
static const char *c_name(const char *name)
{
    static char text[8][400];
    static int next;
    char *const to = text[next = (next + 1) % 8];
    size_t n = 2;
    memcpy(to, "r_", 3);
    for (const char *s = name; *s && n + 1 < sizeof *text; s++)
        if (*s != '%') to[n++] = *s == '$' || *s == '.' ? '_' : *s;
    to[n] = 0;
    return to;
}

static bool has(const instruction *i, const char *part)
{
    for (int p = 1; p < i->parts; p++)
        if (!strcmp(i->part[p], part)) return true;
    return false;
}

static const char *type_of(const instruction *i)
{
    return i->part[i->parts - 1];
}

/* As C computes with it. */
static const char *c_type(const reader *r, const char *type)
{
    static const char *const of_sign[2][4] = {{"uint8_t", "uint16_t", "uint32_t", "uint64_t"},
                                              {"int8_t", "int16_t", "int32_t", "int64_t"}};
    uint32_t const bytes = width_of(type);
    if (!strcmp(type, "pred")) return "bool";
    if (!strcmp(type, "f32")) return "float";
    if (!strcmp(type, "f64")) return "double";
    if (!bytes) stop(r, "type .%s isn't known", type);
    return of_sign[*type == 's'][bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3];
}

/* What a register of that width is. */
static const char *c_bits(const reader *r, const char *type)
{
    char bits[8];
    if (!strcmp(type, "pred")) return "bool";
    snprintf(bits, sizeof bits, "b%u", width_of(type) * 8);
    return c_type(r, bits);
}

static bool is_float(const char *type)
{
    return !strcmp(type, "f32") || !strcmp(type, "f64");
}

static const char *special(const char *name)
{
    static char text[40];
    static const char *const kinds[] = {"tid", "ntid", "ctaid", "nctaid"};
    for (int k = 0; k < 4; k++) {
        size_t const n = strlen(kinds[k]);
        if (strncmp(name + 1, kinds[k], n) || name[n + 1] != '.' || !strchr("xyz", name[n + 2]) || name[n + 3])
            continue;
        snprintf(text, sizeof text, "machine_place(m)->%s[%d]", kinds[k], name[n + 2] - 'x');
        return text;
    }
    return NULL;
}

/* An operand as a value of a type; in two buffers by turns. */
static const char *value(const reader *r, const char *operand, const char *type)
{
    static char text[8][600];
    static int next;
    char *const to = text[next = (next + 1) % 8];
    const char *const place = *operand == '%' ? special(operand) : NULL;
    bool const negated = *operand == '!', number = isdigit((unsigned char)*operand) || *operand == '-';
    const symbol *const in_shared = find(&r->shared, operand);
    const symbol *const array = in_shared ? in_shared : find(&r->param, operand);
    if (place)
        snprintf(to, sizeof *text, "(%s)%s", c_type(r, type), place);
    else if (number && !strncmp(operand, "0f", 2))
        snprintf(to, sizeof *text, is_float(type) ? "of_bits_f32(0x%su)" : "0x%su", operand + 2);
    else if (number && !strncmp(operand, "0d", 2))
        snprintf(to, sizeof *text, is_float(type) ? "of_bits_f64(0x%sull)" : "0x%sull", operand + 2);
    else if (number)
        snprintf(to, sizeof *text, "(%s)%s%s", c_type(r, type), operand, "ll");
    else if (array && array->size)
        snprintf(to, sizeof *text, "(%s)%uu", c_type(r, type), array->offset);
    else if (array)
        snprintf(to, sizeof *text, "(%s)machine_dynamic(m)", c_type(r, type));
    else if (find(&r->local, operand) || find(&r->module, operand))
        snprintf(to, sizeof *text, "(uint64_t)(uintptr_t)%s", c_name(operand));
    else if (*operand != '%' && !negated && !find(&r->bare, operand))
        stop(r, "operand '%s' isn't known", operand);
    else if (is_float(type))
        snprintf(to, sizeof *text, "of_bits_%s(%s)", type, c_name(operand));
    else
        snprintf(to, sizeof *text, "%s(%s)%s", negated ? "!" : "", c_type(r, type), c_name(operand + negated));
    return to;
}

/* ---- statements ---- */

__attribute__((format(printf, 4, 5))) static void put(const reader *r, const char *to, const char *type,
                                                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (is_float(type))
        printf("%s = bits_of_%s(", c_name(to), type);
    else
        printf("%s = (%s)(", c_name(to), c_bits(r, type));
    vprintf(format, args);
    puts(");");
    va_end(args);
}

static const char *operator_of(const char *head, const char *const names[], const char *const signs[], int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(head, names[i])) return signs[i];
    return NULL;
}

static void refuse_modifiers(const reader *r, const instruction *i, const char *allowed)
{
    for (int p = 1; p + 1 < i->parts; p++) {
        char word[40];
        snprintf(word, sizeof word, " %s ", i->part[p]);
        if (!strstr(allowed, word)) stop(r, "%s: .%s isn't known", i->part[0], i->part[p]);
    }
}

static void need(const reader *r, const instruction *i, int operands)
{
    if (i->operands != operands) stop(r, "%s has %d operands, %d are known", i->part[0], i->operands, operands);
}

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

/* "[%rd1+8]", "[name+4]", "[name]": C's value of the address in a space. */
static const char *address(const reader *r, char *operand, bool *is_param)
{
    static char text[700];
    char *const inner = operand + 1, *const plus = strchr(operand, '+');
    inner[strlen(inner) - 1] = 0;
    if (plus) *plus = 0;
    long long const offset = plus ? strtoll(plus + 1, NULL, 10) : 0;
    const symbol *const param = find(&r->param, trimmed(inner)), *const shared = find(&r->shared, trimmed(inner));
    *is_param = param != NULL;
    if (shared && !shared->size)
        snprintf(text, sizeof text, "machine_dynamic(m) + %lld", offset);
    else if (param || shared)
        snprintf(text, sizeof text, "%lld", (long long)(param ? param : shared)->offset + offset);
    else if (find(&r->local, trimmed(inner)) || find(&r->module, trimmed(inner)))
        snprintf(text, sizeof text, "(uint64_t)(uintptr_t)%s + (uint64_t)(%lldll)", c_name(trimmed(inner)), offset);
    else if (*inner == '%')
        snprintf(text, sizeof text, "(uint64_t)%s + (uint64_t)(%lldll)", c_name(trimmed(inner)), offset);
    else
        stop(r, "address '%s' isn't known", inner);
    return text;
}

/* C's place of so many bytes that aren't shared: in an array of this file or thread, else in what was allocated. */
static void put_place(const reader *r, const instruction *i, const char *at, uint32_t bytes, bool write)
{
    bool const local = has(i, "local");
    const symbols *const arrays = local ? &r->local : &r->module;
    printf("{ uint64_t const to = %s; uint8_t *const at = ", at);
    for (int k = 0; k < arrays->count; k++)
        if (arrays->item[k].size >= bytes)
            printf("to - (uint64_t)(uintptr_t)%s <= %u ? (uint8_t *)(uintptr_t)to : ", c_name(arrays->item[k].name),
                   arrays->item[k].size - bytes);
    printf("(uint8_t *)machine_at(m, SPACE_GLOBAL, %s, %u, %s, %d);", local || has(i, "const") ? "0" : "to", bytes,
           write ? "true" : "false", r->line);
}

/* ld and st of one register or of two or four. */
static void put_access(const reader *r, instruction *i, bool write)
{
    const char *const type = type_of(i);
    char *const regs = i->operand[write], *const memory = i->operand[!write];
    instruction *const each = calloc(1, sizeof *each);
    bool is_param = false;
    need(r, i, 2);
    if (*memory != '[') stop(r, "%s: '%s' is no address", i->part[0], memory);
    const char *const at = address(r, memory, &is_param);
    if (*regs == '{') regs[strlen(regs) - 1] = 0;
    split_operands(r, each, regs + (*regs == '{'));
    for (int p = 1; p + 1 < i->parts; p++)
        if (!strstr(" param global shared local const nc v2 v4 volatile ", i->part[p]))
            stop(r, "%s: .%s isn't known", i->part[0], i->part[p]);
    bool const by_register = has(i, "param") && memory[1] == '%';
    bool const own = has(i, "local") || has(i, "const") || (has(i, "global") && r->module.count);
    if (write && has(i, "const")) stop(r, "a write to constants isn't known");
    if (write && has(i, "param")) stop(r, "a write to parameters isn't known");
    bool const generic = !is_param && !by_register && !own && !has(i, "global") && !has(i, "shared");
    if (is_param != (has(i, "param") && !by_register) || (generic && (r->module.count || r->local.count)))
        stop(r, "%s: an address that says nothing of its space isn't known", i->part[0]);
    uint32_t const one = width_of(type), all = one * (uint32_t)each->operands;
    if (is_param)
        printf("{ const uint8_t *const at = param + %s;", at);
    else if (by_register)
        printf("{ const uint8_t *const at = param + machine_param(m, %s, %u, %u, %d);", at, all, r->param.end, r->line);
    else if (own)
        put_place(r, i, at, all, write);
    else
        printf("{ uint8_t *const at = machine_at(m, SPACE_%s, %s, %u, %s, %d);",
               generic            ? "GENERIC"
               : has(i, "shared") ? "SHARED"
                                  : "GLOBAL",
               at, all, write ? "true" : "false", r->line);
    for (int k = 0; k < each->operands; k++)
        if (write)
            printf(" { %s const x = (%s)%s; memcpy(at + %u, &x, %u); }", c_bits(r, type), c_bits(r, type),
                   *each->operand[k] == '%' ? c_name(each->operand[k]) : value(r, each->operand[k], type),
                   one * (uint32_t)k, one);
        else
            printf(" { %s x; memcpy(&x, at + %u, %u); %s = (%s)x; }",
                   is_float(type) ? c_bits(r, type) : c_type(r, type), one * (uint32_t)k, one, c_name(each->operand[k]),
                   is_float(type) ? c_bits(r, type) : c_type(r, type));
    puts(" }");
    free(each);
}

/* atom.shared.add.u32 d, [a], b, which gives what was there; red.shared.add.u32 [a], b. Of whole numbers: what add.f32 does to
 * subnormal numbers depends on the space. */
static void put_atomic(const reader *r, instruction *i)
{
    static const char *const names[] = {"add", "and", "or", "xor", "exch", "min", "max"},
                             *const next[] = {"old + v", "old & v",           "old | v",          "old ^ v",
                                              "v",       "v < old ? v : old", "v > old ? v : old"};
    const char *const type = type_of(i), *const c = c_type(r, type), *of = NULL;
    bool const gives = !strcmp(i->part[0], "atom"), shared = has(i, "shared");
    bool is_param = false;
    need(r, i, 2 + gives);
    for (int p = 1; p + 1 < i->parts; p++) {
        const char *const found = operator_of(i->part[p], names, next, 7);
        if (found) of = found;
        if (!found && !strstr(" global shared relaxed acq_rel cta gpu sys ", i->part[p]))
            stop(r, "%s: .%s isn't known", i->part[0], i->part[p]);
    }
    if (!of || is_float(type) || shared == has(i, "global")) stop(r, "this %s isn't known", i->part[0]);
    const char *const at = address(r, i->operand[gives], &is_param);
    printf("{ %s old, v = %s; uint8_t *const at = machine_atomic_at(m, SPACE_%s, %s, %u, %d); ", c,
           value(r, i->operand[1 + gives], type), shared ? "SHARED" : "GLOBAL", at, width_of(type), r->line);
    printf("memcpy(&old, at, sizeof old); v = %s; memcpy(at, &v, sizeof v); ", of);
    if (gives) printf("%s = (%s)old; ", c_name(i->operand[0]), c_bits(r, type));
    puts("}");
}

/* shfl.sync.bfly.b32 d|p, a, lane, clamp, mask */
static void put_shfl(const reader *r, instruction *i)
{
    static const char *const names[] = {"up", "down", "bfly", "idx"}, *const modes[] = {"UP", "DOWN", "BFLY", "IDX"};
    const char *const mode = i->parts == 4 ? operator_of(i->part[2], names, modes, 4) : NULL;
    char *const bar = strchr(i->operand[0], '|');
    if (!mode || strcmp(i->part[1], "sync")) stop(r, "this shfl isn't known");
    need(r, i, 5);
    if (bar) *bar = 0;
    printf("%s = machine_shfl(m, SHFL_%s, %s, %s, %s, %s, %s%s, %d);\n", c_name(trimmed(i->operand[0])), mode,
           value(r, i->operand[1], "b32"), value(r, i->operand[2], "b32"), value(r, i->operand[3], "b32"),
           value(r, i->operand[4], "b32"), bar ? "&" : "NULL", bar ? c_name(trimmed(bar + 1)) : "", r->line);
}

/* {%r1, %r2}: names and constants in a row, n of them; of ones that are written their addresses. */
static void put_list(const reader *r, char *list, int n, const char *type, bool written)
{
    instruction *const each = calloc(1, sizeof *each);
    char *const inner = list + (*list == '{');
    if (*list == '{') inner[strlen(inner) - 1] = 0;
    split_operands(r, each, inner);
    if (each->operands != n) stop(r, "%d registers, %d are known", each->operands, n);
    printf(written ? "(uint32_t *const[]){" : "(const uint32_t[]){");
    for (int k = 0; k < n; k++)
        if (written)
            printf("%s&%s", k ? ", " : "", c_name(each->operand[k]));
        else if (*each->operand[k] == '%')
            printf("%s%s", k ? ", " : "", c_name(each->operand[k]));
        else
            printf("%s%s", k ? ", " : "", value(r, each->operand[k], type));
    printf("}");
    free(each);
}

/* mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 d, a, b, c; bytes of a row of A: 16, or 32. */
static void put_mma(const reader *r, instruction *i)
{
    static const char *const names[] = {"f16", "bf16", "e4m3", "e5m2"}, *const codes[] = {"CODE_F16", "CODE_BF16",
                                                                                          "CODE_E4M3", "CODE_E5M2"};
    const char *const code = i->parts == 10 ? operator_of(i->part[7], names, codes, 4) : NULL;
    bool const alike = code && !strcmp(i->part[7], i->part[8]) && !strcmp(i->part[6], "f32") &&
                       !strcmp(i->part[9], "f32") && !strcmp(i->part[4], "row") && !strcmp(i->part[5], "col");
    int const k = !strncmp(i->part[3], "m16n8k", 6) ? atoi(i->part[3] + 6) : 0;
    int const bytes = code ? k * (strstr(i->part[7], "f16") ? 2 : 1) : 0;
    if (!alike || strcmp(i->part[1], "sync") || (bytes != 16 && bytes != 32)) stop(r, "this mma isn't known");
    need(r, i, 4);
    printf("machine_mma(m, (mma_kind){%s, %d}, ", code, k);
    put_list(r, i->operand[0], 4, "b32", true), printf(", ");
    put_list(r, i->operand[1], bytes / 8, "b32", false), printf(", ");
    put_list(r, i->operand[2], bytes / 16, "b32", false), printf(", ");
    put_list(r, i->operand[3], 4, "f32", false), printf(", %d);\n", r->line);
}

/* "[%r1+16]" as an address of shared or global memory. */
static const char *address_in_memory(const reader *r, char *operand)
{
    bool is_param = false;
    if (*operand != '[') stop(r, "'%s' is no address", operand);
    const char *const at = address(r, operand, &is_param);
    if (is_param) stop(r, "an address of a parameter isn't known here");
    return at;
}

/* ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {d}, [address] */
static void put_ldmatrix(const reader *r, instruction *i)
{
    int const count = has(i, "x4") ? 4 : has(i, "x2") ? 2 : has(i, "x1") ? 1 : 0;
    for (int p = 1; p < i->parts; p++)
        if (!strstr(" sync aligned m8n8 x1 x2 x4 trans shared b16 ", i->part[p]))
            stop(r, "ldmatrix: .%s isn't known", i->part[p]);
    if (!count || !has(i, "shared")) stop(r, "this ldmatrix isn't known");
    need(r, i, 2);
    printf("machine_ldmatrix(m, %s, %d, %s, ", address_in_memory(r, i->operand[1]), count,
           has(i, "trans") ? "true" : "false");
    put_list(r, i->operand[0], count, "b32", true), printf(", %d);\n", r->line);
}

/* cp.async.cg.shared.global [to], [from], 16, bytes; cp.async.commit_group, wait_group N, wait_all. */
static void put_copy(const reader *r, instruction *i)
{
    if (i->parts < 3 || strcmp(i->part[1], "async")) stop(r, "this cp isn't known");
    if (!strcmp(i->part[2], "commit_group"))
        need(r, i, 0), puts("machine_copy_commit(m);");
    else if (!strcmp(i->part[2], "wait_group"))
        need(r, i, 1), printf("machine_copy_wait(m, %s, %d);\n", value(r, i->operand[0], "u32"), r->line);
    else if (!strcmp(i->part[2], "wait_all"))
        need(r, i, 0), printf("machine_copy_wait_all(m, %d);\n", r->line);
    else {
        char to[700];
        for (int p = 2; p < i->parts; p++)
            if (!strstr(" ca cg shared global L2::64B L2::128B L2::256B ", i->part[p]))
                stop(r, "cp.async: .%s isn't known", i->part[p]);
        if (i->operands != 3 && i->operands != 4) stop(r, "cp.async has %d operands, 3 and 4 are known", i->operands);
        snprintf(to, sizeof to, "%s", address_in_memory(r, i->operand[0]));
        printf("machine_copy(m, %s, %s, %s, %s, %d);\n", to, address_in_memory(r, i->operand[1]),
               value(r, i->operand[2], "u32"), value(r, i->operand[i->operands - 1], "u32"), r->line);
    }
}

/* ---- what other people's kernels have besides (opcodes.h) ---- */

static void put_instruction(const reader *r, instruction *i);

/* Takes a modifier out. False: there is none. */
static bool take_modifier(instruction *i, const char *word)
{
    for (int p = 1; p + 1 < i->parts; p++) {
        if (strcmp(i->part[p], word)) continue;
        memmove(&i->part[p], &i->part[p + 1], (size_t)(i->parts - p - 1) * sizeof *i->part);
        return i->parts--, true;
    }
    return false;
}

/* The format of what an instruction gives, and of what it takes. */
static const char *type_given(const instruction *i)
{
    bool const converts = !strcmp(i->part[0], "cvt");
    return !strcmp(i->part[0], "setp") ? "pred" : i->part[i->parts - 1 - converts];
}

/* .ftz: what goes in is flushed, then what comes out. */
static bool put_flushing(const reader *r, instruction *i)
{
    if (!take_modifier(i, "ftz")) return false;
    for (int k = 1; k < i->operands && !strcmp(type_of(i), "f32"); k++) {
        if (strchr("{[", *i->operand[k])) stop(r, "%s.ftz of pairs isn't known", i->part[0]);
        printf("uint32_t const r_ftz%d = bits_of_f32(flushed(%s)); ", k, value(r, i->operand[k], "f32"));
        sprintf(i->operand[k], "%%ftz%d", k);
    }
    char to[sizeof *i->operand];
    snprintf(to, sizeof to, "%s", i->operand[0]);
    bool const gives = !strcmp(type_given(i), "f32");
    put_instruction(r, i);
    if (gives) put(r, to, "f32", "flushed(of_bits_f32(%s))", c_name(to));
    return true;
}

/* .sat of a float. */
static bool put_saturating(const reader *r, instruction *i)
{
    const char *const type = type_given(i);
    char to[sizeof *i->operand];
    if (!is_float(type) || !take_modifier(i, "sat")) return false;
    snprintf(to, sizeof to, "%s", i->operand[0]);
    put_instruction(r, i);
    put(r, to, type, "saturated(of_bits_%s(%s))", type, c_name(to));
    return true;
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

static bool put_other_conversion(const reader *r, const instruction *i)
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

/* vote.sync, redux.sync, bar.warp.sync */
static bool put_warp(const reader *r, const instruction *i)
{
    static const char *const names[] = {"add", "and", "or", "xor", "min", "max"}, *const kinds[] = {"ADD", "AND",
                                                                                                    "OR",  "XOR",
                                                                                                    "MIN", "MAX"};
    const char *const head = i->part[0];
    if (!strcmp(head, "bar") && i->parts == 3 && has(i, "warp"))
        return need(r, i, 1), printf("warp_barrier(m, %s, %d);\n", value(r, i->operand[0], "b32"), r->line);
    if (i->parts != 4 || strcmp(i->part[1], "sync")) return false;
    const char *const redux = operator_of(i->part[2], names, kinds, 6);
    if (!strcmp(head, "redux") && redux)
        need(r, i, 3), put(r, i->operand[0], "b32", "warp_redux(m, REDUX_%s, %s, %s, %s, %d)", redux,
                           *type_of(i) == 's' ? "true" : "false", value(r, i->operand[1], "b32"),
                           value(r, i->operand[2], "b32"), r->line);
    else if (!strcmp(head, "vote") && strcmp(i->part[2], "uni"))
        need(r, i, 3), put(r, i->operand[0], type_of(i), "warp_ballot(m, %s, %s, %d) %s %s",
                           value(r, i->operand[1], "pred"), value(r, i->operand[2], "b32"), r->line,
                           has(i, "any")   ? "!="
                           : has(i, "all") ? "=="
                                           : "&",
                           has(i, "any") ? "0" : value(r, i->operand[2], "b32"));
    else
        return false;
    return true;
}

/* atom.cas, and add of floats: subnormal numbers count as 0 in global f32, but not in shared. */
static bool put_other_atomic(const reader *r, instruction *i)
{
    const char *const type = type_of(i), *const head = i->part[0];
    bool const gives = !strcmp(head, "atom"), swaps = gives && has(i, "cas"), shared = has(i, "shared");
    bool is_param = false;
    if ((!gives && strcmp(head, "red")) || !(swaps || (is_float(type) && has(i, "add")))) return false;
    for (int p = 1; p + 1 < i->parts; p++)
        if (!strstr(" global shared relaxed acq_rel cta gpu sys add cas ", i->part[p]))
            stop(r, "%s: .%s isn't known", head, i->part[p]);
    if (shared == has(i, "global")) stop(r, "this %s isn't known", head);
    need(r, i, 2 + gives + swaps);
    const char *const at = address(r, i->operand[gives], &is_param), *const c = c_type(r, type);
    bool const flushes = !shared && !strcmp(type, "f32");
    printf("{ %s old, v = %s; uint8_t *const at = machine_atomic_at(m, SPACE_%s, %s, %u, %d); ", c,
           value(r, i->operand[1 + gives], type), shared ? "SHARED" : "GLOBAL", at, width_of(type), r->line);
    printf("memcpy(&old, at, sizeof old); ");
    if (swaps)
        printf("v = old == v ? %s : old; ", value(r, i->operand[3], type));
    else
        printf(flushes ? "v = flushed(flushed(old) + flushed(v)); " : "v = old + v; ");
    printf("memcpy(at, &v, sizeof v); ");
    if (gives) put(r, i->operand[0], type, "old");
    puts("}");
    return true;
}

/* False: it is no such opcode. */
static bool put_other(const reader *r, instruction *i)
{
    return put_flushing(r, i) || put_saturating(r, i) || put_directed(r, i) || put_approximation(r, i) ||
           put_other_conversion(r, i) || put_halves(r, i) || put_bits(r, i) || put_warp(r, i) || put_other_atomic(r, i);
}

static void put_instruction(const reader *r, instruction *i)
{
    const char *const head = i->part[0];
    if (put_other(r, i)) return;
    if (!strcmp(head, "ret"))
        puts("return;");
    else if (!strcmp(head, "bra"))
        printf("goto %s;\n", c_name(i->operand[0]));
    else if ((!strcmp(head, "bar") || !strcmp(head, "barrier")) && i->operands == 1 && !strcmp(i->operand[0], "0"))
        printf("machine_barrier(m, %d);\n", r->line);
    else if (!strcmp(head, "ld") || !strcmp(head, "st"))
        put_access(r, i, *head == 's');
    else if (!strcmp(head, "cvta") && (has(i, "global") || has(i, "local") || has(i, "const")))
        put(r, i->operand[0], type_of(i), "%s", value(r, i->operand[1], type_of(i)));
    else if (!strcmp(head, "cvta") && has(i, "shared"))
        put(r, i->operand[0], type_of(i), "%s %c SHARED_WINDOW", value(r, i->operand[1], type_of(i)),
            has(i, "to") ? '-' : '+');
    else if (!strcmp(head, "mov"))
        put_move(r, i);
    else if (!strcmp(head, "shl") || !strcmp(head, "shr"))
        put_shift(r, i);
    else if (!strcmp(head, "setp"))
        put_comparison(r, i);
    else if (!strcmp(head, "clz") && !strcmp(type_of(i), "b32"))
        need(r, i, 2), put(r, i->operand[0], "u32", "leading_zeros(%s)", value(r, i->operand[1], "u32"));
    else if (!strcmp(head, "selp"))
        put(r, i->operand[0], type_of(i), "%s ? %s : %s", value(r, i->operand[3], "pred"),
            value(r, i->operand[1], type_of(i)), value(r, i->operand[2], type_of(i)));
    else if (!strcmp(head, "cvt"))
        put_conversion(r, i);
    else if (!strcmp(head, "atom") || !strcmp(head, "red"))
        put_atomic(r, i);
    else if (!strcmp(head, "shfl"))
        put_shfl(r, i);
    else if (!strcmp(head, "mma"))
        put_mma(r, i);
    else if (!strcmp(head, "ldmatrix"))
        put_ldmatrix(r, i);
    else if (!strcmp(head, "cp"))
        put_copy(r, i);
    else if (!put_float(r, i) && (is_float(type_of(i)) || !put_whole(r, i)))
        stop(r, "opcode %s with type .%s isn't known", head, type_of(i));
}

/* %r<27>, or t, of the registers of one type. */
static void put_register(reader *r, const char *text, const char *type)
{
    char name[200];
    int count = -1;
    if (sscanf(text, " %199[^< ]<%d>", name, &count) < 1) stop(r, "register %s isn't known", text);
    if (count < 0 && *name != '%' && r->bare.count < SYMBOLS)
        snprintf(r->bare.item[r->bare.count++].name, sizeof r->bare.item->name, "%s", name);
    printf("%s ", c_bits(r, type));
    if (count < 0) printf("%s", c_name(name));
    for (int k = 0; k < count; k++) printf("%s%s%d", k ? ", " : "", c_name(name), k);
    puts(";");
}

/* .reg .b32 %r<27>; or .reg .b32 t, u; */
static void put_registers(reader *r, char *text)
{
    char type[20];
    int names = 0;
    if (sscanf(text, " .reg .%19s %n", type, &names) < 1 || !names) stop(r, "%s isn't known", text);
    if (!width_of(type)) stop(r, "registers of type .%s aren't known", type);
    char *rest = NULL;
    for (char *name = strtok_r(text + names, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
        put_register(r, name, type);
}

/* Arrays of a thread: nobody wrote them yet. */
static void put_local(reader *r, const char *text)
{
    enum { MOST = 1 << 16 }; /* the stack of a thread has twice that */
    read_symbol(r, text, &r->local);
    if (r->local.end > MOST) stop(r, "a thread's own arrays have %u bytes, at most %d are known", r->local.end, MOST);
    const symbol *const v = &r->local.item[r->local.count - 1];
    printf("uint8_t %s[%u] __attribute__((aligned(16))); memset(%s, 0xff, %u);\n", c_name(v->name), v->size,
           c_name(v->name), v->size);
}

/* .const .align 4 .b8 name[8] = {1, 2, 3, 4, 5}; 0 where nothing is said. */
static void put_array(reader *r, char *text)
{
    char *const is = strchr(text, '='), type[20] = "";
    if (is) *is = 0;
    read_symbol(r, text, &r->module);
    const symbol *const v = &r->module.item[r->module.count - 1];
    const char *const name = c_name(v->name), *const values = is ? trimmed(is + 1) : "{0}";
    for (const char *s = text; (s = strchr(s, '.')); s++) /* the last word with a dot that is a type */
        if (sscanf(s, ".%19[a-z0-9]", type) == 1 && width_of(type)) break;
    if (is && (is_float(type) || strspn(values, "{}-0123456789, \n\t\r") != strlen(values)))
        stop(r, "what %s begins with isn't known", v->name);
    printf("static %s %s[%u] __attribute__((aligned(16))) = %s%s%s;\n", c_type(r, type), name, v->size / width_of(type),
           *values == '{' ? "" : "{", values, *values == '{' ? "" : "}");
    printf("__attribute__((constructor)) static void announce_%s(void)\n{\n    runtime_memory(\"%s\", %s, %u);\n}\n",
           name, v->name, name, v->size);
}

/* One statement of a body: a label, a scope, a declaration or an instruction. False: the body ended. */
static bool put_statement(reader *r, int *depth)
{
    char text[TEXT];
    instruction *const i = calloc(1, sizeof *i);
    bool more = true;
    if (take(r, "{"))
        puts("{"), ++*depth;
    else if (take(r, "}"))
        puts("}"), more = --*depth > 0;
    else if (!*r->at)
        stop(r, "the file ends inside a kernel");
    else if (take_until(r, ";:", text, sizeof text) == ':')
        printf("%s:;\n", c_name(trimmed(text)));
    else if (!strncmp(trimmed(text), ".reg", 4))
        put_registers(r, trimmed(text));
    else if (!strncmp(trimmed(text), ".shared", 7))
        read_symbol(r, trimmed(text), &r->shared);
    else if (!strncmp(trimmed(text), ".local", 6))
        put_local(r, trimmed(text));
    else if (!strncmp(trimmed(text), ".pragma", 7) || !*trimmed(text))
        ;
    else if (*trimmed(text) == '.')
        stop(r, "%s isn't known here", trimmed(text));
    else {
        read_instruction(r, text, i);
        if (*i->guard) printf("if (%s) ", value(r, i->guard, "pred"));
        printf("{ ");
        put_instruction(r, i);
        puts("}");
    }
    free(i);
    return more;
}

/* Behind ".entry": name, parameters, body. */
static void put_kernel(reader *r)
{
    char text[TEXT], name[400];
    int depth = 0;
    symbols const of_file = r->shared;
    take_name(r, name, sizeof name);
    r->param = r->bare = r->local = (symbols){0};
    if (!take(r, "(")) stop(r, "kernel %s has no list of parameters", name);
    while (!take(r, ")")) {
        char const end = take_until(r, ",)", text, sizeof text);
        read_symbol(r, text, &r->param);
        if (end == ')') break;
    }
    while (skip_space(r), *r->at == '.') take_until(r, "\n", text, sizeof text); /* .maxntid and so on */
    if (r->kernels == KERNELS) stop(r, "more than %d kernels", KERNELS);
    snprintf(r->kernel[r->kernels].name, sizeof r->kernel->name, "%s", name);
    r->kernel[r->kernels].param = r->param;
    printf("static void k_%d(machine *m, const uint8_t *param)\n", r->kernels);
    while (put_statement(r, &depth)) continue;
    r->kernel[r->kernels++].shared = r->shared.end;
    r->shared = of_file;
}

static void put_table(const reader *r)
{
    for (int k = 0; k < r->kernels; k++) {
        const symbols *const p = &r->kernel[k].param;
        printf("static const uint32_t offset_%d[] = {0", k);
        for (int i = 0; i < p->count; i++) printf("%s%u", i ? ", " : " + ", p->item[i].offset);
        printf("}, size_%d[] = {0", k);
        for (int i = 0; i < p->count; i++) printf("%s%u", i ? ", " : " + ", p->item[i].size);
        puts("};");
    }
    puts("static const kernel kernels[] = {");
    for (int k = 0; k < r->kernels; k++)
        printf("    {\"%s\", \"%s\", k_%d, %u, %d, offset_%d, size_%d},\n", r->kernel[k].name, r->path, k,
               r->kernel[k].shared, r->kernel[k].param.count, k, k);
    printf("};\n__attribute__((constructor)) static void announce(void)\n{\n    runtime_kernels(kernels, %d);\n}\n",
           r->kernels);
}

static void put_all(reader *r)
{
    char text[TEXT];
    bool version = false;
    puts("#include \"translated.h\"");
    for (skip_space(r); *r->at; skip_space(r)) {
        if (take(r, ".visible") || take(r, ".weak") || take(r, ".extern")) continue;
        if (take(r, ".entry"))
            put_kernel(r);
        else if (!strncmp(r->at, ".shared", 7))
            take_until(r, ";", text, sizeof text), read_symbol(r, text, &r->shared);
        else if (!strncmp(r->at, ".const", 6) || !strncmp(r->at, ".global", 7))
            take_until(r, ";", text, sizeof text), put_array(r, text);
        else if (!strncmp(r->at, ".version", 8) || !strncmp(r->at, ".target", 7) ||
                 !strncmp(r->at, ".address_size", 13))
            version = true, take_until(r, "\n", text, sizeof text);
        else {
            take_name(r, text, sizeof text);
            stop(r, "%s isn't known at the level of the file", text);
        }
    }
    if (!version) stop(r, "it is no PTX: .version isn't there");
    if (r->kernels) put_table(r);
}

static char *read_file(const char *path)
{
    FILE *const f = fopen(path, "rb");
    size_t room = 1 << 16, n = 0, got;
    char *text = f ? malloc(room + 1) : NULL;
    while (text && (got = fread(text + n, 1, room - n, f)) > 0)
        if ((n += got) == room) text = realloc(text, (room *= 2) + 1);
    if (f) fclose(f);
    if (text) text[n] = 0;
    return text;
}

/* What says which lines of a source the code came from (nvcc -lineinfo) is no code. */
static void blank_source_lines(char *text)
{
    bool section = false;
    for (char *s = text; *s; s += *s == '\n') {
        size_t const n = strcspn(s, "\n");
        const char *const word = s + strspn(s, " \t");
        section |= !strncmp(word, ".section", 8);
        bool const last = section && *word == '}', loc = !strncmp(word, ".loc", 4) && isspace((unsigned char)word[4]);
        if (section || loc || !strncmp(word, ".file", 5)) memset(s, ' ', n);
        section &= !last;
        s += n;
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) return fputs("usage: ptx2c FILE.ptx\n\nThe C of its kernels, on standard output.\n", stderr), 2;
    char *const text = read_file(argv[1]);
    reader *const r = calloc(1, sizeof *r);
    if (!text || !r) return fprintf(stderr, "ptx2c: %s: it can't be read\n", argv[1]), 2;
    blank_comments(text);
    blank_source_lines(text);
    *r = (reader){.path = argv[1], .at = text, .line = 1};
    put_all(r);
    free(text), free(r);
    return 0;
}
