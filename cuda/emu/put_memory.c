/* See put.h. */
#include "put.h"

#include "c_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* C's place of so many bytes that aren't shared: in an array of this file or thread, else in what was allocated. */
static void put_place(const reader *r, const instruction *i, const char *at, uint32_t bytes, bool write)
{
    bool const generic = !has(i, "local") && !has(i, "const") && !has(i, "global"), local = has(i, "local") || generic;
    const symbols *const arrays = local ? &r->local : &r->module;
    printf("{ uint64_t const to = %s; uint8_t *const at = ", at);
    for (int k = 0; k < arrays->count; k++)
        if (arrays->item[k].size >= bytes)
            printf("to - (uint64_t)(uintptr_t)%s <= %u ? (uint8_t *)(uintptr_t)to : ", c_name(arrays->item[k].name),
                   arrays->item[k].size - bytes);
    bool const callers = r->in_function && has(i, "local");
    printf("(uint8_t *)machine_at(m, SPACE_%s, %s, %u, %s, %d);", generic || callers ? "GENERIC" : "GLOBAL",
           (has(i, "local") && !callers) || has(i, "const") ? "0" : "to", bytes, write ? "true" : "false", r->line);
}

/* "[param0+4]" of a call; NULL: it is none. */
static const char *address_passed(const reader *r, const char *memory, uint32_t bytes)
{
    static char text[500];
    char name[400] = "";
    unsigned offset = 0;
    sscanf(memory, "[%399[^]+ ]+%u", name, &offset);
    const symbol *const s = find(&r->passed, name);
    if (s && offset + bytes > s->size) stop(r, "%s has %u bytes", name, s->size);
    if (s) snprintf(text, sizeof text, "%s + %u", c_name(name), offset);
    return s ? text : NULL;
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
    if (*regs == '{') regs[strlen(regs) - 1] = 0;
    split_operands(r, each, regs + (*regs == '{'));
    const char *const passed =
        has(i, "param") ? address_passed(r, memory, width_of(type) * (uint32_t)each->operands) : NULL;
    const char *const at = passed ? passed : address(r, memory, &is_param);
    refuse_modifiers(r, i,
                     " param global shared local const nc v2 v4 volatile weak relaxed acquire release cta gpu sys "
                     "ca cg cs lu cv wb wt L1::evict_normal L1::evict_last L1::evict_first L1::evict_unchanged "
                     "L1::no_allocate L2::64B L2::128B L2::256B ");
    bool const by_register = has(i, "param") && memory[1] == '%';
    bool const own = has(i, "local") || has(i, "const") || (has(i, "global") && r->module.count);
    if (write && has(i, "const")) stop(r, "a write to constants isn't known");
    if (write && has(i, "param") && !passed) stop(r, "a write to parameters isn't known");
    bool const generic = !is_param && !by_register && !own && !has(i, "global") && !has(i, "shared");
    if (is_param != (has(i, "param") && !by_register && !passed))
        stop(r, "%s: an address that says nothing of its space isn't known", i->part[0]);
    uint32_t const one = width_of(type), all = one * (uint32_t)each->operands;
    if (passed)
        printf("{ uint8_t *const at = %s;", at);
    else if (is_param)
        printf("{ const uint8_t *const at = param + %s;", at);
    else if (by_register)
        printf("{ const uint8_t *const at = param + machine_param(m, %s, %u, %u, %d);", at, all, r->param.end, r->line);
    else if (own || (generic && r->local.count))
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

/* What an atomic writes of what was there, `old`, and v. Subnormal numbers count as 0 in the sums of global f32, but not of shared. */
static const char *atomic_result(const instruction *i, bool shared)
{
    static const char *const names[] = {"add", "and", "or", "xor", "exch", "min", "max", "cas", "inc", "dec"},
                             *const next[] = {"old + v",
                                              "old & v",
                                              "old | v",
                                              "old ^ v",
                                              "v",
                                              "v < old ? v : old",
                                              "v > old ? v : old",
                                              "old == v ? w : old",
                                              "old >= v ? 0 : old + 1",
                                              "old == 0 || old > v ? v : old - 1"};
    const char *of = NULL;
    for (int p = 1; p + 1 < i->parts; p++)
        if (operator_of(i->part[p], names, next, 10)) of = operator_of(i->part[p], names, next, 10);
    if (of && is_float(type_of(i)) && strcmp(of, next[0])) return NULL;
    return of == next[0] && !shared && !strcmp(type_of(i), "f32") ? "flushed(flushed(old) + flushed(v))" : of;
}

/* atom.shared.add.u32 d, [a], b, which gives what was there; red.shared.add.u32 [a], b; atom.global.cas.b32 d, [a], b, c. */
static void put_atomic(const reader *r, instruction *i)
{
    const char *const type = type_of(i), *const c = c_type(r, type);
    bool const gives = !strcmp(i->part[0], "atom"), swaps = gives && has(i, "cas"), shared = has(i, "shared");
    const char *const result = atomic_result(i, shared);
    bool is_param = false;
    refuse_modifiers(
        r, i, " global shared relaxed acq_rel cta gpu sys add and or xor exch min max cas inc dec release acquire ");
    if (!result || (shared && has(i, "global")) || has(i, "cas") != swaps) stop(r, "this %s isn't known", i->part[0]);
    need(r, i, 2 + gives + swaps);
    const char *const at = address(r, i->operand[gives], &is_param);
    printf("{ %s old, v = %s; uint8_t *const at = machine_atomic_at(m, SPACE_%s, %s, %u, %d); ", c,
           value(r, i->operand[1 + gives], type),
           shared             ? "SHARED"
           : has(i, "global") ? "GLOBAL"
                              : "GENERIC",
           at, width_of(type), r->line);
    if (swaps) printf("%s const w = %s; ", c, value(r, i->operand[3], type));
    printf("memcpy(&old, at, sizeof old); v = %s; memcpy(at, &v, sizeof v); ", result);
    if (gives) put(r, i->operand[0], type, "old");
    puts("}");
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
        refuse_words(r, i, " async ca cg shared global L2::64B L2::128B L2::256B ");
        if (i->operands != 3 && i->operands != 4) stop(r, "cp.async has %d operands, 3 and 4 are known", i->operands);
        snprintf(to, sizeof to, "%s", address_in_memory(r, i->operand[0]));
        printf("machine_copy(m, %s, %s, %s, %s, %d);\n", to, address_in_memory(r, i->operand[1]),
               value(r, i->operand[2], "u32"), value(r, i->operand[i->operands - 1], "u32"), r->line);
    }
}

/* Of shared memory a generic address is SHARED_WINDOW more; of the other spaces it is the same. */
static bool put_address(const reader *r, const instruction *i)
{
    const char *const type = type_of(i);
    if (has(i, "global") || has(i, "local") || has(i, "const"))
        need(r, i, 2), put(r, i->operand[0], type, "%s", value(r, i->operand[1], type));
    else if (has(i, "shared"))
        need(r, i, 2),
            put(r, i->operand[0], type, "%s %c SHARED_WINDOW", value(r, i->operand[1], type), has(i, "to") ? '-' : '+');
    else
        return false;
    return true;
}

bool put_memory(const reader *r, instruction *i)
{
    const char *const head = i->part[0];
    if (!strcmp(head, "ld") || !strcmp(head, "st"))
        put_access(r, i, *head == 's');
    else if (!strcmp(head, "atom") || !strcmp(head, "red"))
        put_atomic(r, i);
    else if (!strcmp(head, "cp"))
        put_copy(r, i);
    else
        return (!strcmp(head, "prefetch") && (puts(";"), true)) || (!strcmp(head, "cvta") && put_address(r, i));
    return true;
}
