/* The array of all ops, and what leads from an op to its members in the tables of ports and tiers. */
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

dsv3_status op_call(const op *o, const dsv3_backend *b, dsv3_ctx *ctx, const void *prob, const void *io)
{
#define OP(name)                                                                                                       \
    if (o == &op_##name) return b->name ? b->name(ctx, prob, io) : DSV3_UNSUPPORTED;
    DSV3_OPS(OP)
#undef OP
    return DSV3_UNSUPPORTED;
}

ref_op *op_reference(const op *o, const ref_table *tier)
{
#define OP(name)                                                                                                       \
    if (o == &op_##name) return tier->name;
    DSV3_OPS(OP)
#undef OP
    return NULL;
}
