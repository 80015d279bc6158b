/*
 * The functions of NVIDIA's runtime that host code calls, on the machine of this folder: what nvcc made of a .cu file runs without a
 * device when it is linked with this instead of libcudart. Source: NVIDIA, CUDA Runtime API 13.0, cuda_runtime_api.h.
 */
#ifndef RUNTIME_H
#define RUNTIME_H

#include "machine.h"

/* Makes kernels known by name, before the first launch; the list stays the caller's. */
void runtime_kernels(const kernel *list, int count);

/* Makes an array of the file known, which host code copies to and from by name. */
void runtime_memory(const char *name, void *memory, size_t bytes);

/* What went wrong in the first launch that failed; "": nothing. */
const char *runtime_fault(void);

#endif
