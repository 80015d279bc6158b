/* See forced.h. */
#include "forced.h"

/* Which rivals a choice has depends on the choice. */
bool is_forced(const problem *p, int i)
{
    if (!p->op->staged || p->tensor[i].row->kind != TENSOR_OUT) return false;
    for (int k = i + 1; k < p->tensors; k++)
        if (p->tensor[k].row->kind == TENSOR_OUT) return true;
    return p->tensor[i].dtype == DSV3_I32;
}

void forced_outputs(const problem *p, void *const data[], char text[FINGERPRINT_TEXT])
{
    *text = 0;
    if (!p->op->staged) return;
    fingerprint *const f = fingerprint_open();
    for (int i = 0; i < p->tensors; i++)
        if (is_forced(p, i)) fingerprint_add(f, p->tensor[i].name, data[i], p->tensor[i].bytes);
    fingerprint_close(f, text);
}
