/*
 * What the AVX-512 backend promises besides right results: a row's bits depend on that row alone and not on how many
 * threads there are; the portable build has the same bits; ops allocate nothing; every E4M3 code is exact on every path.
 */
#include "case/fill.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern const dsv3_backend dsv3_backend_avx512, dsv3_backend_portable;
static const dsv3_backend *const fast = &dsv3_backend_avx512;

TestSuite(fast, .timeout = 300);

/* ---- every allocation of this program is counted ---- */

static _Atomic long allocations;

static _Atomic long mappings; /* made and not yet removed */

#ifndef __SANITIZE_ADDRESS__
void *mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
    atomic_fetch_add(&mappings, 1);
    atomic_fetch_add(&allocations, 1);
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, file, offset);
}

int munmap(void *at, size_t bytes)
{
    atomic_fetch_sub(&mappings, 1);
    return (int)syscall(SYS_munmap, at, bytes);
}

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);
void *aligned_alloc(size_t align, size_t bytes);
int posix_memalign(void **where, size_t align, size_t bytes);
void *malloc(size_t bytes);
void *calloc(size_t n, size_t size);
void *realloc(void *old, size_t bytes);

void *malloc(size_t bytes)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t bytes)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_realloc(old, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_memalign(align, bytes);
}

int posix_memalign(void **where, size_t align, size_t bytes)
{
    *where = aligned_alloc(align, bytes);
    return *where ? 0 : ENOMEM;
}
#endif

/* ---- calls ---- */

static const char *const paths[] = {"fma", "dpbf16"};

static void needs_avx512(void)
{
    char why[200];
    if (fast->probe(why, sizeof why) != DSV3_OK) cr_skip_test("%s", why);
}

/* A context of so many workers that goes by a path. */
static dsv3_ctx *open_with(const char *threads, const char *path)
{
    dsv3_ctx *ctx = NULL;
    setenv("DSV3_FAST_THREADS", threads, 1);
    setenv("DSV3_FAST", path, 1);
    cr_assert(fast->open(&ctx, 0) == DSV3_OK);
    return ctx;
}

/* A case: its problem, its tensors, its io struct. */
typedef struct {
    problem p;
    void **data, *io;
} call;

static call open_call(const char *id)
{
    call c;
    complaint why;
    cr_assert(problem_parse(id, &c.p, &why), "%s: %s", id, why.text);
    cr_assert(tensors_open(&c.p, &c.data));
    c.io = problem_bind(&c.p, c.data);
    cr_assert(c.io != NULL);
    return c;
}

static void close_call(call *c)
{
    free(c->io);
    tensors_close(&c->p, c->data);
    problem_close(&c->p);
}

static void prepare(const call *c, dsv3_ctx *ctx)
{
    cr_assert(fast->prepare(ctx, c->p.op->name, c->p.prob.bytes, c->io) == DSV3_OK, "%s", c->p.id);
}

static void unprepare(const call *c, dsv3_ctx *ctx)
{
    fast->unprepare(ctx, c->p.op->name, c->p.prob.bytes, c->io);
}

static void run(const call *c, dsv3_ctx *ctx)
{
    cr_assert(op_call(c->p.op, fast, ctx, c->p.prob.bytes, c->io) == DSV3_OK, "%s", c->p.id);
}

/* Every op, in BF16 and in binary32, FP8 where it has that. */
static const char *const ids[] = {
    "rmsnorm@odd",
    "rmsnorm@odd:residual=1,x=f32",
    "linear@odd:n_tokens=20",
    "linear@odd:n_tokens=3,weight=f8_e4m3",
    "linear@odd:x=f32,weight=f32",
    "rope@odd",
    "gate@odd",
    "mla_decode@odd",
    "mla_decode@odd:kv_cache=u8",
    "mla_prefill@odd:q=f32",
    "mla@odd:stages=1",
    "mla@odd:weights=f8_e4m3",
    "swiglu@odd",
    "embed@odd",
    "cross_entropy@odd",
    "quant@odd",
    "experts@odd:n_tokens=9",
    "experts@odd:weights=f8_e4m3,stages=1",
    "moe@odd",
    "bias_update@odd",
    "balance_loss@odd",
    "mtp_accept@odd",
    "mtp@odd:stages=1",
    "mtp@tiny:stages=0,hidden_states=f32",
};
enum { IDS = sizeof ids / sizeof *ids };

/* ---- tests ---- */

static bool same_outputs(const call *a, const call *b)
{
    for (int i = 0; i < a->p.tensors; i++)
        if (a->p.tensor[i].row->kind == TENSOR_OUT && memcmp(a->data[i], b->data[i], a->p.tensor[i].bytes))
            return false;
    return true;
}

Test(fast, threads_do_not_change_bits)
{
    needs_avx512();
    for (int path = 0; path < 2; path++) {
        dsv3_ctx *const one = open_with("1", paths[path]), *const three = open_with("3", paths[path]);
        for (int i = 0; i < IDS; i++) {
            call a = open_call(ids[i]), b = open_call(ids[i]);
            run(&a, one);
            for (int round = 0; round < 5; round++) {
                run(&b, three);
                cr_expect(same_outputs(&a, &b), "%s, %s: three threads give other bits than one", ids[i], paths[path]);
            }
            close_call(&a), close_call(&b);
        }
        fast->close(one), fast->close(three);
    }
}

Test(fast, portable_has_the_same_bits)
{
    needs_avx512();
    for (int path = 0; path < 2; path++) {
        dsv3_ctx *const native = open_with("1", paths[path]);
        dsv3_ctx *portable = NULL;
        cr_assert(dsv3_backend_portable.open(&portable, 0) == DSV3_OK);
        for (int i = 0; i < IDS; i++) {
            call a = open_call(ids[i]), b = open_call(ids[i]);
            run(&a, native);
            cr_assert(op_call(b.p.op, &dsv3_backend_portable, portable, b.p.prob.bytes, b.io) == DSV3_OK);
            cr_expect(same_outputs(&a, &b), "%s, %s: the portable build has other bits", ids[i], paths[path]);
            close_call(&a), close_call(&b);
        }
        fast->close(native), dsv3_backend_portable.close(portable);
    }
}

/* What is packed doesn't change bits; nor does what is left of it. Twice prepared, it is there until the second unprepare. */
Test(fast, prepared_ops_have_the_same_bits)
{
    needs_avx512();
    for (int path = 0; path < 2; path++) {
        dsv3_ctx *const ctx = open_with("2", paths[path]);
        for (int i = 0; i < IDS; i++) {
            call a = open_call(ids[i]), b = open_call(ids[i]), other = open_call(ids[i]);
            run(&a, ctx);
            prepare(&b, ctx), prepare(&other, ctx), prepare(&b, ctx);
            run(&b, ctx);
            cr_expect(same_outputs(&a, &b), "%s, %s: prepared it has other bits", ids[i], paths[path]);
            unprepare(&b, ctx), unprepare(&other, ctx);
            run(&b, ctx);
            cr_expect(same_outputs(&a, &b), "%s, %s: prepared twice, dropped once: other bits", ids[i], paths[path]);
            unprepare(&b, ctx);
            run(&b, ctx), run(&other, ctx);
            cr_expect(same_outputs(&a, &b) && same_outputs(&a, &other), "%s, %s: unprepared it has other bits", ids[i],
                      paths[path]);
            close_call(&a), close_call(&b), close_call(&other);
        }
        fast->close(ctx);
    }
}

/* A weight that changes behind prepare's back tells whether the op reads what was packed: it must, until unprepare. */
Test(fast, prepared_weights_are_used)
{
    needs_avx512();
    dsv3_ctx *const ctx = open_with("2", "dpbf16");
    call a = open_call("linear@odd:n_tokens=7,weight=f8_e4m3"), b = open_call("linear@odd:n_tokens=7,weight=f8_e4m3");
    run(&a, ctx);
    prepare(&b, ctx);
    for (int i = 0; i < b.p.tensors; i++)
        if (!strcmp(b.p.tensor[i].name, "weight")) memset(b.data[i], 0, b.p.tensor[i].bytes);
    run(&b, ctx);
    cr_expect(same_outputs(&a, &b), "the op doesn't read what was packed");
    unprepare(&b, ctx);
    run(&b, ctx);
    cr_expect(!same_outputs(&a, &b), "the op still reads what was dropped");
    close_call(&a), close_call(&b);
    fast->close(ctx);
}

/* Many matrices come and go in any order: those that are there are found, the others aren't. */
Test(fast, packs_are_found_and_dropped)
{
    enum { MANY = 500, ROOM = 65521 }; /* a prime: weights lie in no even distance, so that some collide */
    static float room[ROOM][4], *weight[MANY], x[1] = {1}, y[4];
    for (int i = 0; i < MANY; i++) weight[i] = room[i * i % ROOM];
    needs_avx512();
    dsv3_ctx *const ctx = open_with("1", "fma");
    dsv3_linear_prob const prob = {1, 1, 4};
    for (int step = 0; step < 3 * MANY; step++) {
        int const at = step * 7 % MANY;
        dsv3_weight const item = {"weight", {weight[at], DSV3_F32, 2, {4, 1}, {1, 1}}};
        dsv3_linear_io const io = {
            .x = {x, DSV3_F32, 2, {1, 1}, {1, 1}}, .weights = {1, &item}, .y = {y, DSV3_F32, 2, {1, 4}, {4, 1}}};
        bool const packed = step >= MANY && step < 2 * MANY; /* all there; then dropped one by one */
        if (step < MANY) weight[at][3] = (float)at, fast->prepare(ctx, "linear", &prob, &io), weight[at][3] = -1;
        if (packed && step % 2) fast->unprepare(ctx, "linear", &prob, &io);
        cr_assert(fast->linear(ctx, &prob, &io) == DSV3_OK);
        bool const there = step < MANY || (packed && !(step % 2)) || (step >= 2 * MANY && !((step - MANY) % 2));
        cr_expect(y[3] == (there ? (float)at : -1), "step %d, matrix %d: %g", step, at, (double)y[3]);
    }
    fast->close(ctx);
}

/* The first row of y for so many tokens; 16 outputs or more. */
static void first_row(const char *format, int tokens, dsv3_ctx *ctx, unsigned char row[256])
{
    char id[200];
    snprintf(id, sizeof id, "linear@odd:in_features=1500,out_features=70,n_tokens=%d,%s", tokens, format);
    call c = open_call(id);
    run(&c, ctx);
    for (int i = 0; i < c.p.tensors; i++)
        if (!strcmp(c.p.tensor[i].name, "y")) memcpy(row, c.data[i], 140);
    close_call(&c);
}

Test(fast, rows_do_not_depend_on_their_neighbours)
{
    static const char *const formats[] = {"weight=bf16", "weight=f8_e4m3", "x=f32,weight=f32", "x=f32,weight=f8_e4m3"};
    needs_avx512();
    for (int path = 0; path < 2; path++)
        for (int f = 0; f < 4; f++) {
            dsv3_ctx *const ctx = open_with("2", paths[path]);
            unsigned char alone[256], row[256];
            first_row(formats[f], 1, ctx, alone);
            for (int tokens = 2; tokens <= 67; tokens++) {
                first_row(formats[f], tokens, ctx, row);
                cr_expect(!memcmp(alone, row, 140), "%s, %s: the first of %d rows has other bits than alone",
                          formats[f], paths[path], tokens);
            }
            fast->close(ctx);
        }
}

static bool is_in_ids(const char *name)
{
    for (int i = 0; i < IDS; i++)
        if (!strncmp(ids[i], name, strlen(name)) && ids[i][strlen(name)] == '@') return true;
    return false;
}

Test(fast, every_op_has_an_id_here)
{
    for (int i = 0; ops[i]; i++) cr_expect(is_in_ids(ops[i]->name), "%s is in no id", ops[i]->name);
}

#ifndef __SANITIZE_ADDRESS__
/* By whichever function memory is asked for. */
Test(fast, every_allocation_is_counted)
{
    void *got[5];
    long const before = atomic_load(&allocations);
    got[0] = malloc(1), got[1] = calloc(1, 1), got[2] = realloc(NULL, 1), got[3] = aligned_alloc(64, 64);
    cr_expect_eq(posix_memalign(&got[4], 64, 64), 0);
    munmap(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096);
    cr_expect_eq(atomic_load(&allocations) - before, 6);
    for (int i = 0; i < 5; i++) free(got[i]);
}
#endif

/* Not in its first call either. */
Test(fast, ops_allocate_nothing)
{
    needs_avx512();
    for (int path = 0; path < 2; path++) {
        dsv3_ctx *const ctx = open_with("2", paths[path]);
        for (int i = 0; i < IDS; i++) {
            call c = open_call(ids[i]);
            long const before = atomic_load(&allocations);
            run(&c, ctx);
            long const after = atomic_load(&allocations);
            cr_expect(after == before, "%s allocates %ld times", ids[i], after - before);
            close_call(&c);
        }
        fast->close(ctx);
    }
}

static long resident_pages(void)
{
    long total = 0, resident = 0;
    FILE *const f = fopen("/proc/self/statm", "r");
    cr_assert(f && fscanf(f, "%ld %ld", &total, &resident) == 2);
    fclose(f);
    return resident;
}

/* Ten thousand calls, every tenth prepared and dropped: memory is what it was after the first ones. */
Test(fast, calls_leak_nothing)
{
    enum { ROUNDS = 10000 / IDS + 1, WARM = 20, MOST_PAGES = 64 };
    needs_avx512();
    dsv3_ctx *const ctx = open_with("2", "dpbf16");
    call c[IDS];
    long pages = 0, mapped = 0;
    for (int i = 0; i < IDS; i++) c[i] = open_call(ids[i]);
    for (int round = 0; round < WARM + ROUNDS; round++) {
        if (round == WARM) pages = resident_pages(), mapped = atomic_load(&mappings);
        for (int i = 0; i < IDS; i++) {
            if (!(round % 10)) prepare(&c[i], ctx);
            run(&c[i], ctx);
            if (!(round % 10)) unprepare(&c[i], ctx);
        }
    }
    cr_expect(atomic_load(&mappings) == mapped, "%ld mappings are left", atomic_load(&mappings) - mapped);
    cr_expect(resident_pages() - pages < MOST_PAGES, "%ld pages more than after %d rounds", resident_pages() - pages,
              WARM);
    for (int i = 0; i < IDS; i++) close_call(&c[i]);
    fast->close(ctx);
}

Test(fast, paths_are_described)
{
    char text[256];
    needs_avx512();
    setenv("DSV3_FAST", "fma", 1);
    fast->probe(text, sizeof text);
    cr_expect(!strncmp(text, "fma runs; dpbf16: ", 18) && strstr(text, "; amx: "), "%s", text);
    setenv("DSV3_FAST", "dpbf61", 1);
    fast->probe(text, sizeof text);
    cr_expect(strstr(text, "DSV3_FAST is none of fma, dpbf16, amx") != NULL, "%s", text);
}

/* One weight a row, all codes but the two NaNs, a scale of 2^-3, x = 1: what comes out is the code. */
static void try_codes(dsv3_ctx *ctx, dsv3_dtype format, int tokens)
{
    static uint8_t code[256];
    static uint16_t x16[20];
    static float x[20], y[20 * 256];
    float scale[2] = {0.125f, 0.125f};
    for (int i = 0; i < 256; i++) code[i] = (uint8_t)((i & 127) == 127 ? 0 : i);
    for (int t = 0; t < tokens; t++) x[t] = 1, x16[t] = 0x3f80;
    dsv3_weight const item[] = {{"weight", {code, DSV3_F8_E4M3, 2, {256, 1}, {1, 1}}},
                                {"weight_scale_inv", {scale, DSV3_F32, 2, {2, 1}, {1, 1}}}};
    dsv3_linear_prob const prob = {tokens, 1, 256};
    dsv3_linear_io const io = {.x = {format == DSV3_F32 ? (void *)x : x16, format, 2, {tokens, 1}, {1, 1}},
                               .weights = {2, item},
                               .y = {y, DSV3_F32, 2, {tokens, 256}, {256, 1}}};
    cr_assert(fast->linear(ctx, &prob, &io) == DSV3_OK);
    for (int i = 0; i < tokens * 256; i++)
        cr_expect((double)y[i] == ref_decode(DSV3_F8_E4M3, code, i % 256) / 8, "code %#x, %d tokens: %g", code[i % 256],
                  tokens, (double)y[i]);
}

Test(fast, every_code_is_exact)
{
    needs_avx512();
    for (int path = 0; path < 2; path++) {
        dsv3_ctx *const ctx = open_with("1", paths[path]);
        try_codes(ctx, DSV3_F32, 1), try_codes(ctx, DSV3_F32, 20);
        try_codes(ctx, DSV3_BF16, 1), try_codes(ctx, DSV3_BF16, 20);
        fast->close(ctx);
    }
}
