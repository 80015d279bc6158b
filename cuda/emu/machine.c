/* See machine.h. */
#include "machine.h"

#include "switch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { WARP = 32, MOST_THREADS = 1024, MOST_WARPS = MOST_THREADS / WARP, STACK = 1 << 17, MOST_SHARED = 232448 };

static const uint32_t ALL_LANES = 0xffffffff;

typedef enum { RUNS, AT_BARRIER, IN_WARP, ENDED } fiber_state;

typedef enum { MEETS_TO_SHUFFLE, MEETS_TO_MULTIPLY, MEETS_TO_LOAD } meeting_kind;

/* What a lane brings to its warp's meeting, and takes away. */
typedef struct {
    meeting_kind kind;
    uint32_t mask;
    int mode; /* what lanes that meet have alike */
    uint32_t value, lane, clamp, result;
    bool in_range;
    mma_kind unit;
    const uint32_t *a, *b, *c;
    uint32_t *const *d;
    uint64_t address;
    bool transposed;
} meeting;

/* A copy that was asked for and hasn't come. */
typedef struct {
    uint64_t shared, global;
    uint32_t bytes, from, group;
} copy;

typedef struct {
    standing stack;
    fiber_state state;
    int number, line; /* line: of its last access or meeting */
    place at;
    uint32_t barriers, meetings; /* that it passed */
    meeting brings;
    copy *copies;
    int copies_there, copies_room;
    uint32_t group; /* that its next copy belongs to */
} fiber;

/* Whose atomics touched a byte since the last barrier. */
typedef enum { OF_ONE, OF_LANES, OF_WARPS } atomics;

/* Who touched a byte of shared memory last; thread numbers from 1 on. */
typedef struct {
    uint16_t writer, reader, adder; /* adder: by an atomic, since the last write */
    atomics atomics;
    uint32_t add_barriers, add_meetings;
    bool many; /* readers of several warps, since the last barrier */
    bool late; /* a copy to it hasn't come */
    uint32_t write_barriers, write_meetings, read_barriers, read_meetings;
} shadow;

typedef struct allocation {
    uint8_t *memory;
    size_t bytes;
    struct allocation *next;
} allocation;

struct machine {
    machine_order order;
    tensor_gpu gpu;
    uint64_t random;
    allocation *allocations;
    fiber *fibers;
    uint8_t *stacks;
    uint8_t shared[MOST_SHARED];
    shadow seen[MOST_SHARED];
    uint32_t shared_bytes;
    const kernel *runs;
    uint8_t *param;
    int threads;
    fiber *now;
    bool inside;   /* the running one is a fiber, not the scheduler */
    standing home; /* who schedules them */
    jmp_buf broken;
    char fault[600];
};

/* ---- faults ---- */

/* Ends the launch: back to where it began, over all fibers. */
__attribute__((noreturn, format(printf, 2, 3))) static void fault(machine *m, const char *format, ...)
{
    const place *const p = &m->now->at;
    va_list args;
    int const n =
        snprintf(m->fault, sizeof m->fault, "%s:%d: %s, block (%u, %u, %u), thread (%u, %u, %u): ", m->runs->file,
                 m->now->line, m->runs->name, p->ctaid[0], p->ctaid[1], p->ctaid[2], p->tid[0], p->tid[1], p->tid[2]);
    va_start(args, format);
    vsnprintf(m->fault + n, sizeof m->fault - (size_t)n, format, args);
    va_end(args);
    if (!m->inside) longjmp(m->broken, 1);
    switch_stack(&m->now->stack, &m->home);
    abort(); /* nobody goes back to it */
}

const char *machine_fault(const machine *m)
{
    return m->fault;
}

/* ---- device memory ---- */

void *machine_alloc(machine *m, size_t bytes)
{
    allocation *const a = malloc(sizeof *a);
    size_t const room = (bytes + 256) / 256 * 256;
    if (!a) return NULL;
    *a = (allocation){aligned_alloc(256, room), bytes, m->allocations};
    if (!a->memory) return free(a), NULL;
    memset(a->memory, 0xff, room);
    m->allocations = a;
    return a->memory;
}

bool machine_free(machine *m, void *memory)
{
    for (allocation **at = &m->allocations; *at; at = &(*at)->next)
        if ((*at)->memory == memory) {
            allocation *const gone = *at;
            *at = gone->next;
            free(gone->memory), free(gone);
            return true;
        }
    return false;
}

bool machine_holds(const machine *m, const void *at, size_t bytes)
{
    for (const allocation *a = m->allocations; a; a = a->next) {
        uintptr_t const offset = (uintptr_t)at - (uintptr_t)a->memory;
        if (offset <= a->bytes && bytes <= a->bytes - offset) return true;
    }
    return false;
}

static void *global_at(machine *m, uint64_t address, uint32_t bytes, bool write)
{
    for (const allocation *a = m->allocations; a; a = a->next) {
        uint64_t const first = (uint64_t)(uintptr_t)a->memory;
        if (address >= first && address + bytes <= first + a->bytes) return (void *)(uintptr_t)address;
    }
    fault(m, "%s of %u bytes outside every allocation", write ? "write" : "read", bytes);
}

/* ---- shared memory ---- */

#define LATE "it %s shared memory that cp.async has not filled yet: no wait_group and barrier between"

/* Does something lie between what thread `other` did then and what the running one does now? */
static bool is_ordered(const fiber *f, uint16_t other, uint32_t barriers, uint32_t meetings)
{
    int const number = other - 1;
    return number == f->number || barriers != f->barriers ||
           (number / WARP == f->number / WARP && meetings != f->meetings);
}

/* Do all atomics lie before what the running one does now? */
static bool is_after_atomics(const fiber *f, const shadow *s)
{
    if (!s->adder || s->add_barriers != f->barriers) return true;
    if (s->atomics == OF_WARPS || (s->atomics == OF_LANES && s->add_meetings == f->meetings)) return false;
    return is_ordered(f, s->adder, s->add_barriers, s->add_meetings);
}

/* Whose atomics they are when the running one's joins them. */
static atomics joined(const fiber *f, const shadow *s)
{
    int const number = s->adder - 1;
    if (!s->adder || s->add_barriers != f->barriers) return OF_ONE;
    if (s->atomics == OF_WARPS || number / WARP != f->number / WARP) return OF_WARPS;
    if (s->add_meetings != f->meetings) return OF_ONE;
    return number == f->number ? s->atomics : OF_LANES;
}

/* Atomics don't race with atomics. */
static void note_atomic(machine *m, shadow *s)
{
    const fiber *const f = m->now;
    if (s->late) fault(m, LATE, "changes");
    if (!s->writer) fault(m, "it reads shared memory that nobody wrote");
    if (!is_ordered(f, s->writer, s->write_barriers, s->write_meetings))
        fault(m, "race: an atomic on what thread %d wrote with no barrier between", s->writer - 1);
    if (s->reader && s->read_barriers == f->barriers &&
        (s->many || !is_ordered(f, s->reader, s->read_barriers, s->read_meetings)))
        fault(m, "race: an atomic on what thread %d read with no barrier between", s->reader - 1);
    s->atomics = joined(f, s);
    s->adder = (uint16_t)(f->number + 1);
    s->add_barriers = f->barriers, s->add_meetings = f->meetings;
}

static void note_write(machine *m, shadow *s)
{
    const fiber *const f = m->now;
    if (s->late) fault(m, LATE, "writes");
    if (!is_after_atomics(f, s))
        fault(m, "race: it writes what an atomic of thread %d changed with no barrier between", s->adder - 1);
    s->adder = 0;
    if (s->writer && !is_ordered(f, s->writer, s->write_barriers, s->write_meetings))
        fault(m, "race: it writes what thread %d wrote with no barrier between", s->writer - 1);
    if (s->reader && s->read_barriers == f->barriers &&
        (s->many || !is_ordered(f, s->reader, s->read_barriers, s->read_meetings)))
        fault(m, "race: it writes what thread %d read with no barrier between", s->reader - 1);
    s->writer = (uint16_t)(f->number + 1);
    s->write_barriers = f->barriers, s->write_meetings = f->meetings;
}

static void note_read(machine *m, shadow *s)
{
    const fiber *const f = m->now;
    if (!s->writer) fault(m, "it reads shared memory that nobody wrote");
    if (s->late) fault(m, LATE, "reads");
    if (!is_ordered(f, s->writer, s->write_barriers, s->write_meetings))
        fault(m, "race: it reads what thread %d wrote with no barrier between", s->writer - 1);
    if (!is_after_atomics(f, s))
        fault(m, "race: it reads what an atomic of thread %d changed with no barrier between", s->adder - 1);
    bool const same = s->reader && s->read_barriers == f->barriers;
    s->many = same && (s->many || (s->reader - 1) / WARP != f->number / WARP);
    s->reader = (uint16_t)(f->number + 1);
    s->read_barriers = f->barriers, s->read_meetings = f->meetings;
}

static void *shared_at(machine *m, uint64_t address, uint32_t bytes, bool write, void note(machine *, shadow *))
{
    if (address + bytes > m->shared_bytes)
        fault(m, "%s of %u bytes at %llu of shared memory, which has %u", write ? "write" : "read", bytes,
              (unsigned long long)address, m->shared_bytes);
    for (uint32_t i = 0; i < bytes; i++) note(m, &m->seen[address + i]);
    return m->shared + address;
}

void *machine_at(machine *m, int space, uint64_t address, uint32_t bytes, bool write, int line)
{
    m->now->line = line;
    if (address % bytes) fault(m, "misaligned: %u bytes at %llx", bytes, (unsigned long long)address);
    if (space == SPACE_GENERIC && address - SHARED_WINDOW < MOST_SHARED) space = SPACE_SHARED, address -= SHARED_WINDOW;
    return space == SPACE_SHARED ? shared_at(m, address, bytes, write, write ? note_write : note_read)
                                 : global_at(m, address, bytes, write);
}

void *machine_atomic_at(machine *m, int space, uint64_t address, uint32_t bytes, int line)
{
    m->now->line = line;
    if (address % bytes) fault(m, "misaligned: %u bytes at %llx", bytes, (unsigned long long)address);
    return space == SPACE_SHARED ? shared_at(m, address, bytes, true, note_atomic) : global_at(m, address, bytes, true);
}

uint64_t machine_param(machine *m, uint64_t at, uint32_t bytes, uint32_t end, int line)
{
    m->now->line = line;
    if (at % bytes) fault(m, "misaligned: %u bytes at %llu of its parameters", bytes, (unsigned long long)at);
    if (at > end || bytes > end - at)
        fault(m, "read of %u bytes at %llu of its parameters, which have %u", bytes, (unsigned long long)at, end);
    return at;
}

/* ---- meeting ---- */

static void wait_as(machine *m, fiber_state state)
{
    m->now->state = state;
    switch_stack(&m->now->stack, &m->home);
}

void machine_barrier(machine *m, int line)
{
    m->now->line = line;
    for (int i = 0; i < m->threads; i++)
        if (m->fibers[i].state == ENDED) fault(m, "a barrier after thread %d returned", i);
    wait_as(m, AT_BARRIER);
}

/* Until all lanes of the mask are there, which bring the same kind and mode. */
static void bring(machine *m, meeting what, int line)
{
    fiber *const f = m->now;
    f->line = line;
    f->brings = what;
    wait_as(m, IN_WARP);
}

uint32_t machine_shfl(machine *m, int mode, uint32_t value, uint32_t lane, uint32_t clamp, uint32_t mask,
                      bool *in_range, int line)
{
    fiber *const f = m->now;
    f->line = line;
    if (!(mask >> (f->number % WARP) & 1)) fault(m, "shfl.sync by a lane outside its own mask %08x", mask);
    bring(m, (meeting){MEETS_TO_SHUFFLE, mask, mode, .value = value, .lane = lane, .clamp = clamp}, line);
    if (in_range) *in_range = f->brings.in_range;
    return f->brings.result;
}

void machine_mma(machine *m, mma_kind kind, uint32_t *const d[4], const uint32_t a[4], const uint32_t b[2],
                 const uint32_t c[4], int line)
{
    tensor_unit const u = {m->gpu, kind.code, kind.k, false};
    m->now->line = line;
    if (!tensor_has(&u)) fault(m, "the matrix units of this GPU don't have that mma");
    bring(m, (meeting){MEETS_TO_MULTIPLY, ALL_LANES, line, .unit = kind, .a = a, .b = b, .c = c, .d = d}, line);
}

void machine_ldmatrix(machine *m, uint64_t address, int count, bool transposed, uint32_t *const d[4], int line)
{
    bring(m, (meeting){MEETS_TO_LOAD, ALL_LANES, count, .address = address, .transposed = transposed, .d = d}, line);
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

static void shuffle(machine *m, fiber *warp, uint32_t mask)
{
    for (uint32_t i = 0; i < WARP; i++) {
        if (!(mask >> i & 1)) continue;
        meeting *const b = &warp[i].brings;
        uint32_t const j = source_lane(b, i, &b->in_range);
        m->now = &warp[i];
        if (!(mask >> j & 1)) fault(m, "shfl.sync from lane %u, which is not in the mask %08x", j, mask);
        b->result = warp[j].brings.value;
    }
}

/* PTX ISA 9.0, mma.m16n8k16 and its like: bytes 4 (lane % 4) of row lane / 4, of the row 8 below, and of both 16 bytes on. */
static void multiply_warp(machine *m, fiber *warp)
{
    uint8_t a[16][TENSOR_DEPTH] = {{0}}, b[8][TENSOR_DEPTH] = {{0}};
    uint32_t sum[16][8];
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

/* Row r of matrix j is at lane 8 j + r's address. */
static void load_matrices(machine *m, fiber *warp)
{
    int const count = warp->brings.mode;
    uint16_t matrix[4][8][8];
    for (int i = 0; i < 8 * count; i++) {
        m->now = &warp[i];
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

/* All lanes of the mask are there: each takes its value. */
static void meet(machine *m, fiber *warp, uint32_t mask)
{
    switch (warp[__builtin_ctz(mask)].brings.kind) {
    case MEETS_TO_SHUFFLE: shuffle(m, warp, mask); break;
    case MEETS_TO_MULTIPLY: multiply_warp(m, warp); break;
    case MEETS_TO_LOAD: load_matrices(m, warp); break;
    }
    for (uint32_t i = 0; i < WARP; i++)
        if (mask >> i & 1) warp[i].state = RUNS, warp[i].meetings++;
}

/* Do two lanes that wait bring the same? */
static bool are_alike(const fiber *a, const fiber *b)
{
    return b->state == IN_WARP && a->brings.mask == b->brings.mask && a->brings.kind == b->brings.kind &&
           a->brings.mode == b->brings.mode;
}

/* True: somebody goes on. */
static bool meet_if_complete(machine *m, int first)
{
    fiber *const warp = &m->fibers[first];
    int const lanes = m->threads - first < WARP ? m->threads - first : WARP;
    for (int i = 0; i < lanes; i++) {
        uint32_t there = 0, mask = warp[i].brings.mask;
        if (warp[i].state != IN_WARP) continue;
        if (lanes < WARP && warp[i].brings.kind == MEETS_TO_SHUFFLE) mask &= (1U << lanes) - 1;
        for (int j = 0; j < lanes; j++)
            if ((mask >> j & 1) && are_alike(&warp[i], &warp[j])) there |= 1U << j;
        if (there == mask) return meet(m, warp, mask), true;
    }
    return false;
}

/* ---- copies that come late ---- */

void machine_copy(machine *m, uint64_t shared, uint64_t global, uint32_t bytes, uint32_t from, int line)
{
    fiber *const f = m->now;
    f->line = line;
    if (from > bytes) fault(m, "cp.async of %u bytes into %u", from, bytes);
    if (global % bytes || shared % bytes) fault(m, "misaligned: cp.async of %u bytes", bytes);
    if (from) global_at(m, global, from, false);
    memset(shared_at(m, shared, bytes, true, note_write), 0xff, bytes);
    for (uint32_t i = 0; i < bytes; i++) m->seen[shared + i].late = true;
    if (f->copies_there == f->copies_room) {
        copy *const more = realloc(f->copies, sizeof *more * (size_t)(f->copies_room = 2 * f->copies_room + 16));
        if (!more) fault(m, "no memory for a copy");
        f->copies = more;
    }
    f->copies[f->copies_there++] = (copy){shared, global, bytes, from, f->group};
}

void machine_copy_commit(machine *m)
{
    m->now->group++;
}

/* Copies of groups before `end` come. */
static void let_come(machine *m, uint32_t end, int line)
{
    fiber *const f = m->now;
    int kept = 0;
    f->line = line;
    for (int i = 0; i < f->copies_there; i++) {
        copy const c = f->copies[i];
        if (c.group >= end) {
            f->copies[kept++] = c;
            continue;
        }
        for (uint32_t k = 0; k < c.bytes; k++) m->seen[c.shared + k].late = false;
        uint8_t *const to = shared_at(m, c.shared, c.bytes, true, note_write);
        memset(to, 0, c.bytes);
        if (c.from) memcpy(to, global_at(m, c.global, c.from, false), c.from);
    }
    f->copies_there = kept;
}

void machine_copy_wait(machine *m, uint32_t groups, int line)
{
    uint32_t const made = m->now->group;
    let_come(m, made > groups ? made - groups : 0, line);
}

void machine_copy_wait_all(machine *m, int line)
{
    machine_copy_commit(m);
    let_come(m, m->now->group, line);
}

/* ---- blocks ---- */

static void run_fiber(void *context)
{
    machine *const m = context;
    m->runs->body(m, m->param);
    wait_as(m, ENDED);
}

static void open_fiber(machine *m, int i, const place *at)
{
    fiber *const f = &m->fibers[i];
    const uint32_t *const n = at->ntid;
    *f = (fiber){.number = i, .at = *at, .copies = f->copies, .copies_room = f->copies_room};
    f->at.tid[0] = (uint32_t)i % n[0];
    f->at.tid[1] = (uint32_t)i / n[0] % n[1];
    f->at.tid[2] = (uint32_t)i / n[0] / n[1];
    switch_open(&f->stack, m->stacks + (size_t)i * STACK, STACK, run_fiber, m);
}

static uint64_t next_random(machine *m)
{
    m->random ^= m->random << 13, m->random ^= m->random >> 7, m->random ^= m->random << 17;
    return m->random;
}

/* Which of n comes i-th. */
static void put_in_order(machine *m, int *list, int n)
{
    for (int i = 0; i < n; i++) list[i] = m->order == ORDER_DOWN ? n - 1 - i : i;
    for (int i = n; m->order == ORDER_SHUFFLED && i > 1; i--) {
        int const j = (int)(next_random(m) % (uint64_t)i), kept = list[i - 1];
        list[i - 1] = list[j], list[j] = kept;
    }
}

/* Every lane as far as it gets; false: none moved. */
static bool run_lanes(machine *m, int first)
{
    int lane[WARP], lanes = m->threads - first < WARP ? m->threads - first : WARP;
    bool moved = false;
    put_in_order(m, lane, lanes);
    for (int i = 0; i < lanes; i++) {
        fiber *const f = &m->fibers[first + lane[i]];
        if (f->state != RUNS) continue;
        m->now = f, m->inside = true;
        switch_stack(&m->home, &f->stack);
        m->inside = false;
        if (*m->fault) longjmp(m->broken, 1);
        moved = true;
    }
    return moved;
}

static int count_in(const machine *m, fiber_state state)
{
    int n = 0;
    for (int i = 0; i < m->threads; i++) n += m->fibers[i].state == state;
    return n;
}

static void pass_barrier(machine *m)
{
    for (int i = 0; i < m->threads; i++) m->fibers[i].state = RUNS, m->fibers[i].barriers++;
}

/* A warp runs as far as it gets before the next one: the largest skew that a device could show. */
static bool run_warps(machine *m)
{
    int warp[MOST_WARPS], warps = (m->threads + WARP - 1) / WARP;
    bool moved = false;
    put_in_order(m, warp, warps);
    for (int w = 0; w < warps; w++)
        while (run_lanes(m, warp[w] * WARP) || meet_if_complete(m, warp[w] * WARP)) moved = true;
    return moved;
}

static void run_block(machine *m, const place *at)
{
    memset(m->shared, 0xff, m->shared_bytes);
    memset(m->seen, 0, m->shared_bytes * sizeof *m->seen);
    for (int i = 0; i < m->threads; i++) open_fiber(m, i, at);
    while (count_in(m, ENDED) < m->threads) {
        bool const moved = run_warps(m);
        if (count_in(m, AT_BARRIER) == m->threads)
            pass_barrier(m);
        else if (!moved) {
            snprintf(m->fault, sizeof m->fault,
                     "%s: %s, block (%u, %u, %u): %d threads wait at a barrier, %d for their warp, %d have returned",
                     m->runs->file, m->runs->name, at->ctaid[0], at->ctaid[1], at->ctaid[2], count_in(m, AT_BARRIER),
                     count_in(m, IN_WARP), count_in(m, ENDED));
            longjmp(m->broken, 1);
        }
    }
}

const place *machine_place(const machine *m)
{
    return &m->now->at;
}

uint32_t machine_dynamic(const machine *m)
{
    return (m->runs->shared + 15) / 16 * 16;
}

/* ---- launches ---- */

static uint8_t *pack_params(const kernel *k, void *const args[])
{
    int const last = k->params - 1;
    uint8_t *const bytes = calloc(1, k->params ? k->offset[last] + k->size[last] : 1);
    for (int i = 0; bytes && i < k->params; i++) memcpy(bytes + k->offset[i], args[i], k->size[i]);
    return bytes;
}

static void run_grid(machine *m, const uint32_t grid[3], const uint32_t block[3])
{
    place at = {.ntid = {block[0], block[1], block[2]}, .nctaid = {grid[0], grid[1], grid[2]}};
    for (at.ctaid[2] = 0; at.ctaid[2] < grid[2]; at.ctaid[2]++)
        for (at.ctaid[1] = 0; at.ctaid[1] < grid[1]; at.ctaid[1]++)
            for (at.ctaid[0] = 0; at.ctaid[0] < grid[0]; at.ctaid[0]++) run_block(m, &at);
}

static bool refuse_launch(machine *m, const kernel *k, const char *sentence)
{
    snprintf(m->fault, sizeof m->fault, "%s: %s: %s", k->file, k->name, sentence);
    return false;
}

bool machine_launch(machine *m, const kernel *k, const uint32_t grid[3], const uint32_t block[3], uint32_t shared,
                    void *const args[])
{
    uint64_t const threads = (uint64_t)block[0] * block[1] * block[2];
    *m->fault = 0;
    m->runs = k;
    if (!threads || threads > MOST_THREADS) return refuse_launch(m, k, "a block has 1 to 1024 threads");
    if (!grid[0] || !grid[1] || !grid[2]) return refuse_launch(m, k, "the grid has no block");
    if ((uint64_t)machine_dynamic(m) + shared > MOST_SHARED)
        return refuse_launch(m, k, "a block has 227 KiB of shared memory at most");
    m->threads = (int)threads, m->shared_bytes = shared ? machine_dynamic(m) + shared : k->shared;
    m->param = pack_params(k, args);
    if (!m->param) return refuse_launch(m, k, "no memory for its parameters");
    if (!setjmp(m->broken)) run_grid(m, grid, block);
    free(m->param);
    m->param = NULL;
    return !*m->fault;
}

machine *machine_open(machine_order order, tensor_gpu gpu)
{
    machine *const m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->order = order, m->gpu = gpu, m->random = 0x9e3779b97f4a7c15;
    m->fibers = calloc(MOST_THREADS, sizeof *m->fibers);
    void *const stacks = mmap(NULL, (size_t)MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    m->stacks = stacks == MAP_FAILED ? NULL : stacks;
    if (m->fibers && m->stacks) return m;
    machine_close(m);
    return NULL;
}

void machine_close(machine *m)
{
    for (int i = 0; m->fibers && i < MOST_THREADS; i++) free(m->fibers[i].copies);
    while (m->allocations) machine_free(m, m->allocations->memory);
    if (m->stacks) munmap(m->stacks, (size_t)MOST_THREADS * STACK);
    free(m->fibers);
    free(m);
}
