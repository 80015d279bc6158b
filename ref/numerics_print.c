/* Declared arithmetic as text, in the grammar that numerics.c reads. */
#include "clauses.h"

#include <stdio.h>
#include <stdlib.h>

static void print_acc(const ref_accumulator *a, char *text, size_t cap)
{
    int const natural_guard = a->rounding == REF_RN ? 255 : 0;
    int used = snprintf(text, cap, "acc %d %s", a->bits, direction_names[a->rounding]);
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

static void print_function(int clause, const ref_numerics *n, char *text, size_t cap)
{
    const function_row *const row = clause_function(clause);
    const char *const name = clause_name(clause);
    char rel[32], more[32];
    ref_function f;
    memcpy(&f, (const char *)n + row->offset, sizeof f);
    number_text(f.rel, rel, sizeof rel);
    if (f.ieee && clause == CLAUSE_RSQRT && n->root != REF_ROOT_ANY)
        snprintf(text, cap, "%s %s", name, n->root == REF_ROOT_RECIP ? "recip" : "root");
    else if (f.ieee)
        snprintf(text, cap, "%s ieee", name);
    else if (row->more)
        snprintf(text, cap, "%s %s %s", name, rel, number_text(f.more, more, sizeof more));
    else
        snprintf(text, cap, "%s %s", name, rel);
}

static void print_point(const char *op, int i, const ref_numerics *n, char *text, size_t cap)
{
    const ref_rounding *const r = &n->point[i];
    bool const output = is_output_of(op, i);
    snprintf(text, cap, "%s%s %s %s%s", ref_point_prefix(op, i), clause_name(i),
             r->format ? ref_dtype_name(r->format) : "output", r->must || output ? "must" : "may",
             r->truncates ? " rz" : "");
}

static void print_angle(const ref_numerics *n, char *text, size_t cap)
{
    char number[32];
    const char *const format = n->angle_f64 ? "f64" : "f32";
    if (n->frequency < 0)
        snprintf(text, cap, "angle %s", format);
    else
        snprintf(text, cap, "angle %s %s", format, number_text(n->frequency, number, sizeof number));
}

static void print_arith(const ref_numerics *n, char *text, size_t cap)
{
    size_t used = (size_t)snprintf(text, cap, "arith %s", ref_dtype_name(n->arith));
    for (int i = 0; i < REF_PIECES && used < cap; i++)
        if (n->arith_of[i])
            used += (size_t)snprintf(text + used, cap - used, " %s=%s", piece_names[i], ref_dtype_name(n->arith_of[i]));
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
    case CLAUSE_SIGMOID: print_function(clause, n, text, cap); return;
    case CLAUSE_SINCOS: snprintf(text, cap, "sincos %s", number_text(n->sincos, number, sizeof number)); return;
    case CLAUSE_ANGLE: print_angle(n, text, cap); return;
    case CLAUSE_RESCALES:
        if (n->rescales < 0)
            snprintf(text, cap, "rescales any");
        else
            snprintf(text, cap, "rescales %lld", (long long)n->rescales);
        return;
    case CLAUSE_FORM: snprintf(text, cap, "form %s", form_names[n->form]); return;
    case CLAUSE_QUOTIENT: snprintf(text, cap, "quotient %s", quotient_names[n->quotient]); return;
    case CLAUSE_SCALED: snprintf(text, cap, "scaled %s", scaled_names[n->scaled]); return;
    case CLAUSE_PARTS:
        if (n->parts < 0)
            snprintf(text, cap, "parts any");
        else
            snprintf(text, cap, "parts %lld", (long long)n->parts);
        return;
    case CLAUSE_FLUSH: snprintf(text, cap, "flush %s", flush_names[n->flush]); return;
    case CLAUSE_ARITH: print_arith(n, text, cap); return;
    default: print_point(op, clause, n, text, cap);
    }
}

/* A choice isn't rounded. */
static bool is_decision(int point)
{
    return !strcmp(clause_name(point), "topk_idx");
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
        if (!clause_concerns(op, clause) || (assumed_only && ref_has(n->declared, clause))) continue;
        if (undeclared_output && !(ref_has(n->declared, clause))) continue;
        print_clause(op, clause, n, one, sizeof one);
        used += (size_t)snprintf(text + used, cap - used, "%s%s", used ? "; " : "", one);
        if (used >= cap) return;
    }
    for (int bit = 0; bit < REF_WITHOUT && !assumed_only && used < cap; bit++)
        if (n->without >> bit & 1)
            used += (size_t)snprintf(text + used, cap - used, "; without %s", ref_without_name(bit));
}
