/* See machine.h: products of a warpgroup, which are in flight until somebody waits for them. */
#include "machine_state.h"

#include <stdlib.h>
#include <string.h>

enum { WARPS = GROUP / WARP, ROWS = 64, MOST_COLUMNS = 256, CHUNK = 16 /* bytes that lie together in every layout */ };

/* ---- of one thread ---- */

static int products_of(tensor_code code)
{
    return code == CODE_F16 || code == CODE_BF16 ? 16 : 32;
}

/* Of accumulators; those of A have none. */
static int shape_of(const wgmma *w)
{
    return w->columns << 8 | products_of(w->code);
}

void machine_registers(machine *m, machine_register *list, int count)
{
    m->now->registers = list, m->now->registers_there = count;
}

void machine_touch(machine *m, int which, int line)
{
    fiber *const f = m->now;
    f->line = line;
    if (f->registers[which].group)
        machine_stop(m, "it touches a register of a wgmma in flight: no wgmma.wait_group between");
    f->registers[which].touched = f->fences + 1;
}

/* A register as part of A, or as an accumulator of that shape. */
static void check_register(machine *m, const machine_register *r, int shape)
{
    uint32_t const needed = r->shape == shape || r->touched > r->used ? r->touched : r->used;
    if (r->group && r->shape != shape)
        machine_stop(m,
                     "its wgmma takes a register of a wgmma in flight of another shape: no wgmma.wait_group between");
    if (m->now->fences < needed)
        machine_stop(m, "its wgmma takes a register that was touched before: no wgmma.fence between");
}

static void check_registers(machine *m, const wgmma *w)
{
    const machine_register *const list = m->now->registers;
    if (!m->now->fences) machine_stop(m, "its first wgmma comes before every wgmma.fence");
    for (int i = 0; i < w->columns / 2; i++) check_register(m, &list[w->d[i]], shape_of(w));
    for (int i = 0; w->a && i < 4; i++) check_register(m, &list[w->a[i]], 0);
}

/* In flight from now on. What the register will be, only the machine knows until then. */
static void send(const fiber *f, int which, int shape)
{
    machine_register *const r = &f->registers[which];
    if (!r->group) r->late = *r->at;
    r->group = f->wgmma_group + 1, r->used = f->fences + 1, r->shape = shape;
    if (shape) *r->at = 0xffffffff;
}

/* Registers of groups before `end` are what they will be. */
static void let_land(const fiber *f, uint32_t end)
{
    for (int i = 0; i < f->registers_there; i++) {
        machine_register *const r = &f->registers[i];
        if (!r->group || r->group > end) continue;
        *r->at = r->late, r->group = 0;
    }
}

void machine_end_wgmma(machine *m)
{
    for (int i = 0; i < m->now->registers_there; i++)
        if (m->now->registers[i].group) machine_stop(m, "it returns with a wgmma in flight");
    m->now->registers_there = 0;
}

/* ---- matrices in shared memory ---- */

/* PTX ISA 9.0, asynchronous warpgroup-level matrix operations: the descriptor of a matrix. */
typedef struct {
    uint64_t start, leading, stride;
    uint32_t chunks; /* of a swizzled row: 8, 4, 2; 1: none */
} layout;

static layout layout_of(machine *m, uint64_t descriptor)
{
    static const uint32_t chunks[] = {1, 8, 4, 2};
    if (descriptor >> 49 & 7) machine_stop(m, "a wgmma descriptor with a base offset isn't known");
    return (layout){(descriptor & 0x3fff) << 4, (descriptor >> 16 & 0x3fff) << 4, (descriptor >> 32 & 0x3fff) << 4,
                    chunks[descriptor >> 62]};
}

/* Bits 4 to 6 are changed by bits 7 to 9, as many as the swizzle has. */
static uint64_t swizzled(const layout *l, uint64_t at)
{
    return at ^ (at >> 7 & (l->chunks - 1)) << 4;
}

/* Where the 16 bytes are: K-major, products 16 bytes `i` of a line. */
static uint64_t along_k(const layout *l, int line, int i)
{
    uint64_t const across = (uint64_t)(line / 8) * l->stride + (uint64_t)(line % 8) * CHUNK * l->chunks;
    return swizzled(l, l->start + across + (uint64_t)i * (l->chunks == 1 ? l->leading : CHUNK));
}

/* MN-major: lines 8 `i` to 8 `i` + 7 of product k. */
static uint64_t along_lines(const layout *l, int i, int k)
{
    uint64_t const within = (uint64_t)(k % 8) * CHUNK * l->chunks;
    uint64_t const by_lines = l->chunks == 1 ? l->stride : l->leading, by_k = l->chunks == 1 ? l->leading : l->stride;
    uint64_t const chunk = (uint64_t)i % l->chunks, repeat = (uint64_t)i / l->chunks;
    return swizzled(l, l->start + chunk * CHUNK + repeat * by_lines + (uint64_t)(k / 8) * by_k + within);
}

static void hold(machine *m, fiber *f, uint64_t address)
{
    if (f->held_there == f->held_room) {
        held *const more = realloc(f->held, sizeof *more * (size_t)(f->held_room = 2 * f->held_room + 1024));
        if (!more) machine_stop(m, "no memory for a wgmma");
        f->held = more;
    }
    f->held[f->held_there++] = (held){(uint32_t)address, f->wgmma_group};
}

/* Sixteen bytes that the four warps read from now on; the first lane of each says until when. */
static const uint8_t *chunk_at(machine *m, fiber *group, uint64_t address)
{
    uint32_t fenced = UINT32_MAX; /* all have a fence between what came before that barrier and this */
    for (int i = 0; i < GROUP; i++)
        if (group[i].fenced_at < fenced) fenced = group[i].fenced_at;
    m->now = group;
    const uint8_t *const bytes = machine_operand_at(m, address, CHUNK, WARPS, fenced);
    for (int w = 0; w < WARPS; w++) hold(m, &group[w * WARP], address);
    return bytes;
}

/* A's rows, or B's columns. */
static void read_matrix(machine *m, fiber *group, uint64_t descriptor, bool mn_major, int lines,
                        uint8_t out[][TENSOR_DEPTH])
{
    layout const l = layout_of(m, descriptor);
    for (int i = 0; !mn_major && i < 2 * lines; i++)
        memcpy(&out[i / 2][i % 2 * CHUNK], chunk_at(m, group, along_k(&l, i / 2, i % 2)), CHUNK);
    for (int i = 0; mn_major && i < 2 * lines; i++) {
        int const first = i / 16 * 8, k = i % 16;
        const uint8_t *const from = chunk_at(m, group, along_lines(&l, i / 16, k));
        for (int j = 0; j < 8; j++) memcpy(&out[first + j][2 * k], from + 2 * j, 2);
    }
}

/* ---- of a warpgroup ---- */

/* Row and column of the accumulator d[i] of a thread. */
static int row_of(int thread, int i)
{
    return thread / WARP * 16 + thread % WARP / 4 + i / 2 % 2 * 8;
}

static int column_of(int thread, int i)
{
    return i / 4 * 8 + thread % 4 * 2 + i % 2;
}

/* As mma has it: bytes 4 (lane % 4) of a row, of the row 8 below, and of both 16 bytes on. */
static void read_registers(const fiber *group, const wgmma *w, uint8_t a[ROWS][TENSOR_DEPTH])
{
    for (int t = 0; t < GROUP; t++)
        for (int i = 0; i < 4; i++)
            memcpy(&a[row_of(t, 2 * (i % 2))][t % 4 * 4 + i / 2 * 16], group[t].registers[w->a[i]].at, 4);
}

static void negate(const wgmma *w, uint8_t (*rows)[TENSOR_DEPTH], int count)
{
    int const width = TENSOR_DEPTH / products_of(w->code);
    for (int i = 0; i < count; i++)
        for (int k = width - 1; k < TENSOR_DEPTH; k += width) rows[i][k] ^= 0x80;
}

static void check_alike(machine *m, const fiber *group)
{
    const wgmma *const first = group->brings.product;
    for (int t = 0; t < GROUP; t++) {
        const wgmma *const w = group[t].brings.product;
        if (w->b_at == first->b_at && w->adds == first->adds && (w->a || w->a_at == first->a_at)) continue;
        m->now = (fiber *)(uintptr_t)&group[t];
        machine_stop(m, "its wgmma has another descriptor or scale-d than that of the warpgroup's first thread");
    }
}

static void multiply(machine *m, fiber *group, uint32_t *sum)
{
    const wgmma *const w = group->brings.product;
    tensor_unit const u = {m->gpu, w->code, products_of(w->code), true};
    uint8_t a[ROWS][TENSOR_DEPTH], b[MOST_COLUMNS][TENSOR_DEPTH];
    if (w->a)
        read_registers(group, w, a);
    else
        read_matrix(m, group, w->a_at, w->a_mn_major, ROWS, a);
    read_matrix(m, group, w->b_at, w->b_mn_major, w->columns, b);
    if (w->a_negated) negate(w, a, ROWS);
    if (w->b_negated) negate(w, b, w->columns);
    tensor_multiply(&u, ROWS, w->columns, a[0], b[0], sum, sum);
}

bool machine_group_is_there(const machine *m, int first)
{
    const fiber *const group = &m->fibers[first / GROUP * GROUP];
    for (int t = 0; t < GROUP; t++)
        if (group[t].state != IN_WARP || group[t].brings.kind != MEETS_AS_GROUP ||
            group[t].brings.mode != m->fibers[first].brings.mode)
            return false;
    return true;
}

void machine_multiply_group(machine *m, int first)
{
    fiber *const group = &m->fibers[first / GROUP * GROUP];
    uint32_t sum[ROWS * MOST_COLUMNS];
    check_alike(m, group);
    for (int t = 0; t < GROUP; t++) m->now = &group[t], check_registers(m, group[t].brings.product);
    const wgmma *const w = group->brings.product;
    for (int t = 0; t < GROUP; t++)
        for (int i = 0; i < w->columns / 2; i++) {
            send(&group[t], w->d[i], shape_of(w));
            sum[row_of(t, i) * w->columns + column_of(t, i)] = w->adds ? group[t].registers[w->d[i]].late : 0;
        }
    multiply(m, group, sum);
    for (int t = 0; t < GROUP; t++) {
        for (int i = 0; w->a && i < 4; i++) send(&group[t], w->a[i], 0);
        for (int i = 0; i < w->columns / 2; i++)
            group[t].registers[w->d[i]].late = sum[row_of(t, i) * w->columns + column_of(t, i)];
        group[t].state = RUNS;
    }
    for (int t = 0; t < GROUP; t += WARP)
        if (t != first % GROUP) machine_order_memory(&group[t], 0xffffffff); /* its own comes from its meeting */
}

void machine_wgmma(machine *m, const wgmma *w, int line)
{
    tensor_unit const u = {m->gpu, w->code, products_of(w->code), true};
    int const group = m->now->number / GROUP;
    m->now->line = line;
    if (!tensor_has(&u)) machine_stop(m, "only Hopper has wgmma: DSV3_CUDA_GPU=hopper");
    if ((group + 1) * GROUP > m->threads)
        machine_stop(m, "wgmma by a warpgroup that isn't whole: the block has %d threads", m->threads);
    machine_bring(m, (meeting){MEETS_AS_GROUP, 0xffffffff, line, .product = w}, line);
}

/* ---- groups of products ---- */

void machine_wgmma_fence(machine *m, int line)
{
    machine_bring(m, (meeting){MEETS_TO_FENCE, 0xffffffff, line}, line);
    m->now->fences++;
}

void machine_wgmma_commit(machine *m, int line)
{
    machine_bring(m, (meeting){MEETS_TO_FENCE, 0xffffffff, line}, line);
    m->now->wgmma_group++;
}

void machine_wgmma_wait(machine *m, uint32_t groups, int line)
{
    machine_bring(m, (meeting){MEETS_TO_WAIT, 0xffffffff, line, .value = groups}, line);
}

void machine_land_warp(machine *m, fiber *warp)
{
    uint32_t const made = warp->wgmma_group, groups = warp->brings.value, end = made > groups ? made - groups : 0;
    int kept = 0;
    for (int i = 0; i < WARP; i++) let_land(&warp[i], end);
    m->now = warp;
    for (int i = 0; i < warp->held_there; i++)
        if (warp->held[i].group < end)
            machine_operand_done(m, warp->held[i].address, CHUNK);
        else
            warp->held[kept++] = warp->held[i];
    warp->held_there = kept;
}

void machine_proxy_fence(machine *m)
{
    m->now->proxy_fences++, m->now->fenced_at = m->now->barriers;
}
