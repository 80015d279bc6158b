/* See loaded_case.h. */
#include "loaded_case.h"

#include "case/fill.h"
#include "case/without.h"
#include "memory.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* These commands know single calls. */
static bool is_one_call(const problem *p, complaint *why)
{
    return !p->steps || refuse(why, "%s is a sequence of calls, which run alone judges: take a step of it, such as %s",
                               p->id, p->step[0].id);
}

/* A sentence about what stands in a file names it. Returns false. */
static bool refuse_from(const char *file, const complaint *cause, complaint *why)
{
    return file ? refuse(why, "%s: %s", file, cause->text) : refuse(why, "%s", cause->text);
}

static bool parse(loaded_case *l, const char *id, const char *file, const given_numerics *d, complaint *why)
{
    complaint cause;
    snprintf(l->declared, sizeof l->declared, "%s", d->text);
    if (!problem_parse(id, &l->p, &cause) || !is_one_call(&l->p, &cause)) return refuse_from(file, &cause, why);
    if (!ref_numerics_parse(l->p.op->name, d->text, &l->numerics, cause.text, sizeof cause.text)) {
        if (!d->file && !strchr(d->text, ' ')) refuse_more(&cause, "; and there is no file of that name");
        return refuse_from(d->file, &cause, why);
    }
    return memory_holds(memory_available(), &l->p, false, why);
}

loaded_case *loaded_case_read(const char *id, const char *file, const given_numerics *d, complaint *why)
{
    loaded_case *const l = calloc(1, sizeof *l);
    if (!l) return refuse(why, "no memory"), NULL;
    if (parse(l, id, file, d, why)) return l;
    problem_close(&l->p);
    free(l);
    return NULL;
}

loaded_case *loaded_case_open(const char *id, const given_numerics *d)
{
    complaint why;
    loaded_case *const l = loaded_case_read(id, NULL, d, &why);
    if (!l) usage_error("%s", why.text);
    return l;
}

bool loaded_case_fits_files(const loaded_case *l, complaint *why)
{
    for (int i = 0; i < l->p.tensors; i++)
        if (l->p.tensor[i].wide)
            return refuse(why, "%s: tensors in files are compact: leave view.%s out", l->p.id, l->p.tensor[i].name);
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
