/* The array of all ops. */
#include "case/op.h"

#define OP(name) extern const op op_##name;
DSV3_OPS(OP)
#undef OP

#define OP(name) &op_##name,
const op *const ops[] = {DSV3_OPS(OP) NULL};
#undef OP

const op *op_find(const char *name)
{
    for (int i = 0; ops[i]; i++)
        if (!strcmp(ops[i]->name, name)) return ops[i];
    return NULL;
}
