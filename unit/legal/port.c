/* port: the table of the legal ports. */
#include "legal.h"

#include <stdlib.h>
#include <string.h>

/* LEGAL=7,undeclared=1 declares nothing. Texts live as long as the port: a ring of them is enough, for the harness reads one before it asks again. */
static char const *numerics(char const *op, void const *prob, void const *io)
{
    static legal config[64];
    static unsigned next;
    legal *c = config + next++ % 64;
#define DECLARE(name)                                                                                                  \
    if (!strcmp(op, #name)) {                                                                                          \
        legal_##name##_config(c, prob, io);                                                                            \
        return legal_draw(c, "undeclared", 1) ? NULL : c->text;                                                        \
    }
    LEGAL_PORTS(DECLARE)
#undef DECLARE
    return NULL;
}

dsv3_backend const *dsv3_backend_get(uint32_t abi)
{
#define ENTRY(name) .name = legal_##name,
    static dsv3_backend const table = {DSV3_ABI, sizeof table, "legal", .numerics = numerics, LEGAL_PORTS(ENTRY)};
#undef ENTRY
    return abi == DSV3_ABI ? &table : NULL;
}
