/* See machine.h: what the lanes of a warp do together. */
#include "machine_state.h"

#include <string.h>

static const uint32_t ALL_LANES = 0xffffffff;
static const uint32_t UNDEFINED = 0xffffffff; /* in binary32 NaN */

void machine_bring(machine *m, meeting what, int line)
{
    fiber *const f = m->now;
    f->line = line;
    f->brings = what;
    machine_wait_as(m, IN_WARP);
}

/* A lane is one of those that it waits for. */
static void bring_masked(machine *m, const char *opcode, meeting what, int line)
{
    m->now->line = line;
    if (!(what.mask >> (m->now->number % WARP) & 1))
        machine_stop(m, "%s by a lane outside its own mask %08x", opcode, what.mask);
    machine_bring(m, what, line);
}

uint32_t machine_shfl(machine *m, int mode, uint32_t value, uint32_t lane, uint32_t clamp, uint32_t mask,
                      bool *in_range, int line)
{
    const fiber *const f = m->now;
    bring_masked(m, "shfl.sync", (meeting){MEETS_TO_SHUFFLE, mask, mode, .value = value, .lane = lane, .clamp = clamp},
                 line);
    if (in_range) *in_range = f->brings.in_range;
    return f->brings.result;
}

void machine_warp_barrier(machine *m, uint32_t mask, int line)
{
    bring_masked(m, "bar.warp.sync", (meeting){MEETS_AT_BARRIER, mask}, line);
}

void machine_mma(machine *m, mma_kind kind, uint32_t *const d[4], const uint32_t a[4], const uint32_t b[2],
                 const uint32_t c[4], int line)
{
    tensor_unit const u = {m->gpu, kind.code, kind.k, false};
    m->now->line = line;
    if (!tensor_has(&u)) machine_stop(m, "the matrix units of this GPU don't have that mma");
    machine_bring(m, (meeting){MEETS_TO_MULTIPLY, ALL_LANES, line, .unit = kind, .a = a, .b = b, .c = c, .d = d}, line);
}

void machine_ldmatrix(machine *m, uint64_t address, int count, bool transposed, uint32_t *const d[4], int line)
{
    machine_bring(m, (meeting){MEETS_TO_LOAD, ALL_LANES, count, .address = address, .transposed = transposed, .d = d},
                  line);
}

uint32_t machine_active(machine *m, int line)
{
    machine_bring(m, (meeting){MEETS_TO_LOOK, ALL_LANES, line}, line);
    return m->now->brings.result;
}

/* PTX ISA 9.0, shfl.sync: which lane is read, and whether it lies in its segment. */
static uint32_t source_lane(const meeting *b, uint32_t lane, bool *in_range)
{
    uint32_t const segment = b->clamp >> 8 & 31, clamp = b->clamp & 31, shift = b->lane & 31;
    uint32_t const most = (lane & segment) | (clamp & ~segment);
    uint32_t const j = b->mode == SHFL_UP     ? lane - shift
                       : b->mode == SHFL_DOWN ? lane + shift
                       : b->mode == SHFL_BFLY ? lane ^ shift
                                              : (lane & segment) | (shift & ~segment);
    *in_range = b->mode == SHFL_UP ? (int32_t)j >= (int32_t)most : j <= most;
    return *in_range ? j : lane;
}

/* What comes from a lane outside the mask is undefined: nobody may use it, but it may be asked for. */
static void shuffle(fiber *warp, uint32_t mask)
{
    for (uint32_t i = 0; i < WARP; i++) {
        if (!(mask >> i & 1)) continue;
        meeting *const b = &warp[i].brings;
        uint32_t const j = source_lane(b, i, &b->in_range);
        b->result = mask >> j & 1 ? warp[j].brings.value : UNDEFINED;
    }
}

/* PTX ISA 9.0, mma.m16n8k16 and its like: bytes 4 (lane % 4) of row lane / 4, of the row 8 below, and of both 16 bytes on. */
static void multiply_warp(machine *m, fiber *warp)
{
    uint8_t a[16][TENSOR_DEPTH] = {{0}}, b[8][TENSOR_DEPTH] = {{0}};
    uint32_t sum[16][8];
    warp->multiplied++;
    mma_kind const kind = warp->brings.unit;
    tensor_unit const u = {m->gpu, kind.code, kind.k, false};
    int const halves = kind.code == CODE_F16 || kind.code == CODE_BF16 ? kind.k / 8 : kind.k / 16;
    for (int i = 0; i < WARP; i++)
        for (int half = 0; half < halves; half++) {
            const meeting *const l = &warp[i].brings;
            int const at = 4 * (i % 4) + 16 * half;
            memcpy(&a[i / 4][at], &l->a[2 * half], 4), memcpy(&a[i / 4 + 8][at], &l->a[2 * half + 1], 4);
            memcpy(&b[i / 4][at], &l->b[half], 4);
        }
    for (int i = 0; i < WARP * 4; i++) sum[i / 16 + i % 4 / 2 * 8][i / 4 % 4 * 2 + i % 2] = warp[i / 4].brings.c[i % 4];
    tensor_multiply(&u, 16, 8, a[0], b[0], sum[0], sum[0]);
    for (int i = 0; i < WARP * 4; i++)
        *warp[i / 4].brings.d[i % 4] = sum[i / 16 + i % 4 / 2 * 8][i / 4 % 4 * 2 + i % 2];
}

static void count_matrix(machine *m, const fiber *lane)
{
    uint64_t row[8];
    for (int i = 0; i < 8; i++) row[i] = lane[i].brings.address;
    counts_matrix(m, row);
}

/* Row r of matrix j is at lane 8 j + r's address. */
static void load_matrices(machine *m, fiber *warp)
{
    int const count = warp->brings.mode;
    uint16_t matrix[4][8][8];
    for (int i = 0; i < 8 * count; i++) {
        m->now = &warp[i];
        if (m->counts && i % 8 == 0) count_matrix(m, &warp[i]);
        memcpy(matrix[i / 8][i % 8], machine_at(m, SPACE_SHARED, warp[i].brings.address, 16, false, warp[i].line), 16);
    }
    for (int i = 0; i < WARP; i++)
        for (int j = 0; j < count; j++) {
            int const r = i / 4, c = 2 * (i % 4);
            uint16_t const low = warp->brings.transposed ? matrix[j][c][r] : matrix[j][r][c];
            uint16_t const high = warp->brings.transposed ? matrix[j][c + 1][r] : matrix[j][r][c + 1];
            *warp[i].brings.d[j] = (uint32_t)low | (uint32_t)high << 16;
        }
}

void machine_order_memory(fiber *warp, uint32_t mask)
{
    uint32_t known[WARP] = {0};
    for (int i = 0; i < WARP; i++) {
        if (!(mask >> i & 1)) continue;
        warp[i].knows[i] = ++warp[i].meetings;
        for (int j = 0; j < WARP; j++)
            if (warp[i].knows[j] > known[j]) known[j] = warp[i].knows[j];
    }
    for (int i = 0; i < WARP; i++)
        if (mask >> i & 1) memcpy(warp[i].knows, known, sizeof known);
}

/* PTX ISA 9.0: bar.warp.sync orders memory among its lanes. Shuffles, votes and products don't. */
static bool orders_memory(meeting_kind kind)
{
    return kind != MEETS_TO_SHUFFLE && kind != MEETS_TO_MULTIPLY && kind != MEETS_TO_LOAD;
}

/* All lanes of the mask are there: each takes its value. */
static void meet(machine *m, fiber *warp, uint32_t mask)
{
    meeting_kind const kind = warp[__builtin_ctz(mask)].brings.kind;
    switch (kind) {
    case MEETS_AT_BARRIER: break;
    case MEETS_TO_SHUFFLE: shuffle(warp, mask); break;
    case MEETS_TO_MULTIPLY: multiply_warp(m, warp); break;
    case MEETS_TO_LOAD: load_matrices(m, warp); break;
    case MEETS_TO_LOOK: break;
    case MEETS_AS_GROUP: machine_multiply_group(m, warp->number); break;
    case MEETS_TO_WAIT: machine_land_warp(m, warp); break;
    case MEETS_TO_FENCE: break;
    }
    for (uint32_t i = 0; i < WARP; i++)
        if (mask >> i & 1) warp[i].state = RUNS;
    if (orders_memory(kind)) machine_order_memory(warp, mask);
}

/* Do two lanes that wait bring the same? */
static bool are_alike(const fiber *a, const fiber *b)
{
    return b->state == IN_WARP && a->brings.mask == b->brings.mask && a->brings.kind == b->brings.kind &&
           a->brings.mode == b->brings.mode;
}

/* Lanes that look who is there, all of one place. Nothing is ordered by that. */
static bool look(fiber *warp, int lanes)
{
    uint32_t there = 0;
    int first = 0;
    while (first < lanes && (warp[first].state != IN_WARP || warp[first].brings.kind != MEETS_TO_LOOK)) first++;
    for (int i = first; i < lanes; i++)
        if (are_alike(&warp[first], &warp[i])) there |= 1U << i;
    for (int i = first; i < lanes; i++)
        if (there >> i & 1) warp[i].brings.result = there, warp[i].state = RUNS;
    return first < lanes;
}

bool machine_meet_if_complete(machine *m, int first)
{
    fiber *const warp = &m->fibers[first];
    int const lanes = m->threads - first < WARP ? m->threads - first : WARP;
    for (int i = 0; i < lanes; i++) {
        uint32_t there = 0, mask = warp[i].brings.mask;
        if (warp[i].state != IN_WARP || warp[i].brings.kind == MEETS_TO_LOOK) continue;
        bool const partial = warp[i].brings.kind == MEETS_TO_SHUFFLE || warp[i].brings.kind == MEETS_AT_BARRIER;
        if (lanes < WARP && partial) mask &= (1U << lanes) - 1;
        for (int j = 0; j < lanes; j++)
            if ((mask >> j & 1) && are_alike(&warp[i], &warp[j])) there |= 1U << j;
        if (there == mask && (warp[i].brings.kind != MEETS_AS_GROUP || machine_group_is_there(m, first)))
            return meet(m, warp, mask), true;
    }
    return look(warp, lanes);
}
