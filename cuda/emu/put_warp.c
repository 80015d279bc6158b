/* See put.h. */
#include "put.h"

#include "c_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {d}, [address] */
static void put_ldmatrix(const reader *r, instruction *i)
{
    int const count = has(i, "x4") ? 4 : has(i, "x2") ? 2 : has(i, "x1") ? 1 : 0;
    refuse_words(r, i, " sync aligned m8n8 x1 x2 x4 trans shared b16 ");
    if (!count || !has(i, "shared")) stop(r, "this ldmatrix isn't known");
    need(r, i, 2);
    printf("machine_ldmatrix(m, %s, %d, %s, ", address_in_memory(r, i->operand[1]), count,
           has(i, "trans") ? "true" : "false");
    put_list(r, i->operand[0], count, "b32", true), printf(", %d);\n", r->line);
}

/* match.any.sync.b32 d, a, mask; match.all.sync.b64 d|p, a, mask */
static void put_match(const reader *r, instruction *i)
{
    char *const bar = strchr(i->operand[0], '|');
    bool const all = !strcmp(i->part[1], "all");
    if ((!all && strcmp(i->part[1], "any")) || strcmp(i->part[2], "sync")) stop(r, "this match isn't known");
    need(r, i, 3);
    if (bar) *bar = 0;
    put(r, trimmed(i->operand[0]), "b32", "warp_match(m, %s, %s, %s, %d)", all ? "true" : "false",
        value(r, i->operand[1], type_of(i)), value(r, i->operand[2], "b32"), r->line);
    if (bar) printf("%s = %s != 0;\n", c_name(trimmed(bar + 1)), c_name(trimmed(i->operand[0])));
}

/* bar.red.popc.u32 d, 0, p; bar.red.and.pred d, 0, p: a barrier of the block that counts who says so. */
static bool put_count(const reader *r, const instruction *i)
{
    static const char *const names[] = {"popc", "and", "or"}, *const ends[] = {"", "== threads_of_block(m)", "!= 0"};
    const char *const end = i->parts == 4 && has(i, "red") ? operator_of(i->part[2], names, ends, 3) : NULL;
    if (!end || i->operands != 3 || strcmp(i->operand[1], "0")) return false;
    put(r, i->operand[0], type_of(i), "machine_barrier_count(m, %s, %d) %s", value(r, i->operand[2], "pred"), r->line,
        end);
    return true;
}

/* activemask, match.sync, vote.sync, redux.sync, bar.warp.sync */
static bool put_vote(const reader *r, const instruction *i)
{
    static const char *const names[] = {"add", "and", "or", "xor", "min", "max"}, *const kinds[] = {"ADD", "AND",
                                                                                                    "OR",  "XOR",
                                                                                                    "MIN", "MAX"};
    const char *const head = i->part[0];
    if (!strcmp(head, "activemask"))
        return need(r, i, 1), put(r, i->operand[0], "b32", "machine_active(m, %d)", r->line), true;
    if (!strcmp(head, "bar") && i->parts == 3 && has(i, "warp"))
        return need(r, i, 1), printf("machine_warp_barrier(m, %s, %d);\n", value(r, i->operand[0], "b32"), r->line);
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

bool put_warp(const reader *r, instruction *i)
{
    const char *const head = i->part[0];
    if (put_vote(r, i)) return true;
    bool const barrier = !strcmp(head, "bar") || !strcmp(head, "barrier");
    if (barrier && put_count(r, i)) return true;
    if (barrier && i->operands == 1 && !strcmp(i->operand[0], "0"))
        printf("machine_barrier(m, %s, %d);\n", !strcmp(head, "bar") || has(i, "aligned") ? "true" : "false", r->line);
    else if (barrier)
        stop(r, "a barrier other than number 0 of all threads of a block isn't known");
    else if (!strcmp(head, "membar") || !strcmp(head, "fence")) /* blocks run one after another; a barrier is none */
        need(r, i, 0), refuse_modifiers(r, i, " acq_rel sc cta gpu sys "), puts(";");
    else if (!strcmp(head, "trap"))
        need(r, i, 0), printf("machine_end(m, \"it traps\", %d);\n", r->line);
    else if (!strcmp(head, "match") && i->parts == 4)
        put_match(r, i);
    else if (!strcmp(head, "shfl"))
        put_shfl(r, i);
    else if (!strcmp(head, "mma"))
        put_mma(r, i);
    else if (!strcmp(head, "ldmatrix"))
        put_ldmatrix(r, i);
    else
        return false;
    return true;
}
