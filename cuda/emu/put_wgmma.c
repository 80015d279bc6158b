/* See put.h: products of warpgroups, and what the machine must know of their registers. */
#include "put.h"

#include "c_text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 256 };

/* ---- registers ---- */

static int number_of(const reader *r, const char *name)
{
    for (int i = 0; i < r->wgmma.count; i++)
        if (!strcmp(r->wgmma.name[i], name)) return i;
    return -1;
}

/* Those of "{%f1, %f2}", from its brace on. Returns what comes behind. */
static const char *find_in_list(reader *r, const char *s)
{
    char name[sizeof *r->wgmma.name];
    int length = 0;
    for (s++; sscanf(s, " %31[^,} ]%n", name, &length) == 1; s += strspn(s, ", ")) {
        s += length;
        if (number_of(r, name) >= 0) continue;
        if (*name != '%') stop(r, "wgmma with '%s' as a register isn't known", name);
        if (r->wgmma.count == WGMMA_REGISTERS) stop(r, "wgmma with more than %d registers", WGMMA_REGISTERS);
        snprintf(r->wgmma.name[r->wgmma.count++], sizeof name, "%s", name);
    }
    return s + 1;
}

void find_wgmma_registers(reader *r)
{
    const char *s = r->at + strcspn(r->at, "{");
    int depth = 0;
    r->wgmma.count = 0;
    for (; *s; s++) {
        depth += (*s == '{') - (*s == '}');
        if (!depth) return;
        if (strncmp(s, "wgmma.mma_async", 15)) continue;
        s = find_in_list(r, s + strcspn(s, "{"));
        s += strspn(s, ", ");
        if (*s == '{') s = find_in_list(r, s);
    }
}

void put_wgmma_registers(const reader *r)
{
    if (r->wgmma.count)
        printf("machine_register registers[%d] = {0}; machine_registers(m, registers, %d);\n", r->wgmma.count,
               r->wgmma.count);
}

void put_touches(const reader *r, const instruction *i)
{
    if (!r->wgmma.count || !strcmp(i->part[0], "wgmma")) return;
    for (int k = 0; k < i->operands; k++)
        for (const char *s = i->operand[k]; (s = strchr(s, '%')); s++) {
            char name[sizeof *r->wgmma.name];
            snprintf(name, sizeof name, "%.*s", 1 + (int)strspn(s + 1, "abcdefghijklmnopqrstuvwxyz0123456789_"), s);
            int const which = number_of(r, name);
            if (which >= 0) printf("machine_touch(m, %d, %d); ", which, r->line);
        }
}

/* ---- instructions ---- */

/* The numbers of registers of "{%f1, %f2}", n of them; the machine hears where they are. */
static void put_numbers(const reader *r, const char *array, char *list, int n)
{
    int which[MOST_COLUMNS / 2], count = 0;
    list[strlen(list) - 1] = 0;
    for (char *rest = NULL, *name = strtok_r(list + 1, ", ", &rest); name; name = strtok_r(NULL, ", ", &rest)) {
        if (count == n) stop(r, "more than %d registers, %d are known", n, n);
        which[count] = number_of(r, name);
        printf("registers[%d].at = &%s; ", which[count++], c_name(name));
    }
    if (count != n) stop(r, "%d registers, %d are known", count, n);
    printf("static const int %s[] = {", array);
    for (int k = 0; k < n; k++) printf("%s%d", k ? ", " : "", which[k]);
    printf("}; ");
}

/* An immediate operand that says yes or no by one of two words. */
static const char *choice(const reader *r, const char *operand, const char *yes, const char *no)
{
    if (strcmp(operand, yes) && strcmp(operand, no)) stop(r, "wgmma with '%s' isn't known", operand);
    return strcmp(operand, yes) ? "false" : "true";
}

/* wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 d, a, b, scale-d, imm-scale-a, imm-scale-b, imm-trans-a, imm-trans-b. */
static void put_product(const reader *r, instruction *i)
{
    static const char *const names[] = {"f16", "bf16", "e4m3", "e5m2"}, *const codes[] = {"CODE_F16", "CODE_BF16",
                                                                                          "CODE_E4M3", "CODE_E5M2"};
    const char *const code = i->parts == 8 ? operator_of(i->part[6], names, codes, 4) : NULL;
    int columns = 0, k = 0;
    bool const whole = code && sscanf(i->part[4], "m64n%dk%d", &columns, &k) == 2;
    bool const two_bytes = whole && strstr(i->part[6], "f16"), by_register = *i->operand[1] == '{';
    if (!whole || strcmp(i->part[5], "f32") || strcmp(i->part[6], i->part[7]) || k != (two_bytes ? 16 : 32) ||
        columns < 8 || columns > MOST_COLUMNS || columns % 8)
        stop(r, "this wgmma isn't known");
    need(r, i, 6 + (two_bytes ? 2 - by_register : 0));
    put_numbers(r, "d", i->operand[0], columns / 2);
    if (by_register) put_numbers(r, "a", i->operand[1], 4);
    printf("machine_wgmma(m, &(wgmma){.code = %s, .columns = %d, .d = d, .adds = %s, ", code, columns,
           value(r, i->operand[3], "pred"));
    printf(by_register ? ".a = a, " : ".a_at = %s, ", by_register ? "" : value(r, i->operand[1], "u64"));
    printf(".b_at = %s, .a_negated = %s, .b_negated = %s", value(r, i->operand[2], "u64"),
           choice(r, i->operand[4], "-1", "1"), choice(r, i->operand[5], "-1", "1"));
    if (two_bytes && !by_register) printf(", .a_mn_major = %s", choice(r, i->operand[6], "1", "0"));
    if (two_bytes) printf(", .b_mn_major = %s", choice(r, i->operand[7 - by_register], "1", "0"));
    printf("}, %d); ", r->line);
}

bool put_wgmma(const reader *r, instruction *i)
{
    bool const aligned = i->parts >= 4 && !strcmp(i->part[2], "sync") && !strcmp(i->part[3], "aligned");
    if (!strcmp(i->part[0], "fence") && has(i, "proxy")) {
        if (i->parts < 3 || strcmp(i->part[2], "async") || i->parts > 4) return false;
        if (i->parts == 4 && strcmp(i->part[3], "shared::cta") && strcmp(i->part[3], "global")) return false;
        if (i->parts == 3 || strcmp(i->part[3], "global")) puts("machine_proxy_fence(m);");
        return true;
    }
    if (strcmp(i->part[0], "wgmma") || !aligned) return false;
    if (!strcmp(i->part[1], "mma_async"))
        put_product(r, i);
    else if (!strcmp(i->part[1], "fence") && i->parts == 4)
        need(r, i, 0), printf("machine_wgmma_fence(m, %d); ", r->line);
    else if (!strcmp(i->part[1], "commit_group") && i->parts == 4)
        need(r, i, 0), printf("machine_wgmma_commit(m, %d); ", r->line);
    else if (!strcmp(i->part[1], "wait_group") && i->parts == 4)
        need(r, i, 1), printf("machine_wgmma_wait(m, %s, %d); ", value(r, i->operand[0], "u32"), r->line);
    else
        return false;
    return true;
}
