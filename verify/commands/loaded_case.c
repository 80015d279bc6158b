/* See loaded_case.h. */
#include "loaded_case.h"

#include "case/fill.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>

static bool load(loaded_case *l, const char *id, const char *declared)
{
    complaint why;
    snprintf(l->declared, sizeof l->declared, "%s", declared);
    if (!problem_parse(id, &l->p, &why)) return usage_error("%s", why.text), false;
    if (!ref_numerics_parse(l->p.op->name, declared, &l->numerics, why.text, sizeof why.text))
        return usage_error("%s", why.text), false;
    return tensors_open(&l->p, &l->data) || (usage_error("no memory for %s", l->p.id), false);
}

loaded_case *loaded_case_open(const char *id, const char *declared)
{
    loaded_case *const l = calloc(1, sizeof *l);
    if (!l) return usage_error("no memory"), NULL;
    if (load(l, id, declared)) return l;
    loaded_case_close(l);
    return NULL;
}

void loaded_case_close(loaded_case *l)
{
    tensors_close(&l->p, l->data);
    problem_close(&l->p);
    free(l);
}
