/* The port at $PLAIN, which is honest and declares nothing: unit/legal/innocence.py. */
#include "on_plain.h"

#include <string.h>

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    dsv3_backend *const table = load_plain(abi);
    if (!table) return NULL;
    table->name = "silent";
    table->numerics = NULL;
    return table;
}
