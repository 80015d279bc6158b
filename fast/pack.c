/* See pack.h. */
#include "pack.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

typedef struct {
    dsv3_tensor weight;
    void *memory;
    size_t bytes;
    int64_t uses; /* 0: a free place */
} entry;

/* Places are searched from the one that an address has; at least half of them are free. */
struct packs {
    int64_t places, used;
    entry *entry;
};

/* ---- places ---- */

static bool same_matrix(const dsv3_tensor *a, const dsv3_tensor *b)
{
    return a->data == b->data && a->dtype == b->dtype && a->shape[0] == b->shape[0] && a->shape[1] == b->shape[1] &&
           a->stride[0] == b->stride[0];
}

static int64_t home_of(const packs *p, const dsv3_tensor *weight)
{
    uint64_t const hash = (uint64_t)(uintptr_t)weight->data * 0x9e3779b97f4a7c15u;
    return (int64_t)(hash >> 20) & (p->places - 1);
}

static int64_t after(const packs *p, int64_t i)
{
    return (i + 1) & (p->places - 1);
}

/* Where the weight is, or would be. */
static entry *place_of(const packs *p, const dsv3_tensor *weight)
{
    int64_t i = home_of(p, weight);
    while (p->entry[i].uses && !same_matrix(&p->entry[i].weight, weight)) i = after(p, i);
    return &p->entry[i];
}

/* The same entries in so many places. */
static bool spread(packs *p, int64_t places)
{
    packs wider = {places, p->used, calloc((size_t)places, sizeof *wider.entry)};
    if (!wider.entry) return false;
    for (int64_t i = 0; i < p->places; i++)
        if (p->entry[i].uses) *place_of(&wider, &p->entry[i].weight) = p->entry[i];
    free(p->entry);
    *p = wider;
    return true;
}

/* Frees a place; entries behind it that a search would then miss move up. */
static void drop(packs *p, int64_t hole)
{
    int64_t const mask = p->places - 1;
    for (int64_t i = after(p, hole); p->entry[i].uses; i = after(p, i)) {
        if (((i - home_of(p, &p->entry[i].weight)) & mask) < ((i - hole) & mask)) continue;
        p->entry[hole] = p->entry[i];
        hole = i;
    }
    p->entry[hole] = (entry){.uses = 0};
    p->used--;
}

packs *packs_open(void)
{
    packs *const p = calloc(1, sizeof *p);
    if (p && spread(p, 64)) return p;
    return free(p), NULL;
}

void packs_close(packs *p)
{
    for (int64_t i = 0; i < p->places; i++)
        if (p->entry[i].uses) munmap(p->entry[i].memory, p->entry[i].bytes);
    free(p->entry);
    free(p);
}

/* ---- packing ---- */

typedef struct {
    const dsv3_tensor *weight;
    char *to;
} packing;

/* A tile's rows at a stretch; `to` holds zeros. */
static void pack_tile(const packing *p, int64_t first, int64_t from, char *to)
{
    int64_t const size = size_in(p->weight->dtype), columns = p->weight->shape[1];
    for (int64_t k = from; k < columns && k < from + STRETCH; k += CHUNK)
        for (int64_t o = first; o < first + TILE && o < p->weight->shape[0]; o++)
            memcpy(to + ((k - from) * TILE + (o - first) * CHUNK) * size,
                   (const char *)p->weight->data + (o * p->weight->stride[0] + k) * size,
                   (size_t)((columns - k < CHUNK ? columns - k : CHUNK) * size));
}

static void pack_part(const void *job, int64_t part, int worker)
{
    (void)worker;
    const packing *const p = job;
    int64_t const size = size_in(p->weight->dtype), columns = p->weight->shape[1];
    char *const to = p->to + part * packed_part(columns) * size;
    for (int64_t s = 0; s * STRETCH < columns; s++)
        for (int64_t tile = 0; tile < OUTPUTS / TILE; tile++)
            pack_tile(p, part * OUTPUTS + tile * TILE, s * STRETCH, to + packed_at(tile, s) * size);
}

static bool make(dsv3_ctx *ctx, const dsv3_tensor *weight, entry *e)
{
    int64_t const parts = (weight->shape[0] + OUTPUTS - 1) / OUTPUTS;
    *e = (entry){.weight = *weight, .uses = 1};
    e->bytes = (size_t)(parts * packed_part(weight->shape[1]) * size_in(weight->dtype));
    e->memory = mmap(NULL, e->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (e->memory == MAP_FAILED) return *e = (entry){.uses = 0}, false;
    madvise(e->memory, e->bytes, MADV_HUGEPAGE);
    packing const job = {weight, e->memory};
    ctx_run(ctx, pack_part, &job, parts);
    return true;
}

const void *find_packed(const dsv3_ctx *ctx, const dsv3_tensor *weight)
{
    const packs *const p = ctx_packs(ctx);
    return p->used ? place_of(p, weight)->memory : NULL;
}

int pack(dsv3_ctx *ctx, const dsv3_tensor *weight)
{
    packs *const p = ctx_packs(ctx);
    if (2 * (p->used + 1) > p->places && !spread(p, 2 * p->places)) return 0;
    entry *const e = place_of(p, weight);
    if (e->uses) return e->uses++, 1;
    if (!make(ctx, weight, e)) return 0;
    p->used++;
    return 1;
}

void unpack(dsv3_ctx *ctx, const dsv3_tensor *weight)
{
    packs *const p = ctx_packs(ctx);
    entry *const e = place_of(p, weight);
    if (!e->uses || --e->uses) return;
    munmap(e->memory, e->bytes);
    drop(p, e - p->entry);
}

/* ---- prepare ---- */

/* Those of the ops that multiply with matrices; NULL: it is none of them. */
static const dsv3_weights *weights_of(const char *op, const void *io)
{
    if (!strcmp(op, "linear")) return &((const dsv3_linear_io *)io)->weights;
    if (!strcmp(op, "experts")) return &((const dsv3_experts_io *)io)->weights;
    if (!strcmp(op, "moe")) return &((const dsv3_moe_io *)io)->weights;
    if (!strcmp(op, "mla")) return &((const dsv3_mla_io *)io)->weights;
    if (!strcmp(op, "mtp")) return &((const dsv3_mtp_io *)io)->weights;
    return NULL;
}

/* kv_b_proj is used by heads, and not packed; norms, biases and scales are no matrices. */
static bool is_packed(const dsv3_weight *w)
{
    dsv3_dtype const dtype = w->tensor.dtype;
    bool const stored = dtype == DSV3_F32 || dtype == DSV3_BF16 || dtype == DSV3_F8_E4M3;
    return stored && w->tensor.ndim == 2 && !strstr(w->name, "weight_scale_inv") && !strstr(w->name, "kv_b_proj");
}

static void unpack_first(dsv3_ctx *ctx, const dsv3_weights *w, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (is_packed(&w->item[i])) unpack(ctx, &w->item[i].tensor);
}

dsv3_status fast_prepare(dsv3_ctx *ctx, const char *op, const void *prob, const void *io)
{
    const dsv3_weights *const w = weights_of(op, io);
    (void)prob;
    for (int64_t i = 0; w && i < w->count; i++) {
        if (!is_packed(&w->item[i]) || pack(ctx, &w->item[i].tensor)) continue;
        unpack_first(ctx, w, i);
        return DSV3_NO_MEMORY;
    }
    return DSV3_OK;
}

void fast_unprepare(dsv3_ctx *ctx, const char *op, const void *prob, const void *io)
{
    const dsv3_weights *const w = weights_of(op, io);
    (void)prob;
    if (w) unpack_first(ctx, w, w->count);
}
