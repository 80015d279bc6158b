/* See counts.h. */
#include "counts.h"

#include "machine_state.h"

#include <stdio.h>
#include <stdlib.h>

enum { SECTOR = 32 }; /* bytes that memory gives at once */

/* How often each key was met in this block; entries of other blocks are empty. */
typedef struct {
    uint64_t key;
    uint32_t block, times;
} entry;

typedef struct {
    entry *list;
    uint32_t room, there; /* room: a power of two */
} table;

struct counts {
    FILE *to;
    table lines, sectors; /* of a thread: its accesses at a line; of a warp: what one of its instructions asks for */
    uint32_t block;       /* that runs, from 1 on */
    uint64_t issued, thread_instructions, sectors_read, sectors_written, mma;
    uint64_t matrices, phases; /* of ldmatrix */
};

counts *counts_open(const char *path)
{
    counts *const c = calloc(1, sizeof *c);
    if (c) c->to = fopen(path, "a"), c->block = 1;
    if (c && c->to) return c;
    free(c);
    return NULL;
}

void counts_close(counts *c)
{
    if (!c) return;
    fclose(c->to);
    free(c->lines.list), free(c->sectors.list), free(c);
}

/* ---- sectors: lanes that ask for the same one by the same instruction ask once ---- */

static uint64_t mixed(uint64_t v)
{
    v ^= v >> 31, v *= 0x7fb5d329728ea185, v ^= v >> 27, v *= 0x81dadef4bc2dd44d;
    return v ^ v >> 33;
}

static entry *find(table *t, uint64_t key, uint32_t block)
{
    uint32_t at = (uint32_t)key & (t->room - 1);
    while (t->list[at].block == block && t->list[at].key != key) at = (at + 1) & (t->room - 1);
    return &t->list[at];
}

static bool grow(table *t, uint32_t block)
{
    table more = {NULL, t->room ? 2 * t->room : 1 << 12, t->there};
    more.list = calloc(more.room, sizeof *more.list);
    if (!more.list) return false;
    for (uint32_t i = 0; i < t->room; i++)
        if (t->list[i].block == block) *find(&more, t->list[i].key, block) = t->list[i];
    free(t->list);
    *t = more;
    return true;
}

/* How often the key was met before in this block. */
static uint32_t met(machine *m, table *t, uint64_t key)
{
    uint32_t const block = m->counts->block;
    if (2 * t->there >= t->room && !grow(t, block)) machine_stop(m, "no memory for its counts");
    entry *const e = find(t, key, block);
    if (e->block != block) *e = (entry){key, block, 0}, t->there++;
    return e->times++;
}

static bool is_new_sector(machine *m, uint64_t address, access_kind kind, int line)
{
    uint32_t const thread = (uint32_t)m->now->number, warp = thread / WARP;
    uint64_t const at = (uint64_t)line << 16 | (uint64_t)kind << 12;
    uint32_t const turn = met(m, &m->counts->lines, mixed(at << 12 | thread));
    return !met(m, &m->counts->sectors, mixed(mixed(mixed(at | warp) + turn) + address / SECTOR));
}

/* ---- bytes of each allocation ---- */

static touched *touched_of(machine *m, allocation *a)
{
    if (!a->touched) a->touched = calloc(1, sizeof *a->touched + a->bytes);
    if (!a->touched) machine_stop(m, "no memory for its counts");
    return a->touched;
}

void counts_access(machine *m, uint64_t address, uint32_t bytes, access_kind kind, int line)
{
    for (allocation *a = m->allocations; a; a = a->next) {
        uint64_t const offset = address - (uint64_t)(uintptr_t)a->memory;
        if (offset >= a->bytes) continue;
        touched *const t = touched_of(m, a);
        for (uint32_t i = 0; i < bytes; i++) t->byte[offset + i] |= (uint8_t)kind;
        if (kind & ASKS_TO_READ) t->read += bytes;
        if (kind & ASKS_TO_WRITE) t->written += bytes;
        break;
    }
    if (!is_new_sector(m, address, kind, line)) return;
    if (kind & ASKS_TO_READ) m->counts->sectors_read++;
    if (kind & ASKS_TO_WRITE) m->counts->sectors_written++;
}

/* ---- banks of shared memory ---- */

/* Rows of 16 bytes in other places of 128 come at once; those in the same place one after another. */
void counts_matrix(machine *m, const uint64_t row[8])
{
    uint32_t of_place[8] = {0}, most = 0;
    for (int i = 0; i < 8; i++) {
        int earlier = 0;
        while (row[earlier] != row[i]) earlier++;
        if (earlier < i) continue;
        uint32_t const n = ++of_place[row[i] / 16 % 8];
        most = n > most ? n : most;
    }
    m->counts->matrices++, m->counts->phases += most;
}

/* ---- instructions ---- */

static void begin_block(counts *c)
{
    c->block++, c->lines.there = c->sectors.there = 0;
}

/* A warp has as many as that of its lanes that has most. */
void counts_block(machine *m)
{
    counts *const c = m->counts;
    for (int first = 0; first < m->threads; first += WARP) {
        uint64_t most = 0;
        for (int i = first; i < m->threads && i < first + WARP; i++) {
            uint64_t const n = m->fibers[i].issued;
            c->thread_instructions += n;
            most = n > most ? n : most;
        }
        c->issued += most, c->mma += m->fibers[first].multiplied;
    }
    begin_block(c);
}

/* ---- a line ---- */

static uint64_t bytes_with(const allocation *a, access_kind kind)
{
    uint64_t n = 0;
    for (size_t i = 0; i < a->bytes; i++) n += (a->touched->byte[i] & kind) != 0;
    return n;
}

static void put_memory(FILE *to, machine *m)
{
    const char *comma = "";
    for (allocation *a = m->allocations; a; a = a->next) {
        if (!a->touched) continue;
        fprintf(to, "%s{\"bytes\":%zu,\"read\":%llu,\"read_once\":%llu,\"written\":%llu,\"written_once\":%llu}", comma,
                a->bytes, (unsigned long long)a->touched->read, (unsigned long long)bytes_with(a, ASKS_TO_READ),
                (unsigned long long)a->touched->written, (unsigned long long)bytes_with(a, ASKS_TO_WRITE));
        free(a->touched);
        a->touched = NULL, comma = ",";
    }
}

void counts_launch(machine *m, const uint32_t grid[3], const uint32_t block[3], uint32_t shared)
{
    counts *const c = m->counts;
    fprintf(c->to,
            "{\"kernel\":\"%s\",\"grid\":[%u,%u,%u],\"block\":[%u,%u,%u],\"dynamic\":%u,\"issued\":%llu,"
            "\"thread_instructions\":%llu,\"mma\":%llu,\"sectors_read\":%llu,\"sectors_written\":%llu,\"matrices\":%"
            "llu,\"phases\":%llu,\"memory\":[",
            m->runs->name, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared,
            (unsigned long long)c->issued, (unsigned long long)c->thread_instructions, (unsigned long long)c->mma,
            (unsigned long long)c->sectors_read, (unsigned long long)c->sectors_written,
            (unsigned long long)c->matrices, (unsigned long long)c->phases);
    put_memory(c->to, m);
    fputs("]}\n", c->to);
    fflush(c->to);
    begin_block(c);
    c->issued = c->thread_instructions = c->mma = c->sectors_read = c->sectors_written = 0;
    c->matrices = c->phases = 0;
}
