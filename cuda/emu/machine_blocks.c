/* See machine.h: blocks of one launch by several threads of this processor. Each is a machine of its own, and takes the next block;
 * they share what is allocated. */
#include "machine_state.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* The blocks that nobody took yet. */
typedef struct {
    const launch_size *size;
    uint64_t count;
    atomic_uint_fast64_t next, failed; /* failed: the first block, in their order, that ended the launch */
} queue;

typedef struct {
    machine *m;
    queue *blocks;
    uint64_t at, failed; /* failed: which of its blocks ended it; ~0: none */
} worker;

static void fail(worker *w)
{
    uint64_t first = atomic_load(&w->blocks->failed);
    w->failed = w->at;
    while (w->at < first && !atomic_compare_exchange_weak(&w->blocks->failed, &first, w->at)) continue;
}

/* All blocks before one that failed were taken before it, and are run. */
static void *work(void *context)
{
    worker *const w = context;
    while ((w->at = atomic_fetch_add(&w->blocks->next, 1)) < w->blocks->count &&
           w->at < atomic_load(&w->blocks->failed))
        if (setjmp(w->m->broken)) {
            fail(w);
            break;
        } else
            machine_run_block(w->m, w->blocks->size, w->at);
    return NULL;
}

/* What the launch is, for one more machine. */
static void lend_launch(const machine *m, machine *to)
{
    to->allocations = m->allocations, to->runs = m->runs, to->param = m->param;
    to->threads = m->threads, to->shared_bytes = m->shared_bytes, to->launches = m->launches;
    *to->fault = 0;
}

void machine_run_spread(machine *m, const launch_size *size, uint64_t count)
{
    queue blocks = {.size = size, .count = count, .failed = UINT64_MAX};
    worker w[MOST_WORKERS];
    pthread_t thread[MOST_WORKERS];
    bool there[MOST_WORKERS] = {false};
    w[0] = (worker){m, &blocks, 0, UINT64_MAX};
    for (int i = 1; i < m->workers; i++) {
        lend_launch(m, m->worker[i]);
        w[i] = (worker){m->worker[i], &blocks, 0, UINT64_MAX};
        there[i] = !pthread_create(&thread[i], NULL, work, &w[i]); /* the others have more to do without it */
    }
    work(&w[0]);
    for (int i = 1; i < m->workers; i++)
        if (there[i]) pthread_join(thread[i], NULL);
    for (int i = 1; i < m->workers; i++) {
        if (w[i].failed == atomic_load(&blocks.failed) && there[i] && *m->worker[i]->fault)
            memcpy(m->fault, m->worker[i]->fault, sizeof m->fault);
        m->worker[i]->allocations = NULL;
    }
}

bool machine_spread(machine *m, int workers)
{
    if (workers > MOST_WORKERS) workers = MOST_WORKERS;
    for (; m->workers < workers; m->workers++)
        if (!(m->worker[m->workers] = machine_open(m->order, m->gpu))) return false;
    return true;
}
