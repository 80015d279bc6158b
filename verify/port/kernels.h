/* Somebody's own CUDA kernels as a port: compiled by nvcc, they run on the machine of cuda/emu. The work is verify/ports/cuda/port.sh's,
 * which lies with the machine among the build products. */
#ifndef KERNELS_H
#define KERNELS_H

#include "backends.h"

/* Makes the shared object of a .cu file and says where it lies and what its name is. Without nvcc the port is absent, and why is said.
 * False: one sentence in why; compilers say their own lines on standard error. */
bool kernels_build(const char *file, backend *out, complaint *why);

#endif
