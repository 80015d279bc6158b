/*
 * A port that is another one, UNDER, and does a little more in each call, as EXTRA says: nothing, `loop`, `malloc`,
 * `aligned`, `mmap`; or what can't be stepped: `thread`, `worker`, and `trap`, which it does only where it is traced.
 * Right like the other.
 */
#include "dsv3.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const dsv3_backend *other;
static const char *extra = "";

static void *volatile kept; /* else a compiler leaves out what nobody reads */

static void keep_and_free(void *memory)
{
    kept = memory;
    free(kept);
}

static void map_a_page(void)
{
    kept = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(kept, 4096);
}

static void *do_nothing(void *argument)
{
    return argument;
}

static void *wait_for_ever(void *argument)
{
    for (;;) pause();
    return argument;
}

static void run_thread(void)
{
    pthread_t t;
    if (!pthread_create(&t, NULL, do_nothing, NULL)) pthread_join(t, NULL);
}

static void keep_worker(void)
{
    static pthread_t worker;
    if (!worker) pthread_create(&worker, NULL, wait_for_ever, NULL);
}

static void trap_if_traced(void)
{
    char line[200];
    int tracer = 0;
    FILE *const f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "TracerPid: %d", &tracer) == 1) break;
    if (f) fclose(f);
    if (tracer) __builtin_trap();
}

static void loop(void)
{
    for (volatile int i = 0; i < 30; i++) continue;
}

static void do_more(void)
{
    switch (*extra) {
    case 'l': loop(); break;
    case 'a': keep_and_free(aligned_alloc(64, 128)); break;
    case 't': extra[1] == 'h' ? run_thread() : trap_if_traced(); break;
    case 'w': keep_worker(); break;
    case 'm': extra[1] == 'a' ? keep_and_free(malloc(1)) : map_a_page(); break;
    default: break;
    }
}

#define OP(op)                                                                                                         \
    static dsv3_status heavy_##op(dsv3_ctx *ctx, const dsv3_##op##_prob *p, const dsv3_##op##_io *io)                  \
    {                                                                                                                  \
        do_more();                                                                                                     \
        return other->op(ctx, p, io);                                                                                  \
    }
DSV3_OPS(OP)
#undef OP

const dsv3_backend *dsv3_backend_get(uint32_t abi);
const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    static dsv3_backend table;
    const char *const under = getenv("UNDER");
    void *const object = dlopen(under ? under : "", RTLD_NOW | RTLD_LOCAL);
    const dsv3_backend *(*get)(uint32_t) = NULL;
    void *const symbol = object && under ? dlsym(object, "dsv3_backend_get") : NULL;
    if (!symbol) return NULL;
    memcpy(&get, &symbol, sizeof get);
    if (!(other = get(abi))) return NULL;
    table = *other;
    if (getenv("EXTRA")) extra = getenv("EXTRA");
#define OP(op)                                                                                                         \
    if (other->op) table.op = heavy_##op;
    DSV3_OPS(OP)
#undef OP
    return &table;
}
