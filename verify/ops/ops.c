/* The array of all ops. */
#include "case/op.h"

const char *const preset_names[PRESETS] = {"v3", "tiny", "odd", "edge"};

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

const field_row *op_field(const op *o, const char *name)
{
    for (const field_row *f = o->fields; f->name; f++)
        if (!strcmp(f->name, name)) return f;
    return NULL;
}
