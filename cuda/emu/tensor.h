/*
 * Sums of matrix units, bit for bit: k products are cut where the largest term says, added exactly, and cut again. Sources: arXiv
 * 2511.10909 and its repository microsoft/MMA-Sim, mmasim/simulator/arithmetic.py and nv_ptx.py; what an H100 computed
 * (unit/legal/sums_h100.txt).
 */
#ifndef TENSOR_H
#define TENSOR_H

#include <stdbool.h>
#include <stdint.h>

typedef enum { GPU_AMPERE, GPU_ADA, GPU_HOPPER, GPU_BLACKWELL } tensor_gpu;
typedef enum { CODE_F16, CODE_BF16, CODE_E4M3, CODE_E5M2 } tensor_code;

enum { TENSOR_DEPTH = 32 }; /* bytes of a row of A, or of a column of B, at most */

/* An instruction: mma.sync, or wgmma; of how many products. */
typedef struct {
    tensor_gpu gpu;
    tensor_code code;
    int k;
    bool wgmma;
} tensor_unit;

/* False: that processor has no such instruction. */
bool tensor_has(const tensor_unit *u);

/* d[i][j] = c[i][j] + sum over l of a[i][l] b[j][l], for `rows` rows and `columns` columns; d may be c. Rows of a and b are
 * TENSOR_DEPTH bytes apart, rows of c and d `columns` numbers. c and d: bits of binary32. */
void tensor_multiply(const tensor_unit *u, int rows, int columns, const uint8_t *a, const uint8_t *b, const uint32_t *c,
                     uint32_t *d);

#endif
