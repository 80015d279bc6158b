/* See kept_answer.h. */
#include "kept_answer.h"

#include "ask.h"
#include "case/fill.h"
#include "case/without.h"

#include <stdio.h>
#include <stdlib.h>

bool kept_answer_is_there(const kept_answer *k)
{
    return k->made != NULL;
}

void kept_answer_free(kept_answer *k)
{
    if (!k) return;
    if (k->made) answered_free(&k->under);
    free(k->made);
    problem_close(&k->rest);
    tensors_close(&k->p, k->data);
    problem_close(&k->p);
    free(k);
}

/* What the port made, as a case of its own. False: it left out what no port may. */
static bool narrow(kept_answer *k, unsigned left_out)
{
    complaint why;
    if (!without_read(&k->p, left_out, REF_LSE | REF_STAGES, &k->without, &why)) {
        k->r.v = UNWRITTEN;
        snprintf(k->r.why, sizeof k->r.why, "%.500s", why.text);
        return false;
    }
    void **const made = calloc((size_t)k->p.tensors + 1, sizeof *made);
    bool const good =
        made && problem_without(&k->p, k->without, k->data, &k->rest, made) && answered_open(&k->rest, made, &k->under);
    if (good)
        k->made = made;
    else
        free(made), case_unjudged(&k->r, "no memory for the reference");
    return good;
}

kept_answer *kept_answer_ask(const char *id, port *asked)
{
    complaint why;
    answer a;
    kept_answer *const k = calloc(1, sizeof *k);
    if (!k || !problem_parse(id, &k->p, &why)) return free(k), NULL;
    if (!tensors_open(&k->p, &k->data)) return kept_answer_free(k), NULL;
    if (ask(&k->p, k->data, false, asked, &a, &k->r)) narrow(k, a.left_out[0]);
    return k;
}
