/* See twin.h. */
#include "twin.h"

#include "process.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

static struct {
    pid_t worker;
    volatile int *returned; /* shared by the worker and what is forked from it; NULL: no memory */
    int forks, waited_for;  /* of the worker */
} twin;

static void count_fork(void)
{
    twin.forks++;
}

void twin_watch(void)
{
    void *const page = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    twin.worker = getpid();
    twin.returned = page == MAP_FAILED ? NULL : page;
    pthread_atfork(NULL, count_fork, NULL);
}

bool twin_is_worker(void)
{
    return getpid() == twin.worker;
}

void twin_end(void)
{
    if (twin_is_worker()) return;
    if (twin.returned) *twin.returned = 1;
    _exit(0);
}

bool twin_seen(void)
{
    static double const patience = 0.2;
    if (!twin.returned) return false;
    for (double const last = now() + patience; twin.forks > twin.waited_for && !*twin.returned && now() < last;)
        pause_for(1e-3);
    twin.waited_for = twin.forks;
    return *twin.returned;
}
