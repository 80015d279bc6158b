/*
 * What a context holds: workers that live as long as it does, and memory that is reserved once. Ops allocate nothing; pages
 * are touched when they are first used.
 */
#ifndef CTX_H
#define CTX_H

#include "dsv3.h"

#include <stdbool.h>

dsv3_status ctx_open(dsv3_ctx **ctx, int device);
void ctx_close(dsv3_ctx *ctx);

/* How products of BF16 are made: in binary32, or by the processor's own instructions for pairs or for tiles. */
typedef enum { PATH_FMA, PATH_PAIRS, PATH_AMX } product_path;

/* A pure function of the processor, of what the system allows, and of DSV3_FAST. */
product_path ctx_path(const dsv3_ctx *ctx);
product_path path_here(void);

/* DSV3_FAST_INVARIANT=1: must a row have the same bits alone as beside others? Else a row may go by what is faster for it. */
int ctx_invariant(const dsv3_ctx *ctx);
int invariant_here(void);

/* Do the variables that begin with DSV3_FAST say what is known? Else one sentence about the first that doesn't. */
bool settings_are_known(char *why, size_t cap);

/* One line: which path runs, and why each other one doesn't. */
void path_describe(char *text, size_t cap);

/* What was prepared: pack.h. */
typedef struct packs packs;
packs *ctx_packs(const dsv3_ctx *ctx);

/* ---- memory: pieces are taken in order and given back to a mark ---- */

/* n * size bytes at a multiple of 64; NULL when the reserve is used up. */
void *ctx_take(dsv3_ctx *ctx, int64_t n, size_t size);

/* A piece for each worker, on pages of its own: processors fetch ahead up to a page's end, and what one fetches of another's
 * piece while that is written goes back and forth between them. memory NULL: the reserve is used up. */
typedef struct {
    char *memory;
    size_t pitch;
} worker_pieces;

worker_pieces ctx_take_each(dsv3_ctx *ctx, int64_t n, size_t size);

static inline void *piece_of(const worker_pieces *pieces, int worker)
{
    return pieces->memory + (size_t)worker * pieces->pitch;
}

size_t ctx_mark(const dsv3_ctx *ctx);
void ctx_back(dsv3_ctx *ctx, size_t mark);

/* ---- workers: the caller is one of them ---- */

int ctx_workers(const dsv3_ctx *ctx);

/* Part `part` of a job, by worker `worker`. */
typedef void work(const void *job, int64_t part, int worker);

/* Runs parts 0 to parts - 1, each once, by whoever is free. Which worker does a part must not change what comes out. */
void ctx_run(dsv3_ctx *ctx, work *f, const void *job, int64_t parts);

#endif
