/* See loaded_case.h. */
#include "loaded_case.h"

#include "case/fill.h"
#include "case/without.h"
#include "memory.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>

/* These commands know single calls. */
static bool is_one_call(const problem *p, complaint *why)
{
    return !p->steps || refuse(why, "%s is a sequence of calls, which run alone judges: take a step of it, such as %s",
                               p->id, p->step[0].id);
}

static bool parse(loaded_case *l, const char *id, const char *declared, complaint *why)
{
    snprintf(l->declared, sizeof l->declared, "%s", declared);
    return problem_parse(id, &l->p, why) && is_one_call(&l->p, why) &&
           ref_numerics_parse(l->p.op->name, declared, &l->numerics, why->text, sizeof why->text) &&
           memory_holds(memory_available(), &l->p, false, why);
}

loaded_case *loaded_case_open(const char *id, const char *declared)
{
    complaint why;
    loaded_case *const l = calloc(1, sizeof *l);
    if (!l) return usage_error("no memory"), NULL;
    if (parse(l, id, declared, &why)) return l;
    usage_error("%s", why.text);
    problem_close(&l->p);
    free(l);
    return NULL;
}

bool loaded_case_fits_files(const loaded_case *l)
{
    for (int i = 0; i < l->p.tensors; i++)
        if (l->p.tensor[i].wide)
            return usage_error("%s: tensors in files are compact: leave view.%s out", l->p.id, l->p.tensor[i].name),
                   false;
    return true;
}

bool loaded_case_fill(loaded_case *l)
{
    return tensors_open(&l->p, &l->data) || (usage_error("no memory for %s", l->p.id), false);
}

bool loaded_case_leave_out(loaded_case *l, unsigned without)
{
    problem rest = {.tensors = 0};
    void **const kept = calloc((size_t)l->p.tensors + 1, sizeof *kept);
    if (!kept || !problem_without(&l->p, without, l->data, &rest, kept))
        return free(kept), usage_error("no memory for %s", l->p.id), false;
    for (int i = 0; i < l->p.tensors; i++)
        if (optional_as(&l->p.tensor[i]) & without) free(l->data[i]);
    free(l->data);
    problem_close(&l->p);
    l->p = rest;
    l->data = kept;
    return true;
}

void loaded_case_close(loaded_case *l)
{
    tensors_close(&l->p, l->data);
    problem_close(&l->p);
    free(l);
}
