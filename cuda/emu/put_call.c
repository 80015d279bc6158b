/* See put.h. A function takes where its parameters lie, and where to what it returns. */
#include "put.h"

#include "c_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* .param .b64 param0; or .param .align 8 .b8 retval0[16]: of a call, in its own braces. */
void put_passed(reader *r, const char *text)
{
    symbols one = {0};
    read_symbol(r, text, &one);
    const symbol *const known = find(&r->passed, one.item->name);
    if (!known && r->passed.count == SYMBOLS) stop(r, "more than %d parameters of calls", SYMBOLS);
    r->passed.item[known ? (int)(known - r->passed.item) : r->passed.count++] = *one.item;
    printf("uint8_t %s[%u] __attribute__((aligned(16)));\n", c_name(one.item->name), one.item->size);
}

/* A name of `functions`, or a sentence. */
static void check_called(const reader *r, const char *name)
{
    if (*name == '%') stop(r, "a call by address isn't known");
    if (!strcmp(name, "vprintf")) stop(r, "it calls printf, which isn't known: leave it out");
    if (!strcmp(name, "__assertfail") || find(&r->functions, name)) return;
    stop(r, "it calls %s, which isn't known", name);
}

/* call.uni (retval0), name, (param0, param1); what is returned and what is passed may be missing. */
void put_call(const reader *r, instruction *i)
{
    instruction *const each = calloc(1, sizeof *each);
    int const returns = *i->operand[0] == '(';
    if (!i->operands) stop(r, "this call isn't known");
    const char *const name = i->operand[returns];
    check_called(r, name);
    refuse_modifiers(r, i, " uni ");
    if (i->operands > 2 + returns) stop(r, "this call isn't known");
    if (i->operands == 2 + returns) {
        char *const list = i->operand[1 + returns];
        list[strlen(list) - 1] = 0;
        split_operands(r, each, list + 1);
    }
    printf("uint8_t *const args[] = {NULL");
    for (int k = 0; k < each->operands; k++) printf(", %s", c_name(each->operand[k]));
    printf("}; ");
    char *const to = i->operand[0];
    if (returns) to[strlen(to) - 1] = 0;
    if (!strcmp(name, "__assertfail"))
        printf("assertion_failed(m, args + 1, %d);\n", r->line);
    else
        printf("machine_descend(m, %d); f%s(m, args + 1, %s);\n", r->line, c_name(name),
               returns ? c_name(trimmed(to + 1)) : "NULL");
    free(each);
}

/* Its parameters as a kernel has them, in one piece; what it returns by its own name. */
static void put_beginning(const reader *r)
{
    printf("uint64_t *const issued = machine_issued(m); uint8_t param[%u] __attribute__((aligned(16))); ",
           r->param.end + 1);
    for (int k = 0; k < r->param.count; k++)
        printf("memcpy(param + %u, args[%d], %u); ", r->param.item[k].offset, k, r->param.item[k].size);
    for (int k = 0; k < r->passed.count; k++) printf("uint8_t *const %s = returned;", c_name(r->passed.item[k].name));
    puts("");
}

/* A list of parameters, behind its bracket. */
static void read_parameters(reader *r, symbols *to)
{
    char text[TEXT];
    while (!take(r, ")")) {
        char const end = take_until(r, ",)", text, sizeof text);
        read_symbol(r, text, to);
        if (end == ')') return;
    }
}

bool put_function_head(reader *r)
{
    char name[400], text[TEXT];
    r->param = r->bare = r->registers = r->local = r->passed = (symbols){0};
    if (take(r, "(")) read_parameters(r, &r->passed);
    take_name(r, name, sizeof name);
    if (!*name) stop(r, "this .func isn't known");
    if (take(r, "(")) read_parameters(r, &r->param);
    while (skip_space(r), *r->at == '.') take_name(r, text, sizeof text); /* .noreturn */
    bool const declared = take(r, ";");
    if (declared && r->external) return false;
    if (!find(&r->functions, name)) {
        if (r->functions.count == SYMBOLS) stop(r, "more than %d functions", SYMBOLS);
        snprintf(r->functions.item[r->functions.count++].name, sizeof name, "%s", name);
    }
    printf("static void f%s(machine *m, uint8_t *const args[], uint8_t *returned)%s\n", c_name(name),
           declared ? ";" : "");
    if (declared) return false;
    if (!take(r, "{")) stop(r, "%s has no body", name);
    puts("{");
    put_beginning(r);
    return true;
}
