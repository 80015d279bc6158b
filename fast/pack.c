/* See pack.h. */
#include "pack.h"

#include "matrix.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

typedef struct {
    dsv3_tensor weight;
    int64_t rows; /* of a tile */
    void *memory;
    size_t bytes;
    int64_t uses; /* 0: a free place */
    bool made;    /* else its memory is to be filled */
} entry;

/* Places are searched from the one that an address has; at least half of them are free. */
struct packs {
    int64_t places, used;
    entry *entry;
};

/* ---- places ---- */

static bool is_packed_as(const entry *e, const dsv3_tensor *weight, int64_t rows)
{
    const dsv3_tensor *const a = &e->weight, *const b = weight;
    return a->data == b->data && a->dtype == b->dtype && a->shape[0] == b->shape[0] && a->shape[1] == b->shape[1] &&
           a->stride[0] == b->stride[0] && e->rows == rows;
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
static inline entry *place_of(const packs *p, const dsv3_tensor *weight, int64_t rows)
{
    int64_t i = home_of(p, weight);
    while (p->entry[i].uses && !is_packed_as(&p->entry[i], weight, rows)) i = after(p, i);
    return &p->entry[i];
}

/* The same entries in so many places. */
static bool spread(packs *p, int64_t places)
{
    packs wider = {places, p->used, calloc((size_t)places, sizeof *wider.entry)};
    if (!wider.entry) return false;
    for (int64_t i = 0; i < p->places; i++)
        if (p->entry[i].uses) *place_of(&wider, &p->entry[i].weight, p->entry[i].rows) = p->entry[i];
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
    int64_t rows, chunk; /* of a tile; entries */
    char *to;
} packing;

/* A tile's rows at a stretch; `to` holds zeros. */
static void pack_tile(const packing *p, int64_t first, int64_t from, char *to)
{
    int64_t const size = size_in(p->weight->dtype), columns = p->weight->shape[1], chunk = p->chunk;
    for (int64_t k = from; k < columns && k < from + STRETCH; k += chunk)
        for (int64_t o = first; o < first + p->rows && o < p->weight->shape[0]; o++)
            memcpy(to + ((k - from) * p->rows + (o - first) * chunk) * size,
                   (const char *)p->weight->data + (o * p->weight->stride[0] + k) * size,
                   (size_t)((columns - k < chunk ? columns - k : chunk) * size));
}

/* Rows from `first` on, in pairs: of thirty-two columns sixteen rows' pairs side by side. */
static void pack_pairs(const packing *p, int64_t first, char *to)
{
    enum { DEEP = 32 };
    int64_t const size = size_in(p->weight->dtype), columns = p->weight->shape[1], left = p->weight->shape[0] - first;
    for (int64_t o = 0; o < OUTPUTS && o < left; o++) {
        const char *const row = (const char *)p->weight->data + (first + o) * p->weight->stride[0] * size;
        for (int64_t k = 0; k < columns; k += 2) {
            int64_t const tile = k / DEEP * OUTPUTS / SIDE + o / SIDE, at = k % DEEP / 2 * DEEP + o % SIDE * 2;
            memcpy(to + (tile * SIDE * DEEP + at) * size, row + k * size, (size_t)((columns - k < 2 ? 1 : 2) * size));
        }
    }
}

static void pack_part(const void *job, int64_t part, int worker)
{
    (void)worker;
    const packing *const p = job;
    int64_t const size = size_in(p->weight->dtype), columns = p->weight->shape[1];
    char *const to = p->to + part * packed_part(columns) * size;
    if (p->rows == SIDE) {
        pack_pairs(p, part * OUTPUTS, to);
        return;
    }
    for (int64_t s = 0; s * STRETCH < columns; s++)
        for (int64_t o = 0; o < OUTPUTS; o += p->rows)
            pack_tile(p, part * OUTPUTS + o, s * STRETCH, to + packed_at(o / TILE, s) * size);
}

static int64_t parts_of(const dsv3_tensor *weight)
{
    return (weight->shape[0] + OUTPUTS - 1) / OUTPUTS;
}

static bool open_entry(const dsv3_tensor *weight, int64_t rows, entry *e)
{
    *e = (entry){.weight = *weight, .rows = rows, .uses = 1};
    e->bytes = (size_t)(parts_of(weight) * packed_part(weight->shape[1]) * size_in(weight->dtype));
    e->memory = mmap(NULL, e->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (e->memory == MAP_FAILED) return *e = (entry){.uses = 0}, false;
    madvise(e->memory, e->bytes, MADV_HUGEPAGE);
    return true;
}

static void make(dsv3_ctx *ctx, entry *e)
{
    int64_t const chunk = e->rows == TILE ? CHUNK : 64 / size_in(e->weight.dtype);
    packing const job = {&e->weight, e->rows, chunk, e->memory};
    ctx_run(ctx, pack_part, &job, parts_of(&e->weight));
    e->made = true;
}

const void *find_packed(dsv3_ctx *ctx, const dsv3_tensor *weight, int64_t rows)
{
    const packs *const p = ctx_packs(ctx);
    entry *const e = p->used ? place_of(p, weight, rows) : NULL;
    if (!e || !e->uses) return NULL;
    if (!e->made) make(ctx, e);
    return e->memory;
}

int pack_later(dsv3_ctx *ctx, const dsv3_tensor *weight, int64_t rows)
{
    packs *const p = ctx_packs(ctx);
    if (2 * (p->used + 1) > p->places && !spread(p, 2 * p->places)) return 0;
    entry *const e = place_of(p, weight, rows);
    if (e->uses) return e->uses++, 1;
    if (!open_entry(weight, rows, e)) return 0;
    p->used++;
    return 1;
}

void unpack(dsv3_ctx *ctx, const dsv3_tensor *weight, int64_t rows)
{
    packs *const p = ctx_packs(ctx);
    entry *const e = place_of(p, weight, rows);
    if (!e->uses || --e->uses) return;
    munmap(e->memory, e->bytes);
    drop(p, e - p->entry);
}

/* ---- prepare ---- */

/* What an op multiplies with matrices, and these. */
typedef struct {
    const dsv3_tensor *x;
    const dsv3_weights *weights; /* NULL: it is an op without */
} factors;

#define FACTORS(op, x)                                                                                                 \
    if (!strcmp(name, #op)) return (factors){&((const dsv3_##op##_io *)io)->x, &((const dsv3_##op##_io *)io)->weights};

static factors factors_of(const char *name, const void *io)
{
    FACTORS(linear, x)
    FACTORS(experts, hidden_states)
    FACTORS(moe, hidden_states)
    FACTORS(mla, hidden_states)
    FACTORS(mtp, hidden_states)
    return (factors){NULL, NULL};
}

/* kv_b_proj is used by heads, and not packed. */
static bool is_packed(const dsv3_weight *w)
{
    dsv3_dtype const dtype = w->tensor.dtype;
    bool const stored = dtype == DSV3_F32 || dtype == DSV3_BF16 || dtype == DSV3_F8_E4M3;
    return stored && is_matrix(w) && !strstr(w->name, "kv_b_proj");
}

/* Tokens choose a few of them. */
static bool is_of_routed_expert(const dsv3_weight *w)
{
    return strstr(w->name, "experts.") && !strstr(w->name, "shared_experts.");
}

static int64_t rows_together(const dsv3_ctx *ctx, const factors *f, int64_t i)
{
    dsv3_dtype const weight = f->weights->item[i].tensor.dtype;
    if (lies_in_squares(ctx, f->x->dtype, weight, f->x->shape[0])) return OUTPUTS;
    return lies_in_lanes(ctx, f->x->dtype, weight) ? SIDE : TILE;
}

static void unpack_first(dsv3_ctx *ctx, const factors *f, int64_t n)
{
    const dsv3_weight *const w = f->weights->item;
    for (int64_t i = 0; i < n; i++)
        if (is_packed(&w[i])) unpack(ctx, &w[i].tensor, rows_together(ctx, f, i));
}

dsv3_status fast_prepare(dsv3_ctx *ctx, const char *op, const void *prob, const void *io)
{
    factors const f = factors_of(op, io);
    (void)prob;
    for (int64_t i = 0; f.weights && i < f.weights->count; i++) {
        const dsv3_weight *const w = &f.weights->item[i];
        if (!is_packed(w)) continue;
        if (!pack_later(ctx, &w->tensor, rows_together(ctx, &f, i))) return unpack_first(ctx, &f, i), DSV3_NO_MEMORY;
        if (!is_of_routed_expert(w)) find_packed(ctx, &w->tensor, rows_together(ctx, &f, i));
    }
    return DSV3_OK;
}

void fast_unprepare(dsv3_ctx *ctx, const char *op, const void *prob, const void *io)
{
    factors const f = factors_of(op, io);
    (void)prob;
    if (f.weights) unpack_first(ctx, &f, f.weights->count);
}
