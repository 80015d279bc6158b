/* The CUDA backend on the machine, as a port. */
#include "dsv3.h"

#include <stddef.h>

extern const dsv3_backend dsv3_backend_cuda;

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    return abi == DSV3_ABI ? &dsv3_backend_cuda : NULL;
}
