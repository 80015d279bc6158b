/* See machine.h: memory that is watched, and copies that come late. */
#include "machine_state.h"

#include <stdlib.h>
#include <string.h>

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

bool machine_lend(machine *m, void *memory, size_t bytes)
{
    allocation *const a = malloc(sizeof *a);
    if (!a) return false;
    *a = (allocation){memory, bytes, m->allocations, .lent = true};
    m->allocations = a;
    return true;
}

bool machine_free(machine *m, void *memory)
{
    for (allocation **at = &m->allocations; *at; at = &(*at)->next)
        if ((*at)->memory == memory && !(*at)->lent) {
            allocation *const gone = *at;
            *at = gone->next;
            free(gone->memory), free(gone->touched), free(gone);
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

/* Do so many bytes from there on lie in the first `size`? What is below 0 has wrapped around, and doesn't. */
static bool lie_within(uint64_t from, uint32_t bytes, uint64_t size)
{
    return from <= size && bytes <= size - from;
}

static void *global_at(machine *m, uint64_t address, uint32_t bytes, bool write, bool generic)
{
    for (const allocation *a = m->allocations; a; a = a->next) {
        uint64_t const first = (uint64_t)(uintptr_t)a->memory;
        if (lie_within(address - first, bytes, a->bytes)) return (void *)(uintptr_t)address;
    }
    uint64_t const stack = (uint64_t)(uintptr_t)m->stacks + (uint64_t)m->now->number * STACK;
    if (generic && address - stack < STACK)
        return (void *)(uintptr_t)address; /* an array of the function that called */
    machine_stop(m, "%s of %u bytes outside every allocation", write ? "write" : "read", bytes);
}

/* ---- shared memory ---- */

#define LATE "it %s shared memory that cp.async has not filled yet: no wait_group and barrier between"
#define HELD "it %s shared memory that a wgmma in flight reads: no wgmma.wait_group and barrier between"

/* Does a meeting of its warp lie between what thread `other` did then and what the running one does now? */
static bool is_past(const fiber *f, uint16_t other, uint32_t meetings)
{
    int const number = other - 1;
    return number / WARP == f->number / WARP && f->knows[number % WARP] > meetings;
}

/* Does anything? */
static bool is_ordered(const fiber *f, uint16_t other, uint32_t barriers, uint32_t meetings)
{
    return other - 1 == f->number || barriers != f->barriers || is_past(f, other, meetings);
}

/* Do all atomics lie before what the running one does now? */
static bool is_after_atomics(const fiber *f, const shadow *s)
{
    if (!s->adder || s->add_barriers != f->barriers) return true;
    if (s->atomics == OF_WARPS) return false;
    if (s->atomics == OF_LANES) return is_past(f, s->adder, s->add_meetings);
    return is_ordered(f, s->adder, s->add_barriers, s->add_meetings);
}

/* Whose atomics they are when the running one's joins them. */
static atomics joined(const fiber *f, const shadow *s)
{
    int const number = s->adder - 1;
    if (!s->adder || s->add_barriers != f->barriers) return OF_ONE;
    if (s->atomics == OF_WARPS || number / WARP != f->number / WARP) return OF_WARPS;
    if (is_past(f, s->adder, s->add_meetings)) return OF_ONE;
    return number == f->number ? s->atomics : OF_LANES;
}

/* A thread that read and isn't ordered before the running one, or -1; of several warps it is the last of many. */
static int unordered_reader(const fiber *f, const shadow *s)
{
    if (!s->reader || s->read_barriers != f->barriers) return -1;
    if (s->many || !is_ordered(f, s->reader, s->read_barriers, s->read_meetings)) return s->reader - 1;
    if (s->other && !is_ordered(f, s->other, s->read_barriers, s->other_meetings)) return s->other - 1;
    return -1;
}

/* Atomics don't race with atomics. */
static void note_atomic(machine *m, shadow *s)
{
    const fiber *const f = m->now;
    if (s->late) machine_stop(m, LATE, "changes");
    if (s->held) machine_stop(m, HELD, "changes");
    if (!s->writer) machine_stop(m, "it reads shared memory that nobody wrote");
    if (!is_ordered(f, s->writer, s->write_barriers, s->write_meetings))
        machine_stop(m, "race: an atomic on what thread %d wrote with no barrier between", s->writer - 1);
    int const reader = unordered_reader(f, s);
    if (reader >= 0) machine_stop(m, "race: an atomic on what thread %d read with no barrier between", reader);
    s->atomics = joined(f, s);
    s->adder = (uint16_t)(f->number + 1);
    s->add_barriers = f->barriers, s->add_meetings = f->meetings;
}

static void note_write(machine *m, shadow *s)
{
    const fiber *const f = m->now;
    if (s->late) machine_stop(m, LATE, "writes");
    if (s->held) machine_stop(m, HELD, "writes");
    if (!is_after_atomics(f, s))
        machine_stop(m, "race: it writes what an atomic of thread %d changed with no barrier between", s->adder - 1);
    s->adder = 0;
    if (s->writer && !is_ordered(f, s->writer, s->write_barriers, s->write_meetings))
        machine_stop(m, "race: it writes what thread %d wrote with no barrier between", s->writer - 1);
    int const reader = unordered_reader(f, s);
    if (reader >= 0) machine_stop(m, "race: it writes what thread %d read with no barrier between", reader);
    s->writer = (uint16_t)(f->number + 1);
    s->write_barriers = f->barriers, s->write_meetings = f->meetings;
    s->write_fences = f->proxy_fences;
}

static void mark_read(const fiber *f, shadow *s)
{
    bool const same = s->reader && s->read_barriers == f->barriers;
    s->many = same && (s->many || (s->reader - 1) / WARP != f->number / WARP);
    if (!same || is_past(f, s->reader, s->read_meetings))
        s->other = 0;
    else if (s->reader - 1 != f->number)
        s->other = s->reader, s->other_meetings = s->read_meetings;
    s->reader = (uint16_t)(f->number + 1);
    s->read_barriers = f->barriers, s->read_meetings = f->meetings;
}

static void note_read(machine *m, shadow *s)
{
    const fiber *const f = m->now;
    if (!s->writer) machine_stop(m, "it reads shared memory that nobody wrote");
    if (s->late) machine_stop(m, LATE, "reads");
    if (!is_ordered(f, s->writer, s->write_barriers, s->write_meetings))
        machine_stop(m, "race: it reads what thread %d wrote with no barrier between", s->writer - 1);
    if (!is_after_atomics(f, s))
        machine_stop(m, "race: it reads what an atomic of thread %d changed with no barrier between", s->adder - 1);
    mark_read(f, s);
}

static void *shared_at(machine *m, uint64_t address, uint32_t bytes, bool write, void note(machine *, shadow *))
{
    if (!lie_within(address, bytes, m->shared_bytes))
        machine_stop(m, "%s of %u bytes at %d of shared memory, which has %u", write ? "write" : "read", bytes,
                     (int32_t)address, m->shared_bytes);
    for (uint32_t i = 0; i < bytes; i++) note(m, &m->seen[address + i]);
    return m->shared + address;
}

void *machine_at(machine *m, int space, uint64_t address, uint32_t bytes, bool write, int line)
{
    m->now->line = line;
    if (address % bytes) machine_stop(m, "misaligned: %u bytes at %llx", bytes, (unsigned long long)address);
    if (space == SPACE_GENERIC && address - SHARED_WINDOW < MOST_SHARED) space = SPACE_SHARED, address -= SHARED_WINDOW;
    if (m->counts && space != SPACE_SHARED)
        counts_access(m, address, bytes, write ? ASKS_TO_WRITE : ASKS_TO_READ, line);
    return space == SPACE_SHARED ? shared_at(m, address, bytes, write, write ? note_write : note_read)
                                 : global_at(m, address, bytes, write, space == SPACE_GENERIC);
}

void *machine_atomic_at(machine *m, int space, uint64_t address, uint32_t bytes, int line)
{
    m->now->line = line;
    if (address % bytes) machine_stop(m, "misaligned: %u bytes at %llx", bytes, (unsigned long long)address);
    if (space == SPACE_GENERIC && address - SHARED_WINDOW < MOST_SHARED) space = SPACE_SHARED, address -= SHARED_WINDOW;
    if (m->counts && space != SPACE_SHARED)
        counts_access(m, address, bytes, (access_kind)(ASKS_TO_READ | ASKS_TO_WRITE), line);
    return space == SPACE_SHARED ? shared_at(m, address, bytes, true, note_atomic)
                                 : global_at(m, address, bytes, true, false);
}

uint64_t machine_param(machine *m, uint64_t at, uint32_t bytes, uint32_t end, int line)
{
    m->now->line = line;
    if (at % bytes) machine_stop(m, "misaligned: %u bytes at %llu of its parameters", bytes, (unsigned long long)at);
    if (at > end || bytes > end - at)
        machine_stop(m, "read of %u bytes at %llu of its parameters, which have %u", bytes, (unsigned long long)at,
                     end);
    return at;
}

/* ---- what wgmma reads ---- */

/* By threads of four warps, behind a barrier and a fence on the way to it, wherever. */
static void note_operand(machine *m, const shadow *s, uint32_t fenced)
{
    uint32_t const now = m->now->barriers;
    if (!s->writer) machine_stop(m, "its wgmma reads shared memory that nobody wrote");
    if (s->late) machine_stop(m, LATE, "multiplies");
    if (s->write_barriers == now || (s->adder && s->add_barriers == now))
        machine_stop(m, "race: its wgmma reads what thread %d wrote with no barrier between", s->writer - 1);
    if (m->fibers[s->writer - 1].proxy_fences_shown <= s->write_fences && fenced <= s->write_barriers)
        machine_stop(m, "its wgmma reads what thread %d wrote with no fence.proxy.async and barrier between",
                     s->writer - 1);
}

const uint8_t *machine_operand_at(machine *m, uint64_t address, uint32_t bytes, int warps, uint32_t fenced)
{
    if (!lie_within(address, bytes, m->shared_bytes))
        machine_stop(m, "its wgmma reads %u bytes at %llu of shared memory, which has %u", bytes,
                     (unsigned long long)address, m->shared_bytes);
    for (uint32_t i = 0; i < bytes; i++) {
        note_operand(m, &m->seen[address + i], fenced);
        m->seen[address + i].held = (uint16_t)(m->seen[address + i].held + warps);
    }
    return m->shared + address;
}

void machine_operand_done(machine *m, uint64_t address, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) m->seen[address + i].held--, mark_read(m->now, &m->seen[address + i]);
}

/* ---- copies that come late ---- */

void machine_copy(machine *m, uint64_t shared, uint64_t global, uint32_t bytes, uint32_t from, int line)
{
    fiber *const f = m->now;
    f->line = line;
    if (from > bytes) machine_stop(m, "cp.async of %u bytes into %u", from, bytes);
    if (global % bytes || shared % bytes) machine_stop(m, "misaligned: cp.async of %u bytes", bytes);
    if (from) global_at(m, global, from, false, false);
    if (from && m->counts) counts_access(m, global, from, ASKS_TO_READ, line);
    memset(shared_at(m, shared, bytes, true, note_write), 0xff, bytes);
    for (uint32_t i = 0; i < bytes; i++) m->seen[shared + i].late = true;
    if (f->copies_there == f->copies_room) {
        copy *const more = realloc(f->copies, sizeof *more * (size_t)(f->copies_room = 2 * f->copies_room + 16));
        if (!more) machine_stop(m, "no memory for a copy");
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
        if (c.from) memcpy(to, global_at(m, c.global, c.from, false, false), c.from);
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
