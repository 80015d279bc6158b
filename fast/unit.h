/*
 * The matrix unit of a thread: eight tiles of sixteen rows of 64 bytes. Tiles 0 to 3 hold sums of binary32, 4 and 5 rows of
 * BF16, 6 and 7 pairs of sixteen rows side by side. Intrinsics, or with PORTABLE the model of them.
 *
 * Tiles are named by literals. Sums in columns beyond those that the unit was opened with are anything, or aren't there: the
 * processor makes all sixteen, since what a narrower tile stores can't be loaded again before it has left the core.
 */
#ifndef UNIT_H
#define UNIT_H

#include "bf16_model.h"
#include "rows.h"

#include <stdbool.h>

enum { DEEP = 32, TILE_BYTES = 1024 }; /* columns of BF16 in a row of a tile */

/* A tile's memory: rows, or pairs of sixteen rows, of BF16; and sums, [row][row of which pairs were made]. */
typedef struct {
    _Alignas(64) uint16_t at[SIDE][DEEP];
} tile;

typedef struct {
    _Alignas(64) float at[SIDE][SIDE];
} square;

/* Sixteen rows of tiles from some step on: bytes from row to row, from step to step. */
typedef struct {
    const char *data;
    int64_t pitch, step;
} tile_rows;

#ifdef PORTABLE

#define USES_UNIT

typedef struct {
    int columns;
    union {
        unsigned char bytes[SIDE][64];
        float sum[SIDE][SIDE];
        uint16_t half[SIDE][DEEP];
    } tile[8];
} unit;

static inline void unit_open(unit *u, int columns)
{
    u->columns = columns;
    memset(u->tile, 0, sizeof u->tile);
}

static inline void unit_close(const unit *u)
{
    (void)u;
}

static inline size_t unit_width(const unit *u, int number)
{
    return number == 4 || number == 5 ? 64 : 4 * (size_t)u->columns;
}

static inline void unit_zero(unit *u, int number)
{
    memset(u->tile[number].bytes, 0, TILE_BYTES);
}

/* Rows lie `pitch` bytes apart. */
static inline void unit_load(unit *u, int number, const void *from, int64_t pitch)
{
    for (int i = 0; i < SIDE; i++)
        memcpy(u->tile[number].bytes[i], (const char *)from + i * pitch, unit_width(u, number));
}

static inline void unit_store(const unit *u, int number, void *to, int64_t pitch)
{
    for (int i = 0; i < SIDE; i++) memcpy((char *)to + i * pitch, u->tile[number].bytes[i], unit_width(u, number));
}

/* sum += rows times pairs. */
static inline void unit_dot(unit *u, int sum, int rows, int pairs)
{
    tile_model(u->tile[rows].half, u->tile[pairs].half, u->columns, u->tile[sum].sum);
}

#else

#include <immintrin.h>

/* Of the only functions with instructions for tiles. They are called where path_here() is PATH_AMX, and to find that out. */
#define USES_UNIT   __attribute__((target("amx-tile,amx-bf16")))

/* What ldtilecfg reads. */
typedef struct {
    _Alignas(64) uint8_t palette;
    uint8_t start_row, reserved[14];
    uint16_t width[16]; /* bytes of a row */
    uint8_t rows[16];
} unit;

/* Intrinsics don't tell the compiler what they read: before one reads, memory is as the program has it. */
#define WRITTEN(at) __asm__ volatile("" ::"r"(at) : "memory")

static inline USES_UNIT void unit_open(unit *u, int columns)
{
    (void)columns;
    memset(u, 0, sizeof *u);
    u->palette = 1;
    for (int number = 0; number < 8; number++) {
        u->rows[number] = SIDE;
        u->width[number] = 64;
    }
    WRITTEN(u);
    _tile_loadconfig(u);
}

static inline USES_UNIT void unit_close(const unit *u)
{
    (void)u;
    _tile_release();
}

#define UNIT(u, step)                                                                                                  \
    do {                                                                                                               \
        WRITTEN(u);                                                                                                    \
        step;                                                                                                          \
    } while (0)
#define unit_zero(u, tile)              UNIT(u, _tile_zero(tile))
#define unit_load(u, tile, from, pitch) UNIT(u, _tile_loadd(tile, from, pitch))
#define unit_store(u, tile, to, pitch)  UNIT(u, _tile_stored(tile, to, pitch))
#define unit_dot(u, sum, rows, pairs)   UNIT(u, _tile_dpbf16ps(sum, rows, pairs))

#endif

/* Tiles 0 to 3 are what lies in first[0], first[1], second[0] and second[1]; fresh: 0. */
static inline __attribute__((always_inline)) USES_UNIT void unit_begin_four(unit *u, bool fresh, const square first[2],
                                                                            const square second[2])
{
    if (fresh) {
        unit_zero(u, 0);
        unit_zero(u, 1);
        unit_zero(u, 2);
        unit_zero(u, 3);
    } else {
        unit_load(u, 0, &first[0], 64);
        unit_load(u, 1, &first[1], 64);
        unit_load(u, 2, &second[0], 64);
        unit_load(u, 3, &second[1], 64);
    }
}

static inline __attribute__((always_inline)) USES_UNIT void unit_end_four(unit *u, square first[2], square second[2])
{
    unit_store(u, 0, &first[0], 64);
    unit_store(u, 1, &first[1], 64);
    unit_store(u, 2, &second[0], 64);
    unit_store(u, 3, &second[1], 64);
}
#endif
