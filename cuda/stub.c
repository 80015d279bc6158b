/* The CUDA backend of a build without nvcc: it says so. */
#include "dsv3.h"

#include <stdio.h>

extern const dsv3_backend dsv3_backend_cuda;

static dsv3_status probe(char *why, size_t cap)
{
    snprintf(why, cap, "built without nvcc");
    return DSV3_UNSUPPORTED;
}

const dsv3_backend dsv3_backend_cuda = {.abi = DSV3_ABI, .size = sizeof(dsv3_backend), .name = "cuda", .probe = probe};
