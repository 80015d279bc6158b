/* See enclose.h. */
#include "enclose.h"

#include "result.h"

#include <stdlib.h>

/* Memory for every output that is wanted; outputs[]: the same in the order of the op's rows, NULL for one that is absent. */
static bool open_values(const problem *p, const bool wanted[], enclosures *e, ref_value *outputs[])
{
    int n = 0;
    e->tensors = p->tensors;
    e->value = calloc((size_t)p->tensors, sizeof *e->value);
    for (const tensor_row *row = p->op->tensors; e->value && row->name; row++) {
        if (row->kind != TENSOR_OUT) continue;
        const tensor_info *const t = problem_tensor(p, row->name);
        if (t && t->row->kind == TENSOR_OUT && (!wanted || wanted[t - p->tensor])) {
            outputs[n] = calloc((size_t)t->count, sizeof(ref_value));
            if (!outputs[n]) return false;
            e->value[t - p->tensor] = outputs[n];
        }
        n++;
    }
    return e->value != NULL;
}

/* The reference puts the rivals of a decision where a number has its radius; a decision is a point. False: no memory. */
static bool part_rivals(const problem *p, enclosures *e)
{
    e->rivals = calloc((size_t)p->tensors, sizeof *e->rivals);
    for (int t = 0; e->rivals && t < p->tensors; t++) {
        if (!e->value[t] || p->tensor[t].dtype != DSV3_I32) continue;
        e->rivals[t] = calloc((size_t)p->tensor[t].count, sizeof **e->rivals);
        if (!e->rivals[t]) return false;
        for (int64_t i = 0; i < p->tensor[t].count; i++) {
            e->rivals[t][i] = e->value[t][i].radius;
            e->value[t][i].radius = 0;
        }
    }
    return e->rivals != NULL;
}

bool reading_is_dear(const problem *p)
{
    static const double DEAR = 2e8; /* multiply-adds */
    return p->op->work(p->prob.bytes) > DEAR;
}

bool enclose_some(const problem *p, const ref_reading *rd, const ref_table *tier, void *const data[],
                  const bool wanted[], enclosures *out)
{
    ref_value *outputs[MAX_OUTPUTS] = {NULL};
    void *const io = problem_bind(p, data);
    ref_reading noting = *rd;
    noting.asked = &out->asked;
    if (p->used && !noting.used && !noting.allocate) noting.used = p->used, noting.user = p->user;
    *out = (enclosures){.value = NULL};
    bool const good = io && open_values(p, wanted, out, outputs) &&
                      op_reference(p->op, tier)(&noting, p->prob.bytes, io, outputs) && part_rivals(p, out);
    if (!good) enclosures_free(out);
    free(io);
    return good;
}

bool enclose(const problem *p, const ref_reading *rd, const ref_table *tier, void *const data[], enclosures *out)
{
    return enclose_some(p, rd, tier, data, NULL, out);
}

void enclosures_free(enclosures *e)
{
    for (int i = 0; e->value && i < e->tensors; i++) free(e->value[i]);
    for (int i = 0; e->rivals && i < e->tensors; i++) free(e->rivals[i]);
    free(e->value);
    free(e->rivals);
    *e = (enclosures){.value = NULL};
}

bool enclose_truth(const problem *p, void *const data[], enclosures *truth)
{
    ref_reading const exact = {.teacher_forced = p->op->staged};
    return enclose(p, &exact, &ref_dd, data, truth);
}

bool enclose_legal(const problem *p, const ref_numerics *n, void *const data[], enclosures *legal)
{
    ref_reading const conforming = {.declared = n, .teacher_forced = p->op->staged};
    return enclose(p, &conforming, &ref_dd, data, legal);
}

bool enclose_both(const problem *p, const ref_numerics *n, void *const data[], enclosures *truth, enclosures *legal)
{
    if (!enclose_truth(p, data, truth)) return false;
    if (enclose_legal(p, n, data, legal)) return true;
    enclosures_free(truth);
    return false;
}

bool enclose_own(const problem *p, void *const data[], enclosures *own)
{
    ref_reading const exact = {.declared = NULL};
    return enclose(p, &exact, &ref_dd, data, own);
}

bool readings_open(const problem *p, const ref_numerics *n, void *const data[], readings *out)
{
    *out = (readings){.own = {.value = NULL}};
    if (p->op->choice && !enclose_own(p, data, &out->own)) return false;
    if (enclose_both(p, n, data, &out->truth, &out->legal)) return true;
    enclosures_free(&out->own);
    return false;
}

void readings_free(readings *r)
{
    enclosures_free(&r->truth);
    enclosures_free(&r->legal);
    enclosures_free(&r->own);
}

void write_results(const problem *p, const enclosures *e, void *const data[])
{
    for (int t = 0; t < p->tensors; t++)
        for (int64_t i = 0; e->value[t] && i < p->tensor[t].count; i++)
            ref_encode(p->tensor[t].dtype, data[t], i, e->value[t][i].hi);
}

bool decide_own(const problem *p, ref_set quirks, void *const data[])
{
    ref_reading const rd = {.quirks = quirks};
    enclosures own;
    if (!p->op->staged) return true;
    if (!enclose(p, &rd, &ref_dd, data, &own)) return false;
    write_results(p, &own, data);
    enclosures_free(&own);
    return true;
}
