/* See fill.h. */
#include "fill.h"

#include "lazy.h"
#include "rng.h"

#include <stdlib.h>
#include <sys/mman.h>

void fill_tensor(const problem *p, const tensor_info *t, void *data)
{
    const fill_row *const fill = p->fill->tensor ? p->op->fills : p->fill;
    uint64_t const key = rng_key(p->seed, t->name);
    if (p->fill->tensor && p->fill->tensor(p, t, data)) return;
    for (int64_t i = 0; i < t->count; i++)
        ref_encode(t->dtype, data, i, fill->value(p, t->row, t->index * t->count + i, rng_bits(key, (uint64_t)i)));
}

/* What follows from other inputs. False: no memory. */
static bool derive_inputs(const problem *p, void *const data[])
{
    return !p->op->derive || p->op->derive(p, data);
}

static bool fill_call(const problem *p, void *const data[])
{
    for (int i = 0; i < p->tensors; i++)
        if (p->tensor[i].row->kind != TENSOR_OUT && data[i]) fill_tensor(p, &p->tensor[i], data[i]);
    return derive_inputs(p, data);
}

bool fill_inputs(const problem *p, void *const data[])
{
    bool good = true;
    for (int s = 0, first = 0; good && s < problem_calls(p); first += problem_step(p, s++)->tensors)
        good = fill_call(problem_step(p, s), data + first);
    return good;
}

/* Of a lazy tensor. */
static bool fill_touched(void *context, int i, void *to)
{
    const problem *const p = context;
    fill_tensor(p, &p->tensor[i], to);
    return true;
}

static void *open_lazy(const problem *p, int i)
{
    return lazy_open(p->tensor[i].bytes, &(lazy_source){fill_touched, (void *)(uintptr_t)p, i, PROT_READ | PROT_WRITE});
}

static void *open_filled(const problem *p, int i)
{
    void *const data = calloc(1, p->tensor[i].bytes);
    if (data && p->tensor[i].row->kind != TENSOR_OUT) fill_tensor(p, &p->tensor[i], data);
    return data;
}

void *tensor_open(const problem *p, int i)
{
    return tensor_is_lazy(p, i) ? open_lazy(p, i) : open_filled(p, i);
}

void tensor_close(const problem *p, int i, void *data)
{
    if (tensor_is_lazy(p, i))
        lazy_close(data);
    else
        free(data);
}

bool tensors_open(const problem *p, void ***data)
{
    void **const d = *data = calloc((size_t)p->tensors, sizeof *d);
    bool good = d != NULL;
    if (good) lazy_catch();
    for (int i = 0; good && i < p->tensors; i++) {
        d[i] = tensor_open(p, i);
        good = d[i] != NULL;
    }
    return good && derive_inputs(p, d);
}

void tensors_close(const problem *p, void **data)
{
    for (int i = 0; data && i < p->tensors; i++) tensor_close(p, i, data[i]);
    free(data);
}

bool tensors_touch(const problem *p, void *const data[])
{
    bool good = true;
    for (int i = 0; good && i < p->tensors; i++)
        if (tensor_is_lazy(p, i) && !lazy_is_filled(data[i])) good = lazy_touch(data[i]) == LAZY_FILLED;
    return good;
}
