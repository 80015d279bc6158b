/* The AVX-512 backend of this build as a shared object. */
#include "dsv3.h"

extern const dsv3_backend dsv3_backend_avx512;
const dsv3_backend *dsv3_backend_get(uint32_t abi);

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    return abi == DSV3_ABI ? &dsv3_backend_avx512 : NULL;
}
