/* See without.h. */
#include "without.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_output(const tensor_info *t)
{
    return t->row->kind == TENSOR_OUT;
}

unsigned optional_as(const tensor_info *t)
{
    if (!is_output(t)) return 0;
    if (t->row->present && !strncmp(t->row->present, "stages", 6)) return REF_STAGES;
    return strcmp(t->name, "lse") ? 0 : REF_LSE;
}

unsigned output_bit(const problem *p, int i)
{
    int n = 0;
    for (int k = 0; k < i; k++) n += is_output(&p->tensor[k]);
    return 1u << n;
}

/* ---- which ---- */

typedef bool chooses(const problem *p, int i, unsigned set);

static bool is_as(const problem *p, int i, unsigned optional)
{
    return optional_as(&p->tensor[i]) & optional;
}

static bool is_among(const problem *p, int i, unsigned outputs)
{
    return is_output(&p->tensor[i]) && output_bit(p, i) & outputs;
}

/* The names of the tensors that are chosen, ", " between them. */
static void print_names(const problem *p, chooses *chosen, unsigned set, char *text, size_t cap)
{
    size_t used = 0;
    *text = 0;
    for (int i = 0; i < p->tensors && used < cap; i++)
        if (chosen(p, i, set))
            used += (size_t)snprintf(text + used, cap - used, "%s%s", used ? ", " : "", p->tensor[i].name);
}

void without_print(const problem *p, unsigned without, char *text, size_t cap)
{
    print_names(p, is_as, without, text, cap);
}

/* All outputs of an option, as output bits. */
static unsigned outputs_of(const problem *p, unsigned optional)
{
    unsigned set = 0;
    for (int i = 0; i < p->tensors; i++)
        if (is_as(p, i, optional)) set |= output_bit(p, i);
    return set;
}

/* Outputs of one option were left out. */
static bool read_option(const problem *p, int option, unsigned left_out, unsigned declared, complaint *why)
{
    char missing[200], made[200];
    unsigned const all = outputs_of(p, 1u << option);
    const char *const word = ref_without_name(option);
    print_names(p, is_among, left_out & all, missing, sizeof missing);
    print_names(p, is_among, all & ~left_out, made, sizeof made);
    if (!(declared >> option & 1))
        return refuse(why, "not written: %s; a port that doesn't make %s declares 'without %s'", missing,
                      1u << option == REF_STAGES ? "stages" : "it", word);
    return !*made || refuse(why, "not written: %s; it declares 'without %s' and yet makes %s", missing, word, made);
}

bool without_read(const problem *p, unsigned left_out, unsigned declared, unsigned *without, complaint *why)
{
    char names[200];
    unsigned const other = left_out & ~outputs_of(p, ~0u);
    *without = 0;
    print_names(p, is_among, other, names, sizeof names);
    if (other) return refuse(why, "not written: %s", *names ? names : "an output that isn't there");
    for (int option = 0; option < REF_WITHOUT; option++) {
        if (!(left_out & outputs_of(p, 1u << option))) continue;
        if (!read_option(p, option, left_out, declared, why)) return false;
        *without |= 1u << option;
    }
    return true;
}

/* ---- the rest ---- */

static void clear_stages(problem *p)
{
    int32_t const none = 0;
    memcpy(p->prob.bytes + op_field(p->op, "stages")->offset, &none, sizeof none);
}

bool problem_without(const problem *p, unsigned without, void *const data[], problem *out, void *kept[])
{
    *out = *p;
    out->step = NULL;
    out->tensors = 0;
    out->tensor = calloc((size_t)p->tensors, sizeof *out->tensor);
    for (int i = 0; out->tensor && i < p->tensors; i++) {
        if (is_as(p, i, without)) continue;
        kept[out->tensors] = data[i];
        out->tensor[out->tensors++] = p->tensor[i];
    }
    if (without & REF_STAGES) clear_stages(out);
    return out->tensor != NULL;
}
