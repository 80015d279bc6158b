/* See fill.h. */
#include "fill.h"

#include "rng.h"

#include <stdlib.h>

void fill_tensor(const problem *p, const tensor_info *t, void *data)
{
    uint64_t const key = rng_key(p->seed, t->name);
    for (int64_t i = 0; i < t->count; i++)
        ref_encode(t->dtype, data, i, p->fill->value(p, t->row, t->index * t->count + i, rng_bits(key, (uint64_t)i)));
}

static bool fill_call(const problem *p, void *const data[])
{
    for (int i = 0; i < p->tensors; i++)
        if (p->tensor[i].row->kind != TENSOR_OUT) fill_tensor(p, &p->tensor[i], data[i]);
    return !p->op->derive || p->op->derive(p, data);
}

bool fill_inputs(const problem *p, void *const data[])
{
    bool good = true;
    for (int s = 0, first = 0; good && s < problem_calls(p); first += problem_step(p, s++)->tensors)
        good = fill_call(problem_step(p, s), data + first);
    return good;
}

bool tensors_open(const problem *p, void ***data)
{
    void **const d = *data = calloc((size_t)p->tensors, sizeof *d);
    bool good = d != NULL;
    for (int i = 0; good && i < p->tensors; i++) {
        d[i] = calloc(1, p->tensor[i].bytes);
        good = d[i] != NULL;
    }
    return good && fill_inputs(p, d);
}

void tensors_close(const problem *p, void **data)
{
    for (int i = 0; data && i < p->tensors; i++) free(data[i]);
    free(data);
}
