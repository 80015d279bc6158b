/* See anchor.h. */
#include "anchor.h"

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

enum { MOST_THREADS = 64, CHAINS = 12, STEPS = 100000 };

static const size_t room = (size_t)192 << 20; /* bytes read by each thread */

typedef enum { F32, BF16, MEMORY } kind;

/* One measurement: every thread does the same, from the moment when all are there. */
static struct {
    int threads;
    pthread_t thread[MOST_THREADS];
    char *memory[MOST_THREADS];
    pthread_barrier_t begin, end;
    kind what;
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

static bool has(kind k)
{
    if (k == BF16) return __builtin_cpu_supports("avx512bf16");
    return k == MEMORY || __builtin_cpu_supports("avx512f");
}
#else
static void chains_f32(void)
{
}
static void chains_bf16(void)
{
}
static bool has(kind k)
{
    return k == MEMORY;
}
#endif

/* Multiply-adds of a chain step. */
static double work_of(kind k)
{
    return (double)STEPS * CHAINS * (k == BF16 ? 32 : 16);
}

static void read_memory(const char *memory)
{
    words8 sum[4] = {0};
    const words8 *const word = (const words8 *)(const void *)memory;
    for (size_t i = 0; i < room / sizeof *word; i += 4)
        for (size_t k = 0; k < 4; k++) sum[k] ^= word[i + k];
    atomic_fetch_add(&all.sink, (unsigned)(sum[0] ^ sum[1] ^ sum[2] ^ sum[3])[0]);
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
        if (all.what == F32) chains_f32();
        if (all.what == BF16) chains_bf16();
        if (all.what == MEMORY) read_memory(all.memory[me]);
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

int anchors_open(int threads)
{
    all.threads = threads < MOST_THREADS ? threads : MOST_THREADS;
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
static double rate(kind k, double each, clockid_t clock)
{
    double sum = 0;
    all.clock = clock;
    all.what = k;
    pthread_barrier_wait(&all.begin);
    pthread_barrier_wait(&all.end);
    for (int i = 0; i < all.threads; i++) sum += each / all.seconds[i];
    return sum;
}

anchor measure_anchor(void)
{
    anchor a = {0, 0, 0};
    if (has(F32)) a.f32 = rate(F32, 2 * work_of(F32), CLOCK_MONOTONIC);
    a.bf16 = has(BF16) ? rate(BF16, 2 * work_of(BF16), CLOCK_MONOTONIC) : a.f32;
    a.memory = rate(MEMORY, (double)room, CLOCK_MONOTONIC);
    return a;
}

double measure_arithmetic(void)
{
    kind const k = has(BF16) ? BF16 : F32;
    return has(k) ? rate(k, 2 * work_of(k), CLOCK_THREAD_CPUTIME_ID) : 0;
}

double measure_memory(void)
{
    return rate(MEMORY, (double)room, CLOCK_THREAD_CPUTIME_ID);
}

anchor anchor_between(anchor a, anchor b)
{
    return (anchor){(a.f32 + b.f32) / 2, (a.bf16 + b.bf16) / 2, (a.memory + b.memory) / 2};
}
