/* See ptx_text.h. */
#include "ptx_text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void stop(const reader *r, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "ptx2c: %s:%d: ", r->path, r->line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\n", stderr);
    exit(2);
}

void skip_space(reader *r)
{
    for (;; r->at++) {
        if (*r->at == '\n') r->line++;
        if (!*r->at || !isspace((unsigned char)*r->at)) return;
    }
}

void blank_comments(char *text)
{
    for (char *s = text; *s; s++) {
        if (s[0] != '/' || (s[1] != '/' && s[1] != '*')) continue;
        bool const to_end_of_line = s[1] == '/';
        for (; *s && (to_end_of_line ? *s != '\n' : strncmp(s, "*/", 2)); s++)
            if (*s != '\n') *s = ' ';
        if (!to_end_of_line && *s) s[0] = s[1] = ' ';
        if (!*s) return;
    }
}

bool take(reader *r, const char *word)
{
    size_t const n = strlen(word);
    skip_space(r);
    if (strncmp(r->at, word, n)) return false;
    r->at += n;
    return true;
}

static bool in_name(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%' || c == '.';
}

void take_name(reader *r, char *name, size_t cap)
{
    size_t n = 0;
    skip_space(r);
    while (in_name(*r->at) && n + 1 < cap) name[n++] = *r->at++;
    name[n] = 0;
}

char take_until(reader *r, const char *ends, char *text, size_t cap)
{
    size_t n = 0;
    int depth = 0;
    for (; *r->at; r->at++) {
        char const c = *r->at;
        bool const scope = c == ':' && (r->at[1] == ':' || (n && text[n - 1] == ':')); /* L2::128B */
        if (!depth && !scope && strchr(ends, c)) {
            text[n] = 0;
            r->line += c == '\n';
            return r->at++, c;
        }
        depth += (c == '{' || c == '[' || c == '(') - (c == '}' || c == ']' || c == ')');
        if (c == '\n') r->line++;
        if (n + 1 >= cap) stop(r, "a statement is longer than %zu bytes", cap);
        text[n++] = c == '\n' || c == '\t' ? ' ' : c;
    }
    stop(r, "the file ends inside a statement");
}

uint32_t width_of(const char *type)
{
    static const struct {
        const char *name;
        uint32_t bytes;
    } types[] = {{"pred", 1}, {"b8", 1},  {"u8", 1},   {"s8", 1},  {"b16", 2}, {"u16", 2},
                 {"s16", 2},  {"f16", 2}, {"bf16", 2}, {"b32", 4}, {"u32", 4}, {"s32", 4},
                 {"f32", 4},  {"b64", 8}, {"u64", 8},  {"s64", 8}, {"f64", 8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, type)) return types[i].bytes;
    return 0;
}

void read_symbol(reader *r, const char *text, symbols *to)
{
    char word[400];
    uint32_t align = 1, bytes = 0;
    const char *s = text;
    symbol *const v = &to->item[to->count];
    while (sscanf(s, " %399[^ \t[]", word) == 1) {
        s = strstr(s, word) + strlen(word);
        if (!strcmp(word, ".align"))
            align = (uint32_t)strtoul(s, (char **)(uintptr_t)&s, 10);
        else if (*word == '.')
            bytes = width_of(word + 1);
        else
            break;
    }
    if (!bytes || to->count + 1 == SYMBOLS) stop(r, "what is declared isn't known: %s", text);
    if (align < bytes) align = bytes;
    uint32_t elements = 1;
    if (strchr(s, '[')) elements = (uint32_t)strtoul(strchr(s, '[') + 1, NULL, 10);
    snprintf(v->name, sizeof v->name, "%s", word);
    v->offset = (to->end + align - 1) / align * align, v->size = bytes * elements;
    to->end = v->offset + v->size;
    to->count++;
}

const symbol *find(const symbols *in, const char *name)
{
    for (int i = 0; i < in->count; i++)
        if (!strcmp(in->item[i].name, name)) return &in->item[i];
    return NULL;
}

char *trimmed(char *s)
{
    while (isspace((unsigned char)*s)) s++;
    for (size_t n = strlen(s); n && isspace((unsigned char)s[n - 1]); n--) s[n - 1] = 0;
    return s;
}

void split_operands(const reader *r, instruction *i, char *text)
{
    int depth = 0;
    char *from = text;
    i->operands = 0;
    for (char *s = text;; s++) {
        depth += (*s == '{' || *s == '[' || *s == '(') - (*s == '}' || *s == ']' || *s == ')');
        if (*s && (*s != ',' || depth)) continue;
        char const end = *s;
        *s = 0;
        if (i->operands == OPERANDS) stop(r, "more than %d operands", OPERANDS);
        if (*trimmed(from)) snprintf(i->operand[i->operands++], sizeof *i->operand, "%s", trimmed(from));
        if (!end) return;
        from = s + 1;
    }
}

void read_instruction(const reader *r, char *text, instruction *i)
{
    char *s = trimmed(text);
    *i->guard = 0;
    if (*s == '@') {
        size_t const n = strcspn(s, " ");
        snprintf(i->guard, sizeof i->guard, "%.*s", (int)n - 1, s + 1);
        s = trimmed(s + n);
    }
    size_t const n = strcspn(s, " ");
    snprintf(i->word, sizeof i->word, "%.*s", (int)n, s);
    i->parts = 0;
    for (char *part = strtok(i->word, "."); part; part = strtok(NULL, ".")) {
        if (i->parts == PARTS) stop(r, "an opcode with more than %d parts", PARTS);
        i->part[i->parts++] = part;
    }
    split_operands(r, i, s + n);
}
