/* See anchor.h. */
#include "anchor.h"

#include "../fast/tiles_here.h"
#include "cache.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { MOST_THREADS = 64, CHAINS = 12, STEPS = 100000, TILE_CHAINS = 4, TILE_STEPS = 20000, TRIES = 4 };

/* The units that make products, slowest first; two ways to read memory, of which no one is the faster everywhere. */
typedef enum { FMA, PAIRS, TILES, UNITS, READ = UNITS, READ_AHEAD } kind;

static const char *const unit_names[UNITS] = {"fma", "dpbf16", "amx"};

static size_t room; /* bytes of each thread's memory: TRIES parts, one for each time that it is read */

/* One measurement: every thread does the same, from the moment when all are there. */
static struct {
    int threads;
    pthread_t thread[MOST_THREADS];
    char *memory[MOST_THREADS];
    pthread_barrier_t begin, end;
    kind what;
    int part; /* of the memory */
    clockid_t clock;
    bool closing, filled;
    double seconds[MOST_THREADS];
    _Atomic unsigned sink;
} all;

typedef int64_t words8 __attribute__((vector_size(64)));

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void chains_f32(void)
{
    __asm__ volatile("mov %0, %%ecx\n"
                     "1: vfmadd231ps %%zmm30, %%zmm31, %%zmm0\n vfmadd231ps %%zmm30, %%zmm31, %%zmm1\n"
                     "vfmadd231ps %%zmm30, %%zmm31, %%zmm2\n vfmadd231ps %%zmm30, %%zmm31, %%zmm3\n"
                     "vfmadd231ps %%zmm30, %%zmm31, %%zmm4\n vfmadd231ps %%zmm30, %%zmm31, %%zmm5\n"
                     "vfmadd231ps %%zmm30, %%zmm31, %%zmm6\n vfmadd231ps %%zmm30, %%zmm31, %%zmm7\n"
                     "vfmadd231ps %%zmm30, %%zmm31, %%zmm8\n vfmadd231ps %%zmm30, %%zmm31, %%zmm9\n"
                     "vfmadd231ps %%zmm30, %%zmm31, %%zmm10\n vfmadd231ps %%zmm30, %%zmm31, %%zmm11\n"
                     "dec %%ecx\n jnz 1b\n"
                     :
                     : "i"(STEPS)
                     : "ecx", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                       "xmm11", "cc");
}

__attribute__((target("avx512f,avx512bf16"))) static void chains_bf16(void)
{
    __asm__ volatile("mov %0, %%ecx\n"
                     "1: vdpbf16ps %%zmm30, %%zmm31, %%zmm0\n vdpbf16ps %%zmm30, %%zmm31, %%zmm1\n"
                     "vdpbf16ps %%zmm30, %%zmm31, %%zmm2\n vdpbf16ps %%zmm30, %%zmm31, %%zmm3\n"
                     "vdpbf16ps %%zmm30, %%zmm31, %%zmm4\n vdpbf16ps %%zmm30, %%zmm31, %%zmm5\n"
                     "vdpbf16ps %%zmm30, %%zmm31, %%zmm6\n vdpbf16ps %%zmm30, %%zmm31, %%zmm7\n"
                     "vdpbf16ps %%zmm30, %%zmm31, %%zmm8\n vdpbf16ps %%zmm30, %%zmm31, %%zmm9\n"
                     "vdpbf16ps %%zmm30, %%zmm31, %%zmm10\n vdpbf16ps %%zmm30, %%zmm31, %%zmm11\n"
                     "dec %%ecx\n jnz 1b\n"
                     :
                     : "i"(STEPS)
                     : "ecx", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                       "xmm11", "cc");
}

/* What ldtilecfg reads: eight tiles of sixteen rows of 64 bytes. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t width[16];
    uint8_t rows[16];
} tile_shapes;

/* Sums in tiles 0 to 3. The thread's tiles are its own, and given back. */
static void chains_tiles(void)
{
    tile_shapes shapes = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) shapes.width[tile] = 64, shapes.rows[tile] = 16;
    __asm__ volatile("ldtilecfg %1\n"
                     "tilezero %%tmm0\n tilezero %%tmm1\n tilezero %%tmm2\n tilezero %%tmm3\n"
                     "tilezero %%tmm4\n tilezero %%tmm5\n tilezero %%tmm6\n tilezero %%tmm7\n"
                     "mov %0, %%ecx\n"
                     "1: tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n"
                     "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n tdpbf16ps %%tmm7, %%tmm5, %%tmm3\n"
                     "dec %%ecx\n jnz 1b\n"
                     "tilerelease\n"
                     :
                     : "i"(TILE_STEPS), "m"(shapes)
                     : "ecx", "cc", "memory");
}

static bool tiles_allowed; /* asked for once, by anchors_open */

static bool may_use_tiles(void)
{
    return !processor_lacks_tiles() && !system_saves_no_tiles() && !system_refuses_tiles();
}

static bool has(kind k)
{
    if (k == TILES) return tiles_allowed;
    if (k == PAIRS) return __builtin_cpu_supports("avx512bf16");
    return k >= READ || __builtin_cpu_supports("avx512f");
}
#else
static void chains_f32(void)
{
}
static void chains_bf16(void)
{
}
static void chains_tiles(void)
{
}
static bool tiles_allowed;
static bool may_use_tiles(void)
{
    return false;
}
static bool has(kind k)
{
    return k >= READ;
}
#endif

/* Operations of one try, two for a multiply-add; bytes that it reads. */
static double work_of(kind k)
{
    if (k >= READ) return (double)(room / TRIES);
    if (k == TILES) return 2.0 * TILE_STEPS * TILE_CHAINS * 16 * 16 * 32;
    return 2.0 * STEPS * CHAINS * (k == PAIRS ? 32 : 16);
}

/* ahead: so many bytes before they are read, they are asked for. */
static inline __attribute__((always_inline)) void read_part(const char *memory, size_t ahead)
{
    words8 sum[4] = {0};
    for (size_t i = 0; i < room / TRIES; i += sizeof sum)
        for (size_t k = 0; k < 4; k++) {
            const char *const at = memory + i + k * sizeof *sum;
            if (ahead) __builtin_prefetch(at + ahead);
            sum[k] ^= *(const words8 *)(const void *)at;
        }
    atomic_fetch_add(&all.sink, (unsigned)(sum[0] ^ sum[1] ^ sum[2] ^ sum[3])[0]);
}

static void read_plainly(const char *memory)
{
    read_part(memory, 0);
}

static void read_ahead(const char *memory)
{
    read_part(memory, 4096);
}

static void work(kind k, const char *memory)
{
    if (k == FMA) chains_f32();
    if (k == PAIRS) chains_bf16();
    if (k == TILES) chains_tiles();
    if (k == READ) read_plainly(memory);
    if (k == READ_AHEAD) read_ahead(memory);
}

static void pin(int cpu)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
    for (size_t c = 0, k = 0; c < CPU_SETSIZE; c++) {
        if (!CPU_ISSET(c, &allowed) || k++ != (size_t)cpu) continue;
        CPU_ZERO(&one);
        CPU_SET(c, &one);
        pthread_setaffinity_np(pthread_self(), sizeof one, &one);
        return;
    }
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(all.clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *live(void *number)
{
    int const me = (int)(intptr_t)number;
    pin(me);
    if (!all.filled) memset(all.memory[me], 1, room);
    for (;;) {
        pthread_barrier_wait(&all.begin);
        if (all.closing) return NULL;
        double const from = seconds();
        work(all.what, all.memory[me] + (size_t)all.part * (room / TRIES));
        all.seconds[me] = seconds() - from;
        pthread_barrier_wait(&all.end);
    }
}

int processors(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

void processor_name(char *text, size_t cap)
{
    char line[300], name[200] = "";
    FILE *const f = fopen("/proc/cpuinfo", "r");
    while (f && !*name && fgets(line, sizeof line, f)) sscanf(line, "model name : %199[^\n\"\\]", name);
    if (f) fclose(f);
    snprintf(text, cap, "%s", name);
}

void use_threads(int threads)
{
    char text[16];
    snprintf(text, sizeof text, "%d", threads);
    setenv("DSV3_FAST_THREADS", text, 0);
}

static bool begin_threads(void)
{
    pthread_barrier_init(&all.begin, NULL, (unsigned)all.threads + 1);
    pthread_barrier_init(&all.end, NULL, (unsigned)all.threads + 1);
    for (int i = 0; i < all.threads; i++)
        if (pthread_create(&all.thread[i], NULL, live, (void *)(intptr_t)i)) return false;
    return true;
}

/* Memory may not allow as much as it takes. */
static void say_what_is_cached(void)
{
    size_t const mega = (size_t)1 << 20, rotated = uncached_bytes(1);
    if (rotated > last_cache()) return;
    fprintf(
        stderr,
        "bench: the last-level cache of %zu MiB holds all %zu MiB that weights pass through: times can beat limits\n",
        last_cache() / mega, rotated / mega);
}

int anchors_open(int threads)
{
    all.threads = threads < MOST_THREADS ? threads : MOST_THREADS;
    room = (uncached_bytes(all.threads) + 4095) / 4096 * 4096;
    tiles_allowed = may_use_tiles();
    say_what_is_cached();
    bool good = true;
    for (int i = 0; i < all.threads; i++) {
        all.memory[i] = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        good = good && all.memory[i] != MAP_FAILED;
        if (good) madvise(all.memory[i], room, MADV_HUGEPAGE);
    }
    if (!good || !begin_threads()) return fprintf(stderr, "bench: no memory or threads for the limits\n"), 0;
    measure_arithmetic(); /* by then all have filled their memory */
    return all.filled = true;
}

bool anchors_again(void)
{
    return begin_threads();
}

void anchors_close(void)
{
    all.closing = true;
    pthread_barrier_wait(&all.begin);
    for (int i = 0; i < all.threads; i++) {
        pthread_join(all.thread[i], NULL);
        munmap(all.memory[i], room);
    }
}

/* What all threads did in a second of that clock. */
static double rate(kind k, int part, clockid_t clock)
{
    double sum = 0;
    all.clock = clock;
    all.what = k;
    all.part = part;
    pthread_barrier_wait(&all.begin);
    pthread_barrier_wait(&all.end);
    for (int i = 0; i < all.threads; i++) sum += work_of(k) / all.seconds[i];
    return sum;
}

/* The best of some tries: what else runs can only make one slower. 0: there is no such unit. */
static double peak(kind k, clockid_t clock)
{
    double most = 0;
    for (int try = 0; has(k) && try < TRIES; try++) most = fmax(most, rate(k, 0, clock));
    return most;
}

/* Each part is read once, by the one way or the other. */
static double memory_peak(clockid_t clock)
{
    double most = 0;
    for (int part = 0; part < TRIES; part++) most = fmax(most, rate(part % 2 ? READ_AHEAD : READ, part, clock));
    return most;
}

anchor measure_anchor(void)
{
    double of[UNITS];
    for (kind k = FMA; k < UNITS; k++) of[k] = peak(k, CLOCK_MONOTONIC);
    return anchor_of_units(of, memory_peak(CLOCK_MONOTONIC));
}

anchor anchor_of_units(const double of[3], double memory)
{
    kind fastest = FMA;
    for (kind k = PAIRS; k < UNITS; k++)
        if (of[k] > of[fastest]) fastest = k;
    return (anchor){of[FMA], of[fastest], memory, of[fastest] > 0 ? unit_names[fastest] : "none"};
}

double measure_arithmetic(void)
{
    kind k = TILES;
    while (k > FMA && !has(k)) k--;
    return has(k) ? rate(k, 0, CLOCK_THREAD_CPUTIME_ID) : 0;
}

double measure_memory(void)
{
    return memory_peak(CLOCK_THREAD_CPUTIME_ID);
}

anchor anchor_between(anchor a, anchor b)
{
    return (anchor){fmax(a.f32, b.f32), fmax(a.bf16, b.bf16), fmax(a.memory, b.memory),
                    a.bf16 < b.bf16 ? b.unit : a.unit};
}
