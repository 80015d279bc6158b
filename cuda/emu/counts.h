/* What each launch asks of global memory and of the processor, a line of JSON a launch: docs/cuda.md, Bytes and issue slots. */
#ifndef COUNTS_H
#define COUNTS_H

#include "machine.h"

typedef struct counts counts;

typedef enum { ASKS_TO_READ = 1, ASKS_TO_WRITE = 2 } access_kind; /* an atomic asks for both */

counts *counts_open(const char *path); /* NULL: it can't be written, or no memory */
void counts_close(counts *c);

/* The running thread asks for bytes of global memory at a line of the PTX. */
void counts_access(machine *m, uint64_t address, uint32_t bytes, access_kind kind, int line);

/* ldmatrix reads a matrix of 8x8, whose rows lie at these addresses of shared memory. */
void counts_matrix(machine *m, const uint64_t row[8]);
void counts_block(machine *m); /* a block has ended */

/* A launch has ended: its line is written, and counts begin anew. */
void counts_launch(machine *m, const uint32_t grid[3], const uint32_t block[3], uint32_t shared);

#endif
