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

void fill_inputs(const problem *p, void *const data[])
{
    for (int i = 0; i < p->tensors; i++)
        if (p->tensor[i].row->kind != TENSOR_OUT) fill_tensor(p, &p->tensor[i], data[i]);
}

bool tensors_open(const problem *p, void *data[])
{
    bool good = true;
    for (int i = 0; i < MAX_TENSORS; i++) {
        data[i] = i < p->tensors ? calloc(1, p->tensor[i].bytes) : NULL;
        good = good && (data[i] || i >= p->tensors);
    }
    if (good) fill_inputs(p, data);
    return good;
}

void tensors_close(void *data[])
{
    for (int i = 0; i < MAX_TENSORS; i++) free(data[i]);
}
