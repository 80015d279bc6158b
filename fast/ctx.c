/* See ctx.h. */
#include "ctx.h"

#include "amx.h"
#include "pack.h"
#include "tiles_here.h"

#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_WORKERS = 64, SPINS = 2000, PAGE = 4096 };

static const size_t reserve = (size_t)1 << 38; /* addresses, not memory */

struct dsv3_ctx {
    product_path path;
    int invariant;
    packs *packs;
    char *memory;
    size_t used;
    int workers;
    pthread_t thread[MOST_WORKERS]; /* [0]: the caller's place, unused */
    work *f;
    const void *job;
    int64_t parts;
    _Atomic int64_t next;    /* part to be taken */
    _Atomic int working;     /* workers that haven't finished this job */
    _Atomic uint32_t serial; /* of the job; workers wait for another one */
    _Atomic bool closing;
};

/* ---- path ---- */

/* Why the processor can't go by pairs; NULL: it can. */
static const char *lacks_pairs(void)
{
#ifdef PORTABLE
    return NULL;
#elif defined(__x86_64__)
    if (!__builtin_cpu_supports("avx512bf16")) return "this processor lacks AVX512-BF16 (CPUID 7.1 EAX 5)";
    return __builtin_cpu_supports("avx512vbmi") ? NULL : "this processor lacks AVX512-VBMI (CPUID 7.0 ECX 1)";
#else
    return "it belongs to x86-64 processors";
#endif
}

#if defined(__x86_64__) && !defined(PORTABLE)

/* Why the processor or the system has no AMX; NULL: it has. */
static const char *has_no_amx(void)
{
    if (processor_lacks_tiles()) return processor_lacks_tiles();
    if (lacks_pairs()) return lacks_pairs(); /* rows are decoded by the same instructions */
    return system_saves_no_tiles();
}

static const char *amx_refused;

/* The system is asked once, and the unit tried. */
static void ask_for_amx(void)
{
    amx_refused = system_refuses_tiles();
    if (!amx_refused) amx_refused = unit_fault();
}

/* Why products can't go by AMX; NULL: they can. */
static const char *lacks_amx(void)
{
    static pthread_once_t asked = PTHREAD_ONCE_INIT;
    const char *const lacking = has_no_amx();
    if (lacking) return lacking;
    pthread_once(&asked, ask_for_amx);
    return amx_refused;
}

#else

/* A model of it is always there. */
static const char *has_no_amx(void)
{
    return NULL;
}

static const char *lacks_amx(void)
{
    return NULL;
}

#endif

/* As measured: Intel's vdpbf16ps is half as fast as its FMA, tiles are two to six times as fast from sixteen rows on. A model is
 * slower than what it models. */
static bool is_faster(product_path path)
{
#if defined(__x86_64__) && !defined(PORTABLE)
    return path == PATH_AMX || __builtin_cpu_is("amd");
#else
    (void)path;
    return false;
#endif
}

static const char *const path_names[] = {"fma", "dpbf16", "amx"};

/* The path that DSV3_FAST names; -1: none. */
static int path_asked_for(void)
{
    const char *const said = getenv("DSV3_FAST");
    for (int path = PATH_FMA; said && path <= PATH_AMX; path++)
        if (!strcmp(said, path_names[path])) return path;
    return -1;
}

static bool is_wanted(product_path path)
{
    int const asked = path_asked_for();
    return asked < 0 ? is_faster(path) : asked == (int)path;
}

product_path path_here(void)
{
    int const asked = path_asked_for();
    if (is_wanted(PATH_AMX) && !lacks_amx()) return PATH_AMX;
    if (asked == PATH_FMA || lacks_pairs()) return PATH_FMA;
    return asked == PATH_PAIRS || is_faster(PATH_PAIRS) ? PATH_PAIRS : PATH_FMA;
}

/* Why `runs` does, and not a path that could. */
static const char *preferred(product_path path, product_path runs)
{
    static const char *const asked[] = {"DSV3_FAST=fma", "DSV3_FAST=dpbf16", "DSV3_FAST=amx"};
    if (path_asked_for() == (int)runs) return asked[runs];
    if (path == PATH_AMX) return "a model of it, DSV3_FAST=amx asks for it";
    return runs == PATH_FMA ? "no faster on this processor" : "slower here";
}

static const char *why_not(product_path path, product_path runs)
{
    const char *lacking = NULL;
    if (path == PATH_PAIRS) lacking = lacks_pairs();
    if (path == PATH_AMX)
        lacking = is_wanted(path) ? lacks_amx() : has_no_amx(); /* else nobody asks the system for tiles */
    return lacking ? lacking : preferred(path, runs);
}

static void append(char *text, size_t cap, const char *path, const char *why)
{
    size_t const used = strlen(text);
    snprintf(text + used, cap - used, "; %s%s%s", path, why ? ": " : "", why ? why : "");
}

void path_describe(char *text, size_t cap)
{
    product_path const runs = path_here();
    snprintf(text, cap, "%s runs", path_names[runs]);
    for (product_path path = PATH_FMA; path <= PATH_AMX; path++) {
        if (path != runs) append(text, cap, path_names[path], why_not(path, runs));
    }
}

product_path ctx_path(const dsv3_ctx *ctx)
{
    return ctx->path;
}

int ctx_invariant(const dsv3_ctx *ctx)
{
    return ctx->invariant;
}

int invariant_here(void)
{
    const char *const said = getenv("DSV3_FAST_INVARIANT");
    return said && !strcmp(said, "1");
}

/* ---- variables ---- */

static bool is_path(const char *said)
{
    (void)said;
    return path_asked_for() >= 0;
}

static bool is_switch(const char *said)
{
    return !strcmp(said, "0") || !strcmp(said, "1");
}

static bool is_number_of_workers(const char *said)
{
    size_t const digits = strspn(said, "0123456789");
    return digits && digits < 3 && !said[digits] && atoi(said) >= 1 && atoi(said) <= MOST_WORKERS;
}

bool settings_are_known(char *why, size_t cap)
{
    static const struct {
        const char *name;
        bool (*takes)(const char *said);
        const char *rule;
    } settings[] = {{"DSV3_FAST", is_path, "fma, dpbf16 or amx"},
                    {"DSV3_FAST_INVARIANT", is_switch, "0 or 1"},
                    {"DSV3_FAST_THREADS", is_number_of_workers, "a whole number from 1 to 64"}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        const char *const said = getenv(settings[i].name);
        if (!said || settings[i].takes(said)) continue;
        snprintf(why, cap, "%s=%.100s: it is %s", settings[i].name, said, settings[i].rule);
        return false;
    }
    return true;
}

packs *ctx_packs(const dsv3_ctx *ctx)
{
    return ctx->packs;
}

/* ---- memory ---- */

static size_t rounded(size_t bytes, size_t to)
{
    return (bytes + to - 1) & ~(to - 1);
}

void *ctx_take(dsv3_ctx *ctx, int64_t n, size_t size)
{
    size_t const bytes = rounded((size_t)n * size, 64);
    if (bytes > reserve - ctx->used) return NULL;
    void *const piece = ctx->memory + ctx->used;
    ctx->used += bytes;
    return piece;
}

worker_pieces ctx_take_each(dsv3_ctx *ctx, int64_t n, size_t size)
{
    size_t const pitch = rounded((size_t)n * size, PAGE);
    ctx->used = rounded(ctx->used, PAGE);
    return (worker_pieces){ctx_take(ctx, ctx->workers, pitch), pitch};
}

size_t ctx_mark(const dsv3_ctx *ctx)
{
    return ctx->used;
}

void ctx_back(dsv3_ctx *ctx, size_t mark)
{
    ctx->used = mark;
}

/* ---- workers ---- */

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, MOST_WORKERS, NULL, NULL, 0);
}

static void take_parts(dsv3_ctx *ctx, int worker)
{
    int64_t const share = ctx->parts / (ctx->workers * 8), grain = share > 1 ? share : 1; /* parts taken at once */
    for (int64_t first; (first = atomic_fetch_add(&ctx->next, grain)) < ctx->parts;)
        for (int64_t part = first; part < first + grain && part < ctx->parts; part++) ctx->f(ctx->job, part, worker);
}

/* Waits for a job after `seen`: briefly awake, then asleep. */
static uint32_t next_job(dsv3_ctx *ctx, uint32_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&ctx->serial) != seen) break;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    while (atomic_load(&ctx->serial) == seen) futex_wait(&ctx->serial, seen);
    return atomic_load(&ctx->serial);
}

typedef struct {
    dsv3_ctx *ctx;
    int worker;
} beginning;

static void *live(void *argument)
{
    beginning const b = *(const beginning *)argument;
    free(argument);
    for (uint32_t seen = 0;;) {
        seen = next_job(b.ctx, seen);
        if (atomic_load(&b.ctx->closing)) return NULL;
        take_parts(b.ctx, b.worker);
        atomic_fetch_sub(&b.ctx->working, 1);
    }
}

int ctx_workers(const dsv3_ctx *ctx)
{
    return ctx->workers;
}

void ctx_run(dsv3_ctx *ctx, work *f, const void *job, int64_t parts)
{
    if (ctx->workers == 1 || parts <= 1) {
        for (int64_t part = 0; part < parts; part++) f(job, part, 0);
        return;
    }
    ctx->f = f, ctx->job = job, ctx->parts = parts;
    atomic_store(&ctx->next, 0);
    atomic_store(&ctx->working, ctx->workers - 1);
    atomic_fetch_add(&ctx->serial, 1);
    futex_wake(&ctx->serial);
    take_parts(ctx, 0);
    for (int spins = 0; atomic_load(&ctx->working) > 0; spins++)
        if (spins > SPINS) sched_yield();
}

/* ---- open and close ---- */

/* Processors that this process may use, or DSV3_FAST_THREADS. */
static int wanted_workers(void)
{
    const char *const said = getenv("DSV3_FAST_THREADS");
    cpu_set_t set;
    int const n = said ? atoi(said) : sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return n > MOST_WORKERS ? MOST_WORKERS : n;
}

/* Starts one more worker. */
static bool start_worker(dsv3_ctx *ctx)
{
    beginning *const b = malloc(sizeof *b);
    if (!b) return false;
    *b = (beginning){ctx, ctx->workers};
    if (pthread_create(&ctx->thread[ctx->workers], NULL, live, b)) return free(b), false;
    ctx->workers++;
    return true;
}

static dsv3_status give_up(dsv3_ctx *ctx)
{
    if (ctx->memory != MAP_FAILED) munmap(ctx->memory, reserve);
    if (ctx->packs) packs_close(ctx->packs);
    free(ctx);
    return DSV3_NO_MEMORY;
}

dsv3_status ctx_open(dsv3_ctx **out, int device)
{
    char why[200];
    (void)device;
    if (!settings_are_known(why, sizeof why)) return DSV3_INVALID;
    dsv3_ctx *const ctx = calloc(1, sizeof *ctx);
    if (!ctx) return DSV3_NO_MEMORY;
    ctx->packs = packs_open();
    ctx->memory = mmap(NULL, reserve, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!ctx->packs || ctx->memory == MAP_FAILED) return give_up(ctx);
    madvise(ctx->memory, reserve, MADV_HUGEPAGE);
    ctx->path = path_here();
    ctx->invariant = invariant_here();
    ctx->workers = 1;
    int const wanted = wanted_workers();
    while (ctx->workers < wanted && start_worker(ctx)) continue;
    *out = ctx;
    return DSV3_OK;
}

void ctx_close(dsv3_ctx *ctx)
{
    atomic_store(&ctx->closing, true);
    atomic_fetch_add(&ctx->serial, 1);
    futex_wake(&ctx->serial);
    for (int i = 1; i < ctx->workers; i++) pthread_join(ctx->thread[i], NULL);
    munmap(ctx->memory, reserve);
    packs_close(ctx->packs);
    free(ctx);
}
