/* See c_text.h. */
#include "c_text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *c_name(const char *name)
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

bool has(const instruction *i, const char *part)
{
    for (int p = 1; p < i->parts; p++)
        if (!strcmp(i->part[p], part)) return true;
    return false;
}

const char *type_of(const instruction *i)
{
    return i->part[i->parts - 1];
}

const char *c_type(const reader *r, const char *type)
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

const char *c_bits(const reader *r, const char *type)
{
    char bits[8];
    if (!strcmp(type, "pred")) return "bool";
    snprintf(bits, sizeof bits, "b%u", width_of(type) * 8);
    return c_type(r, bits);
}

bool is_float(const char *type)
{
    return !strcmp(type, "f32") || !strcmp(type, "f64");
}

/* Of a thread's place in its warp, and of what a device has. */
static const char *special_of_warp(const char *name)
{
    static const char *const
        names[] = {"laneid",      "warpid",      "nwarpid",     "smid",        "nsmid",       "clock",      "clock64",
                   "globaltimer", "lanemask_eq", "lanemask_lt", "lanemask_le", "lanemask_gt", "lanemask_ge"},
        *const in_c[] = {
            "place_in_block(m) % 32", "place_in_block(m) / 32", "warps_of_block(m)", "0",           "2",
            "machine_clock(m)",       "machine_clock(m)",       "machine_clock(m)",  "lane_bit(m)", "(lane_bit(m) - 1)",
            "(lane_bit(m) * 2 - 1)",  "~(lane_bit(m) * 2 - 1)", "~(lane_bit(m) - 1)"};
    static char text[40];
    const char *const c = operator_of(name, names, in_c, 13);
    return c ? snprintf(text, sizeof text, "(%s)", c), text : NULL;
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
    return special_of_warp(name + 1);
}

/* %r12 is one of .reg %r<27>. */
static bool is_declared(const reader *r, const char *name)
{
    char stem[400];
    snprintf(stem, sizeof stem, "%s", name);
    if (find(&r->registers, stem)) return true;
    for (size_t n = strlen(stem); n && isdigit((unsigned char)stem[n - 1]); n--) stem[n - 1] = 0;
    return find(&r->registers, stem) || !strncmp(name, "%ftz", 4);
}

const char *value(const reader *r, const char *operand, const char *type)
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
    else if (find(&r->functions, operand))
        stop(r, "the address of a function isn't known");
    else if (find(&r->local, operand) || find(&r->module, operand))
        snprintf(to, sizeof *text, "(uint64_t)(uintptr_t)%s", c_name(operand));
    else if (*operand != '%' && !negated && !find(&r->bare, operand))
        stop(r, "operand '%s' isn't known", operand);
    else if (!is_declared(r, operand + negated))
        stop(r, "register %s isn't known", operand + negated);
    else if (is_float(type))
        snprintf(to, sizeof *text, "of_bits_%s(%s)", type, c_name(operand));
    else
        snprintf(to, sizeof *text, "%s(%s)%s", negated ? "!" : "", c_type(r, type), c_name(operand + negated));
    return to;
}

void put(const reader *r, const char *to, const char *type, const char *format, ...)
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

const char *operator_of(const char *head, const char *const names[], const char *const signs[], int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(head, names[i])) return signs[i];
    return NULL;
}

static void refuse_parts(const reader *r, const instruction *i, int end, const char *allowed)
{
    for (int p = 1; p < end; p++) {
        char word[40];
        snprintf(word, sizeof word, " %s ", i->part[p]);
        if (!strstr(allowed, word)) stop(r, "%s: .%s isn't known", i->part[0], i->part[p]);
    }
}

void refuse_modifiers(const reader *r, const instruction *i, const char *allowed)
{
    refuse_parts(r, i, i->parts - 1, allowed);
}

void refuse_words(const reader *r, const instruction *i, const char *allowed)
{
    refuse_parts(r, i, i->parts, allowed);
}

void need(const reader *r, const instruction *i, int operands)
{
    if (i->operands != operands) stop(r, "%s has %d operands, %d are known", i->part[0], i->operands, operands);
}

const char *address(const reader *r, char *operand, bool *is_param)
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

const char *address_in_memory(const reader *r, char *operand)
{
    bool is_param = false;
    if (*operand != '[') stop(r, "'%s' is no address", operand);
    const char *const at = address(r, operand, &is_param);
    if (is_param) stop(r, "an address of a parameter isn't known here");
    return at;
}
