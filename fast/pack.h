/*
 * Packed matrices: what `prepare` makes of a checkpoint's, so that a product reads memory from front to back. OUTPUTS rows by
 * STRETCH columns lie together: tile by tile, and of a tile a chunk of each row in turn. Ends are filled up with zeros.
 * Tiles have TILE rows and chunks CHUNK entries; for AMX OUTPUTS, and 64 bytes. For pairs a part is tiles of SIDE rows by
 * 32 columns: of each pair of columns those of all rows side by side.
 */
#ifndef PACK_H
#define PACK_H

#include "ctx.h"
#include "rows.h"

enum {
    OUTPUTS = 32,       /* rows of a part */
    STRETCH = 8 * BLOCK /* columns in which a part passes over its rows */
};

/* Where tile `tile` of a part begins at a stretch, in elements from the part's start. */
static inline int64_t packed_at(int64_t tile, int64_t stretch)
{
    return (stretch * (OUTPUTS / TILE) + tile) * TILE * STRETCH;
}

/* Elements of a part. */
static inline int64_t packed_part(int64_t columns)
{
    return (columns + STRETCH - 1) / STRETCH * OUTPUTS * STRETCH;
}

packs *packs_open(void); /* NULL: no memory */
void packs_close(packs *p);

/* The packed form of a weight that lies there and is stored so, in tiles of so many rows, or NULL. It is packed now, if only its
 * place is there. */
const void *find_packed(dsv3_ctx *ctx, const dsv3_tensor *weight, int64_t rows);

/* A place for it, addresses without memory, or one use more of what is there; 0: no memory. unpack counts one use less. */
int pack_later(dsv3_ctx *ctx, const dsv3_tensor *weight, int64_t rows);
void unpack(dsv3_ctx *ctx, const dsv3_tensor *weight, int64_t rows);

/* The contract's prepare and unprepare: of every matrix that the op multiplies with. Those of routed experts are packed when a
 * token first chooses them: others take no memory. */
dsv3_status fast_prepare(dsv3_ctx *ctx, const char *op, const void *prob, const void *io);
void fast_unprepare(dsv3_ctx *ctx, const char *op, const void *prob, const void *io);

#endif
