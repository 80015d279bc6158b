/* What the machine's parts know of each other: machine_memory.c, machine_warp.c and machine.c. */
#ifndef MACHINE_STATE_H
#define MACHINE_STATE_H

#include "counts.h"
#include "machine.h"
#include "switch.h"

#include <setjmp.h>

enum {
    WARP = 32,
    MOST_THREADS = 1024,
    MOST_WARPS = MOST_THREADS / WARP,
    STACK = 1 << 17,
    GROUP = 128,
    MOST_SHARED = 232448,
    MOST_WORKERS = 64
};

typedef enum { RUNS, AT_BARRIER, IN_WARP, ENDED } fiber_state;

typedef enum {
    MEETS_TO_SHUFFLE,
    MEETS_AT_BARRIER,
    MEETS_TO_MULTIPLY,
    MEETS_TO_LOAD,
    MEETS_TO_LOOK,
    MEETS_AS_GROUP,
    MEETS_TO_FENCE,
    MEETS_TO_WAIT
} meeting_kind;

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
    const wgmma *product;
} meeting;

/* A copy that was asked for and hasn't come. */
typedef struct {
    uint64_t shared, global;
    uint32_t bytes, from, group;
} copy;

/* Sixteen bytes that a wgmma in flight reads. */
typedef struct {
    uint32_t address, group;
} held;

typedef struct {
    standing stack;
    fiber_state state;
    int number, line; /* line: of its last access or meeting */
    place at;
    uint32_t barriers, meetings; /* that it passed; meetings that order memory */
    uint32_t knows[WARP];        /* so many meetings of each lane of its warp lie before what it does now */
    bool says;                   /* what it brings to a barrier that counts */
    bool aligned;                /* it waits at a barrier that all of a warp come to together */
    meeting brings;
    copy *copies;
    int copies_there, copies_room;
    uint32_t group;               /* that its next copy belongs to */
    uint32_t fences, wgmma_group; /* wgmma.fence; the group that its next wgmma belongs to */
    uint32_t proxy_fences, proxy_fences_shown,
        fenced_at; /* so far; at the last barrier; barriers before the last one */
    machine_register *registers;
    held *held; /* by its warp; of first lanes */
    int registers_there, held_there, held_room;
    uint64_t issued, multiplied; /* its instructions, and those of its warp by the matrix unit */
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
    uint16_t other; /* who read before the reader, not ordered before it; 0: nobody */
    uint32_t other_meetings;
    uint32_t write_fences; /* fence.proxy.async of the writer before */
    uint16_t held;         /* warps whose wgmma in flight reads it */
} shadow;

/* What a launch asked of an allocation: bytes, and of each byte the access_kind. */
typedef struct {
    uint64_t read, written;
    uint8_t byte[];
} touched;

typedef struct allocation {
    uint8_t *memory;
    size_t bytes;
    struct allocation *next;
    bool lent;        /* it is another's, and isn't freed here */
    touched *touched; /* NULL: nothing, or nobody counts */
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
    uint32_t said; /* how many threads did at the last barrier */
    uint64_t clock;
    const kernel *runs;
    uint8_t *param;
    int threads;
    fiber *now;
    bool inside;   /* the running one is a fiber, not the scheduler */
    standing home; /* who schedules them */
    jmp_buf broken;
    counts *counts; /* NULL: nobody counts */
    uint64_t launches;
    int workers; /* machines that run blocks at once, this one among them; the others from worker[1] on */
    struct machine *worker[MOST_WORKERS];
    char fault[600];
};

/* Blocks of a launch, and threads of each. */
typedef struct {
    const uint32_t *grid, *block;
} launch_size;

void machine_run_block(machine *m, const launch_size *size, uint64_t number); /* from 0 on, x first */
void machine_run_spread(machine *m, const launch_size *size, uint64_t count); /* of machine_blocks.c: all of so many */

/* Ends the launch: back to where it began, over all fibers. */
__attribute__((noreturn, format(printf, 2, 3))) void machine_stop(machine *m, const char *format, ...);

/* The running thread goes on when its state is RUNS again. */
void machine_wait_as(machine *m, fiber_state state);

/* Lanes of the warp whose first thread it is meet, if all whom one waits for are there. True: somebody goes on. */
bool machine_meet_if_complete(machine *m, int first);

/* What the lanes of the mask did in memory comes before what any of them does from now on. */
void machine_order_memory(fiber *warp, uint32_t mask);

/* Until all lanes of the mask are there, which bring the same kind and mode. */
void machine_bring(machine *m, meeting what, int line);

/* Of machine_wgmma.c: is the warpgroup of that thread there? Then its product; waits; the end of a thread. */
bool machine_group_is_there(const machine *m, int first);
void machine_multiply_group(machine *m, int first);
void machine_land_warp(machine *m, fiber *warp);
void machine_end_wgmma(machine *m);

/* Shared memory that so many warps' wgmma reads, until all say that it is done. Their last fence.proxy.async came after
 * `fenced` barriers. */
const uint8_t *machine_operand_at(machine *m, uint64_t address, uint32_t bytes, int warps, uint32_t fenced);
void machine_operand_done(machine *m, uint64_t address, uint32_t bytes);

#endif
