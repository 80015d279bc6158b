/* See machine.h: blocks of threads that take turns, and launches. */
#include "machine_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- faults ---- */

void machine_stop(machine *m, const char *format, ...)
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

/* ---- threads ---- */

void machine_wait_as(machine *m, fiber_state state)
{
    m->now->state = state;
    switch_stack(&m->now->stack, &m->home);
}

void machine_barrier(machine *m, bool aligned, int line)
{
    m->now->line = line;
    m->now->aligned = aligned;
    machine_wait_as(m, AT_BARRIER);
}

uint32_t machine_barrier_count(machine *m, bool says, int line)
{
    m->now->says = says;
    machine_barrier(m, true, line);
    return m->said;
}

uint64_t machine_clock(machine *m)
{
    return m->clock++;
}

void machine_descend(machine *m, int line)
{
    enum { FRAME = 72 << 10 }; /* that a function may have, with its arrays */
    const uint8_t *const bottom = m->stacks + (size_t)m->now->number * STACK;
    m->now->line = line;
    if ((const uint8_t *)__builtin_frame_address(0) - bottom < FRAME)
        machine_stop(m, "calls within calls need more than the thread's stack has");
}

void machine_end(machine *m, const char *why, int line)
{
    m->now->line = line;
    machine_stop(m, "%s", why);
}

static void run_fiber(void *context)
{
    machine *const m = context;
    m->runs->body(m, m->param);
    machine_end_wgmma(m);
    machine_wait_as(m, ENDED);
}

static void open_fiber(machine *m, int i, const place *at)
{
    fiber *const f = &m->fibers[i];
    const uint32_t *const n = at->ntid;
    *f = (fiber){.number = i,
                 .at = *at,
                 .copies = f->copies,
                 .copies_room = f->copies_room,
                 .held = f->held,
                 .held_room = f->held_room};
    f->at.tid[0] = (uint32_t)i % n[0];
    f->at.tid[1] = (uint32_t)i / n[0] % n[1];
    f->at.tid[2] = (uint32_t)i / n[0] / n[1];
    switch_open(&f->stack, m->stacks + (size_t)i * STACK, STACK, run_fiber, m);
}

/* ---- blocks ---- */

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

/* PTX ISA 9.0, barrier.sync: all threads of a warp execute the same aligned one, but a warp that has returned is none. */
static void check_alignment(machine *m, int first)
{
    int const end = m->threads - first < WARP ? m->threads : first + WARP;
    const fiber *waits = NULL;
    for (int i = first; i < end; i++)
        if (m->fibers[i].state == AT_BARRIER && m->fibers[i].aligned && !waits) waits = m->now = &m->fibers[i];
    for (int i = first; waits && i < end; i++) {
        const fiber *const f = &m->fibers[i];
        if (f->state == ENDED) machine_stop(m, "a barrier after thread %d returned", i);
        if (f->line != waits->line)
            machine_stop(m, "thread %d waits at another barrier, of line %d: all of a warp come to one", i, f->line);
    }
}

static void pass_barrier(machine *m)
{
    for (int first = 0; first < m->threads; first += WARP) check_alignment(m, first);
    m->said = 0;
    for (int i = 0; i < m->threads; i++) {
        fiber *const f = &m->fibers[i];
        if (f->state == ENDED) continue;
        m->said += f->says;
        f->says = false, f->state = RUNS, f->barriers++, f->proxy_fences_shown = f->proxy_fences;
    }
}

/* A warp runs as far as it gets before the next one: the largest skew that a device could show. */
static bool run_warps(machine *m)
{
    int warp[MOST_WARPS], warps = (m->threads + WARP - 1) / WARP;
    bool moved = false;
    put_in_order(m, warp, warps);
    for (int w = 0; w < warps; w++)
        while (run_lanes(m, warp[w] * WARP) || machine_meet_if_complete(m, warp[w] * WARP)) moved = true;
    return moved;
}

static void run_block(machine *m, const place *at)
{
    memset(m->shared, 0xff, m->shared_bytes);
    memset(m->seen, 0, m->shared_bytes * sizeof *m->seen);
    for (int i = 0; i < m->threads; i++) open_fiber(m, i, at);
    while (count_in(m, ENDED) < m->threads) {
        bool const moved = run_warps(m);
        int const wait = count_in(m, AT_BARRIER);
        if (wait && wait + count_in(m, ENDED) == m->threads)
            pass_barrier(m);
        else if (!moved) {
            snprintf(m->fault, sizeof m->fault,
                     "%s: %s, block (%u, %u, %u): %d threads wait at a barrier, %d for their warp or warpgroup, %d "
                     "have returned",
                     m->runs->file, m->runs->name, at->ctaid[0], at->ctaid[1], at->ctaid[2], count_in(m, AT_BARRIER),
                     count_in(m, IN_WARP), count_in(m, ENDED));
            longjmp(m->broken, 1);
        }
    }
    if (m->counts) counts_block(m);
}

const place *machine_place(const machine *m)
{
    return &m->now->at;
}

uint64_t *machine_issued(machine *m)
{
    return &m->now->issued;
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

/* What is drawn for a block is its own, whoever runs it. */
static uint64_t seed_of(uint64_t launch, uint64_t block)
{
    uint64_t v = (launch << 40 ^ block) + 0x9e3779b97f4a7c15;
    v ^= v >> 31, v *= 0x7fb5d329728ea185, v ^= v >> 27, v *= 0x81dadef4bc2dd44d;
    return (v ^ v >> 33) | 1;
}

void machine_run_block(machine *m, const launch_size *size, uint64_t number)
{
    const uint32_t *const g = size->grid, *const b = size->block;
    place const at = {
        .ntid = {b[0], b[1], b[2]},
        .nctaid = {g[0], g[1], g[2]},
        .ctaid = {(uint32_t)(number % g[0]), (uint32_t)(number / g[0] % g[1]), (uint32_t)(number / g[0] / g[1])}};
    m->random = seed_of(m->launches, number);
    run_block(m, &at);
}

static void run_grid(machine *m, const launch_size *size)
{
    uint64_t const count = (uint64_t)size->grid[0] * size->grid[1] * size->grid[2];
    if (m->workers > 1 && count > 1 && !m->counts && !m->runs->alone)
        machine_run_spread(m, size, count);
    else if (!setjmp(m->broken))
        for (uint64_t n = 0; n < count; n++) machine_run_block(m, size, n);
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
    if (grid[0] > INT32_MAX || grid[1] > UINT16_MAX || grid[2] > UINT16_MAX)
        return refuse_launch(m, k, "a grid has 2^31 - 1 blocks in x at most, and 65535 in y and z");
    if ((uint64_t)machine_dynamic(m) + shared > MOST_SHARED)
        return refuse_launch(m, k, "a block has 227 KiB of shared memory at most");
    m->threads = (int)threads, m->shared_bytes = shared ? machine_dynamic(m) + shared : k->shared;
    m->param = pack_params(k, args);
    if (!m->param) return refuse_launch(m, k, "no memory for its parameters");
    m->launches++;
    run_grid(m, &(launch_size){grid, block});
    if (m->counts) counts_launch(m, grid, block, shared);
    free(m->param);
    m->param = NULL;
    return !*m->fault;
}

machine *machine_open(machine_order order, tensor_gpu gpu)
{
    machine *const m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->order = order, m->gpu = gpu, m->workers = 1;
    m->fibers = calloc(MOST_THREADS, sizeof *m->fibers);
    void *const stacks = mmap(NULL, (size_t)MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    m->stacks = stacks == MAP_FAILED ? NULL : stacks;
    if (m->fibers && m->stacks) return m;
    machine_close(m);
    return NULL;
}

bool machine_count(machine *m, const char *path)
{
    return (m->counts = counts_open(path)) != NULL;
}

void machine_close(machine *m)
{
    counts_close(m->counts);
    for (int i = 1; i < m->workers; i++) machine_close(m->worker[i]);
    for (int i = 0; m->fibers && i < MOST_THREADS; i++) free(m->fibers[i].copies), free(m->fibers[i].held);
    for (allocation *a = m->allocations, *next; a; a = next) {
        next = a->next;
        if (!a->lent) free(a->memory);
        free(a->touched), free(a);
    }
    if (m->stacks) munmap(m->stacks, (size_t)MOST_THREADS * STACK);
    free(m->fibers);
    free(m);
}
