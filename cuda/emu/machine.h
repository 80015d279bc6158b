/*
 * A machine for one kernel at a time: the threads of a block are fibers of one CPU thread, which run until they meet. Memory is
 * watched: shared bytes that two threads touch without a barrier between, bytes that nobody wrote, accesses outside every
 * allocation. Kernels are C that ptx2c made of the compiler's own PTX. Source: NVIDIA, PTX ISA 9.0.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include "tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct machine machine;

/* A kernel as ptx2c writes it. param: the bytes of its parameters. */
typedef void kernel_body(machine *m, const uint8_t *param);

typedef struct {
    const char *name, *file; /* the PTX entry, and the file of its lines */
    kernel_body *body;
    uint32_t shared; /* bytes of its static arrays */
    int params;
    const uint32_t *offset, *size; /* of each parameter */
    const char *target;            /* of its PTX: sm_90a */
    bool alone;                    /* its blocks may tell each other something: they run one after another */
} kernel;

/* ---- for whoever launches ---- */

typedef enum { ORDER_UP, ORDER_DOWN, ORDER_SHUFFLED } machine_order; /* in which threads run */

machine *machine_open(machine_order order, tensor_gpu gpu); /* NULL: no memory */
void machine_close(machine *m);

/* From now on blocks of a launch are run by so many threads of this processor at a time, unless somebody counts or the kernel wants
 * them alone: what a launch does, and what it ends with, is what one thread's would be. False: no memory for them; fewer do it. */
bool machine_spread(machine *m, int workers);

/* From now on each launch adds a line to that file (counts.h). False: it can't be written. */
bool machine_count(machine *m, const char *path);

/* Device memory, every byte of it poison (0xff). NULL: none. */
void *machine_alloc(machine *m, size_t bytes);
bool machine_lend(machine *m, void *memory, size_t bytes); /* it stays the caller's; false: no memory */
bool machine_free(machine *m, void *memory);               /* false: it is no such memory */
bool machine_holds(const machine *m, const void *at,
                   size_t bytes); /* are so many bytes from there in one piece of it? */

/* Runs all blocks. False: one sentence in machine_fault, which names kernel, line and thread. */
bool machine_launch(machine *m, const kernel *k, const uint32_t grid[3], const uint32_t block[3], uint32_t shared,
                    void *const args[]);
const char *machine_fault(const machine *m);

/* ---- for kernels ---- */

/* SPACE_GENERIC: shared memory from SHARED_WINDOW on, where no allocation lies, and global memory else. */
enum { SPACE_GLOBAL, SPACE_SHARED, SPACE_GENERIC };
#define SHARED_WINDOW 0x7fff000000000000u
enum { SHFL_UP, SHFL_DOWN, SHFL_BFLY, SHFL_IDX };

/* What a thread sees of itself: tid, ntid, ctaid, nctaid by axis. */
typedef struct {
    uint32_t tid[3], ntid[3], ctaid[3], nctaid[3];
} place;

const place *machine_place(const machine *m);

/* The bytes at an address, if the thread may touch them; a fault ends the launch. */
void *machine_at(machine *m, int space, uint64_t address, uint32_t bytes, bool write, int line);

/* An offset in the kernel's parameters, which have `end` bytes; a fault if they don't have it. */
uint64_t machine_param(machine *m, uint64_t at, uint32_t bytes, uint32_t end, int line);
/* Likewise of bytes that it reads and writes at once: atomics don't race with atomics. */
void *machine_atomic_at(machine *m, int space, uint64_t address, uint32_t bytes, int line);

void machine_barrier(machine *m, bool aligned, int line); /* aligned: a warp comes to it together, or has returned */
uint32_t machine_barrier_count(machine *m, bool says, int line); /* a barrier, and how many threads say so */

/* The lanes that are at the same place: all that come there before the warp can't go on. */
uint32_t machine_active(machine *m, int line);

/* A call: a fault if the thread's stack has no room for it. */
void machine_descend(machine *m, int line);

uint64_t machine_clock(machine *m); /* ticks when it is looked at */
__attribute__((noreturn)) void machine_end(machine *m, const char *why, int line);
void machine_warp_barrier(machine *m, uint32_t mask, int line); /* bar.warp.sync */
uint32_t machine_shfl(machine *m, int mode, uint32_t value, uint32_t lane, uint32_t clamp, uint32_t mask,
                      bool *in_range, int line);

/* Where the running thread counts its instructions. */
uint64_t *machine_issued(machine *m);

/* Where dynamic shared memory begins. */
uint32_t machine_dynamic(const machine *m);

/* d = c + a b by the warp's matrix unit: m16n8, of k products of a format; registers as the PTX ISA lays out fragments. */
typedef struct {
    tensor_code code;
    int k;
} mma_kind;

void machine_mma(machine *m, mma_kind kind, uint32_t *const d[4], const uint32_t a[4], const uint32_t b[2],
                 const uint32_t c[4], int line);

/* ldmatrix: so many 8x8 matrices of 16-bit elements, whose rows lie at the addresses that lanes bring. */
void machine_ldmatrix(machine *m, uint64_t address, int count, bool transposed, uint32_t *const d[4], int line);

/* cp.async: `bytes` of shared memory get `from` bytes and zeros behind them, not before somebody waits: as late as may be. */
void machine_copy(machine *m, uint64_t shared, uint64_t global, uint32_t bytes, uint32_t from, int line);
void machine_copy_commit(machine *m);
void machine_copy_wait(machine *m, uint32_t groups, int line); /* all but so many of the latest groups */
void machine_copy_wait_all(machine *m, int line);

/* ---- wgmma, of Hopper: four warps multiply; registers and shared memory are theirs until somebody waits ---- */

/* What the machine knows of a register that a wgmma of the kernel has. All 0 at the beginning. */
typedef struct {
    uint32_t *at, late; /* late: what it will be */
    uint32_t group;     /* 1 + its group in flight; 0: none */
    uint32_t touched,
        used;  /* fences that must be there before the next wgmma: after other instructions, after a wgmma */
    int shape; /* of the accumulators that it was among; 0: of A */
} machine_register;

void machine_registers(machine *m, machine_register *list, int count); /* those of the running thread */
void machine_touch(machine *m, int which, int line);                   /* another instruction reads or writes it */

/* d = a b, + d where it adds: 64 rows. d and a: which registers; no a: A lies in shared memory, as its descriptor says. */
typedef struct {
    tensor_code code;
    int columns;
    bool a_negated, b_negated, a_mn_major, b_mn_major, adds;
    const int *d, *a;
    uint64_t a_at, b_at;
} wgmma;

void machine_wgmma(machine *m, const wgmma *w, int line);
void machine_wgmma_fence(machine *m, int line);
void machine_wgmma_commit(machine *m, int line);
void machine_wgmma_wait(machine *m, uint32_t groups, int line); /* for all but so many of the latest groups */

/* fence.proxy.async: what the thread wrote to shared memory before, wgmma may read behind the next barrier. */
void machine_proxy_fence(machine *m);

#endif
