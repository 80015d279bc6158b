/* See lazy.h. */
#include "lazy.h"

#include <errno.h>
#include <fenv.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Threads that wait while another fills come once more each; who comes oftener means something else, such as a write. */
enum { MOST_LATE = 1024 };

typedef struct {
    char *at;
    size_t bytes; /* whole pages */
    lazy_source source;
    bool ours; /* the addresses too */
    bool filled;
    int late; /* so many came after it was filled */
} range;

/* What a signal handler needs; it can be told in no other way. */
static struct {
    atomic_flag taken;
    range *item;
    int count, room;
    struct sigaction before;
} lazy = {.taken = ATOMIC_FLAG_INIT};

static void take(void)
{
    while (atomic_flag_test_and_set(&lazy.taken)) sched_yield();
}

static void give_back(void)
{
    atomic_flag_clear(&lazy.taken);
}

/* ---- the list ---- */

static range *find(const void *address)
{
    uintptr_t const at = (uintptr_t)address;
    for (int i = 0; i < lazy.count; i++) {
        uintptr_t const first = (uintptr_t)lazy.item[i].at;
        if (at >= first && at - first < lazy.item[i].bytes) return &lazy.item[i];
    }
    return NULL;
}

static bool add(const range *r)
{
    take();
    if (lazy.count == lazy.room) {
        int const room = 2 * lazy.room + 64;
        range *const more = realloc(lazy.item, (size_t)room * sizeof *more);
        if (more) lazy.item = more, lazy.room = room;
    }
    bool const good = lazy.count < lazy.room;
    if (good) lazy.item[lazy.count++] = *r;
    give_back();
    return good;
}

static size_t whole_pages(size_t bytes)
{
    size_t const page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

bool lazy_cover(void *pages, size_t bytes, const lazy_source *source)
{
    return add(&(range){.at = pages, .bytes = bytes, .source = *source});
}

void *lazy_open(size_t bytes, const lazy_source *source)
{
    size_t const all = whole_pages(bytes);
    void *const at = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return NULL;
    if (add(&(range){.at = at, .bytes = all, .source = *source, .ours = true})) return at;
    return munmap(at, all), NULL;
}

void lazy_close(void *at)
{
    take();
    range *const r = find(at);
    if (r && r->ours) munmap(r->at, r->bytes);
    if (r) *r = lazy.item[--lazy.count];
    give_back();
}

bool lazy_is_filled(const void *at)
{
    take();
    const range *const r = find(at);
    bool const filled = r && r->filled;
    give_back();
    return filled;
}

/* ---- filling ---- */

/* By the rounding that the harness fills with, whatever the one who touched it has set. */
static bool fill(const lazy_source *source, void *to)
{
    fenv_t theirs;
    fegetenv(&theirs);
    fesetenv(FE_DFL_ENV);
    bool const good = source->fill(source->context, source->index, to);
    fesetenv(&theirs);
    return good;
}

/* Elsewhere first, then moved there all at once. */
static bool fill_range(range *r)
{
    void *const made = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made == MAP_FAILED) return false;
    if (fill(&r->source, made) && !mprotect(made, r->bytes, r->source.protection) &&
        mremap(made, r->bytes, r->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, r->at) != MAP_FAILED)
        return r->filled = true;
    munmap(made, r->bytes);
    return false;
}

lazy_answer lazy_touch(const void *address)
{
    int const before = errno;
    take();
    range *const r = find(address);
    lazy_answer answer = LAZY_ELSEWHERE;
    if (r && !r->filled)
        answer = fill_range(r) ? LAZY_FILLED : LAZY_NO_MEMORY;
    else if (r && r->late++ < MOST_LATE)
        answer = LAZY_FILLED;
    give_back();
    errno = before;
    return answer;
}

/* ---- faults ---- */

/* Somebody sent it: whoever caught it before hears of it, since it doesn't happen again. */
static void hand_on(int number, siginfo_t *info, void *context)
{
    if (lazy.before.sa_flags & SA_SIGINFO) {
        lazy.before.sa_sigaction(number, info, context);
        return;
    }
    sigaction(number, &lazy.before, NULL);
    raise(number); /* acts when this returns */
}

/* A fault that isn't ours happens again, as if nobody had caught it. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    if (info->si_code <= 0)
        hand_on(number, info, context);
    else if (lazy_touch(info->si_addr) != LAZY_FILLED)
        sigaction(number, &lazy.before, NULL);
}

void lazy_catch(void)
{
    struct sigaction const action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct sigaction now;
    if (sigaction(SIGSEGV, NULL, &now) || ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_fault)) return;
    lazy.before = now;
    sigaction(SIGSEGV, &action, NULL);
}
