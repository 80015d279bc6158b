/*
 * What the AVX-512 backend promises besides right results: a row's bits depend on that row alone and not on how many
 * threads there are; the portable build has the same bits; ops allocate nothing; every E4M3 code is exact on every path.
 */
#include "../../fast/unit.h"
#include "../../fast/unit_check.h"
#include "case/fill.h"

#define PORTABLE
#include "../../fast/elementwise.h"
#undef PORTABLE

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern const dsv3_backend dsv3_backend_avx512, dsv3_backend_portable;

/* The build in hand and the path that it goes by. */
static const dsv3_backend *fast = &dsv3_backend_avx512;
static const char *path = "fma";

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

static const struct {
    const dsv3_backend *build;
    const char *path;
} ways[] = {{&dsv3_backend_avx512, "fma"},
            {&dsv3_backend_avx512, "dpbf16"},
            {&dsv3_backend_avx512, "amx"},
            {&dsv3_backend_portable, "amx"}};
enum { WAYS = sizeof ways / sizeof *ways };

/* Takes a way in hand; false: it can't be gone here. */
static bool take(int way)
{
    char text[256];
    fast = ways[way].build, path = ways[way].path;
    setenv("DSV3_FAST", path, 1);
    bool const runs = fast->probe(text, sizeof text) == DSV3_OK;
    return runs && (strcmp(path, "amx") || !strncmp(text, "amx runs; ", 10));
}

static void needs_avx512(void)
{
    char why[200];
    if (fast->probe(why, sizeof why) != DSV3_OK) cr_skip_test("%s", why);
}

/* A context of so many workers that goes by the path in hand. */
static dsv3_ctx *open_with(const char *threads)
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
    problem_lay_over(&c.p, c.io);
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
    "merge_state@odd:n_tokens=9,v_head_dim=37;fill=empty",
    "merge_state@odd:lse_base=1,o_a=f32",
    "mtp_inputs@odd",
    "cache_store@odd:kv=f32",
    "cache_store@odd:kv_cache=f8_e4m3,slot_mapping=i32",
    "cache_store@odd:kv_lora_rank=300,kv_cache=u8",
    "rmsnorm@odd",
    "rmsnorm@odd:residual=1,x=f32",
    "linear@odd:n_tokens=20",
    "linear@odd:n_tokens=3,weight=f8_e4m3",
    "linear@odd:in_features=1500,out_features=70,n_tokens=40",
    "linear@odd:in_features=1500,out_features=70,n_tokens=17,weight=f8_e4m3",
    "linear@odd:x=f32,weight=f32",
    "rope@odd",
    "gate@odd",
    "mla_decode@odd",
    "mla_decode@odd:kv_cache=u8",
    "mla_decode@odd:kv_cache=u8,kv_lora_rank=15", /* numbers at odd addresses */
    "mla_decode@odd:num_attention_heads=35,kv_lens=1100+1030+3",
    "mla_prefill@odd:q=f32",
    "mla_prefill@odd:n_tokens=300,n_keys=1100,num_attention_heads=2",
    "mla_prefill@odd:full=1,n_tokens=70,n_keys=1100,num_attention_heads=2",
    "mla_prefill@odd:full=1,q_lens=9+0+40,kv_lens=0+7+5,q=f32",
    "mla@odd:stages=1",
    "mla@odd:num_attention_heads=35,kv_len=1100",
    "mla@odd:weights=f8_e4m3",
    "swiglu@odd",
    "swiglu_backward@odd",
    "rope_backward@odd",
    "cross_entropy_backward@odd",
    "rmsnorm_backward@odd:residual=1",
    "linear_backward@odd",
    "embed_backward@odd",
    "gate_backward@odd",
    "balance_loss_backward@odd",
    "mla_prefill_backward@odd:q=f32",
    "mla_prefill_backward@odd:n_tokens=70,n_keys=150,num_attention_heads=3",
    "experts_backward@odd",
    "experts_backward@odd:n_tokens=100,hidden_states=f32",
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
    for (int way = 0; way < WAYS; way++) {
        if (!take(way)) continue;
        dsv3_ctx *const one = open_with("1"), *const three = open_with("3");
        for (int i = 0; i < IDS; i++) {
            call a = open_call(ids[i]), b = open_call(ids[i]);
            run(&a, one);
            for (int round = 0; round < 5; round++) {
                run(&b, three);
                cr_expect(same_outputs(&a, &b), "%s, %s: three threads give other bits than one", ids[i], path);
            }
            close_call(&a), close_call(&b);
        }
        fast->close(one), fast->close(three);
    }
}

Test(fast, portable_has_the_same_bits)
{
    for (int way = 0; way < WAYS; way++) {
        if (!take(way) || fast == &dsv3_backend_portable) continue;
        dsv3_ctx *const native = open_with("1");
        dsv3_ctx *portable = NULL;
        cr_assert(dsv3_backend_portable.open(&portable, 0) == DSV3_OK);
        for (int i = 0; i < IDS; i++) {
            call a = open_call(ids[i]), b = open_call(ids[i]);
            run(&a, native);
            cr_assert(op_call(b.p.op, &dsv3_backend_portable, portable, b.p.prob.bytes, b.io) == DSV3_OK);
            cr_expect(same_outputs(&a, &b), "%s, %s: the portable build has other bits", ids[i], path);
            close_call(&a), close_call(&b);
        }
        fast->close(native), dsv3_backend_portable.close(portable);
    }
}

/* What is packed doesn't change bits; nor does what is left of it. Twice prepared, it is there until the second unprepare. */
Test(fast, prepared_ops_have_the_same_bits)
{
    for (int way = 0; way < WAYS; way++) {
        if (!take(way)) continue;
        dsv3_ctx *const ctx = open_with("2");
        for (int i = 0; i < IDS; i++) {
            call a = open_call(ids[i]), b = open_call(ids[i]), other = open_call(ids[i]);
            run(&a, ctx);
            prepare(&b, ctx), prepare(&other, ctx), prepare(&b, ctx);
            run(&b, ctx);
            cr_expect(same_outputs(&a, &b), "%s, %s: prepared it has other bits", ids[i], path);
            unprepare(&b, ctx), unprepare(&other, ctx);
            run(&b, ctx);
            cr_expect(same_outputs(&a, &b), "%s, %s: prepared twice, dropped once: other bits", ids[i], path);
            unprepare(&b, ctx);
            run(&b, ctx), run(&other, ctx);
            cr_expect(same_outputs(&a, &b) && same_outputs(&a, &other), "%s, %s: unprepared it has other bits", ids[i],
                      path);
            close_call(&a), close_call(&b), close_call(&other);
        }
        fast->close(ctx);
    }
}

/* A weight that changes behind prepare's back tells whether the op reads what was packed: it must, until unprepare. */
static void try_changed_weights(const char *id)
{
    dsv3_ctx *const ctx = open_with("2");
    call a = open_call(id), b = open_call(id);
    run(&a, ctx);
    prepare(&b, ctx);
    for (int i = 0; i < b.p.tensors; i++)
        if (!strcmp(b.p.tensor[i].name, "weight")) memset(b.data[i], 0, b.p.tensor[i].bytes);
    run(&b, ctx);
    cr_expect(same_outputs(&a, &b), "%s, %s: the op doesn't read what was packed", id, path);
    unprepare(&b, ctx);
    run(&b, ctx);
    cr_expect(!same_outputs(&a, &b), "%s, %s: the op still reads what was dropped", id, path);
    close_call(&a), close_call(&b);
    fast->close(ctx);
}

Test(fast, prepared_weights_are_used)
{
    for (int way = 0; way < WAYS; way++) {
        if (!take(way)) continue;
        try_changed_weights("linear@odd:n_tokens=7,weight=bf16");
        try_changed_weights("linear@odd:n_tokens=7,weight=f8_e4m3");
        try_changed_weights("linear@odd:n_tokens=7,x=f32,weight=bf16");
    }
}

/* Weights of routed experts become zeros behind prepare's back. */
static void wipe_experts(const call *c)
{
    for (int i = 0; i < c->p.tensors; i++)
        if (c->p.tensor[i].row->repeat) memset(c->data[i], 0, c->p.tensor[i].bytes);
}

/* After prepare nothing of an expert is packed; after a call, what tokens chose is, until unprepare. */
static void try_wiped_experts(const char *id)
{
    dsv3_ctx *const ctx = open_with("2");
    call a = open_call(id), early = open_call(id), late = open_call(id);
    run(&a, ctx);
    prepare(&early, ctx), wipe_experts(&early), run(&early, ctx);
    cr_expect(!same_outputs(&a, &early), "%s, %s: prepare packs experts that nobody has chosen", id, path);
    prepare(&late, ctx), run(&late, ctx), wipe_experts(&late), run(&late, ctx);
    cr_expect(same_outputs(&a, &late), "%s, %s: the op doesn't read what it packed", id, path);
    unprepare(&early, ctx), unprepare(&late, ctx);
    run(&late, ctx);
    cr_expect(!same_outputs(&a, &late), "%s, %s: the op still reads what was dropped", id, path);
    close_call(&a), close_call(&early), close_call(&late);
    fast->close(ctx);
}

Test(fast, experts_are_packed_when_they_are_chosen)
{
    for (int way = 0; way < WAYS; way++) {
        if (!take(way)) continue;
        try_wiped_experts("experts@odd:n_tokens=7");
        try_wiped_experts("moe@odd:n_tokens=7");
        try_wiped_experts("mtp@odd");
    }
}

/* One weight that meets rows of both formats: each finds what was packed for it, or the weight itself. */
Test(fast, a_weight_serves_both_formats)
{
    enum { WIDE = 1100, HIGH = 40, ROWS = 3 };
    static uint16_t x16[ROWS * WIDE], w[HIGH * WIDE];
    static float x32[ROWS * WIDE], y[4][ROWS * HIGH];
    for (int i = 0; i < ROWS * WIDE; i++) x16[i] = (uint16_t)(0x3f80 | (i * 7919 & 0x807f)), x32[i] = (float)(i % 13);
    for (int i = 0; i < HIGH * WIDE; i++) w[i] = (uint16_t)(0x3e80 | (i * 104729 & 0x80ff));
    dsv3_weight const item = {"weight", {w, DSV3_BF16, 2, {HIGH, WIDE}, {WIDE, 1}}};
    dsv3_linear_prob const prob = {ROWS, WIDE, HIGH};
    dsv3_linear_io io[4];
    for (int i = 0; i < 4; i++)
        io[i] =
            (dsv3_linear_io){.x = {i % 2 ? (void *)x32 : x16, i % 2 ? DSV3_F32 : DSV3_BF16, 2, {ROWS, WIDE}, {WIDE, 1}},
                             .weights = {1, &item},
                             .y = {y[i], DSV3_F32, 2, {ROWS, HIGH}, {HIGH, 1}}};
    for (int way = 0; way < WAYS; way++) {
        if (!take(way)) continue;
        dsv3_ctx *const ctx = open_with("2");
        fast->linear(ctx, &prob, &io[0]), fast->linear(ctx, &prob, &io[1]);
        for (int step = 0; step < 5; step++) { /* packed for one, for both, for the other, for none */
            if (step == 1 || step == 2) fast->prepare(ctx, "linear", &prob, &io[step - 1]);
            if (step == 3 || step == 4) fast->unprepare(ctx, "linear", &prob, &io[step - 3]);
            memset(y[2], 0, sizeof y[2]), memset(y[3], 0, sizeof y[3]);
            fast->linear(ctx, &prob, &io[2]), fast->linear(ctx, &prob, &io[3]);
            cr_expect(!memcmp(y[0], y[2], sizeof y[0]) && !memcmp(y[1], y[3], sizeof y[1]), "%s, step %d", path, step);
        }
        fast->close(ctx);
    }
}

/* Many matrices come and go in any order: those that are there are found, the others aren't. */
Test(fast, packs_are_found_and_dropped)
{
    enum { MANY = 500, ROOM = 65521 }; /* a prime: weights lie in no even distance, so that some collide */
    static float room[ROOM][4], *weight[MANY], x[1] = {1}, y[4];
    for (int i = 0; i < MANY; i++) weight[i] = room[i * i % ROOM];
    needs_avx512();
    dsv3_ctx *const ctx = open_with("1");
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

/* The first row of y for so many tokens. */
static void first_row(const char *format, int tokens, dsv3_ctx *ctx, float row[70])
{
    char id[200];
    snprintf(id, sizeof id, "linear@odd:in_features=1500,out_features=70,y=f32,n_tokens=%d,%s", tokens, format);
    call c = open_call(id);
    run(&c, ctx);
    for (int i = 0; i < c.p.tensors; i++)
        if (!strcmp(c.p.tensor[i].name, "y")) memcpy(row, c.data[i], 70 * sizeof *row);
    close_call(&c);
}

Test(fast, rows_do_not_depend_on_their_neighbours)
{
    setenv("DSV3_FAST_INVARIANT", "1", 1);
    static const char *const formats[] = {"weight=bf16", "weight=f8_e4m3", "x=f32,weight=f32", "x=f32,weight=f8_e4m3"};
    for (int way = 0; way < WAYS; way++)
        for (int f = 0; take(way) && f < 4; f++) {
            dsv3_ctx *const ctx = open_with("2");
            float alone[70], row[70];
            first_row(formats[f], 1, ctx, alone);
            for (int tokens = 2; tokens <= 67; tokens++) {
                first_row(formats[f], tokens, ctx, row);
                cr_expect(!memcmp(alone, row, sizeof row), "%s, %s: the first of %d rows has other bits than alone",
                          formats[f], path, tokens);
            }
            fast->close(ctx);
        }
}

/* y of a token of mla whose sequence is that token alone, beside `tokens` - 1 such sequences; returns its bytes. */
static size_t first_token(const char *format, int tokens, dsv3_ctx *ctx, char y[1024])
{
    char id[200], ones[20] = "1";
    size_t bytes = 0;
    for (int t = 1; t < tokens; t++) strcat(ones, "+1");
    snprintf(id, sizeof id, "mla@odd:kv_lora_rank=129,%s,q_lens=%s,kv_lens=%s", format, ones, ones);
    call c = open_call(id);
    run(&c, ctx);
    for (int i = 0; i < c.p.tensors; i++)
        if (!strcmp(c.p.tensor[i].name, "y")) bytes = c.p.tensor[i].bytes / (size_t)tokens, memcpy(y, c.data[i], bytes);
    close_call(&c);
    return bytes;
}

Test(fast, tokens_of_mla_do_not_depend_on_their_neighbours)
{
    setenv("DSV3_FAST_INVARIANT", "1", 1);
    static const char *const formats[] = {"weights=bf16", "weights=f8_e4m3"};
    for (int way = 0; way < WAYS; way++)
        for (int f = 0; take(way) && f < 2; f++) {
            dsv3_ctx *const ctx = open_with("2");
            char alone[1024], beside[1024];
            size_t const bytes = first_token(formats[f], 1, ctx, alone);
            for (int tokens = 2; tokens <= 6; tokens++)
                cr_expect(bytes && bytes == first_token(formats[f], tokens, ctx, beside) &&
                              !memcmp(alone, beside, bytes),
                          "%s, %s: the first of %d tokens has other bits than alone", formats[f], path, tokens);
            fast->close(ctx);
        }
}

/* The first of two rows on path amx, alone, and alone on path dpbf16, of the same build. */
static void three_rows(const char *format, const char *invariant, float beside[70], float alone[70], float by_pairs[70])
{
    setenv("DSV3_FAST_INVARIANT", invariant, 1);
    dsv3_ctx *ctx = open_with("2");
    first_row(format, 2, ctx, beside), first_row(format, 1, ctx, alone);
    fast->close(ctx);
    path = "dpbf16";
    ctx = open_with("2");
    first_row(format, 1, ctx, by_pairs);
    fast->close(ctx);
    path = "amx";
}

Test(fast, one_row_of_codes_goes_by_pairs_on_amx)
{
    float beside[70], alone[70], by_pairs[70];
    for (int way = 0; way < WAYS; way++) {
        if (!take(way) || strcmp(path, "amx")) continue;
        three_rows("weight=f8_e4m3", "0", beside, alone, by_pairs);
        cr_expect(!memcmp(alone, by_pairs, sizeof alone) && memcmp(alone, beside, sizeof alone));
        three_rows("weight=f8_e4m3", "1", beside, alone, by_pairs);
        cr_expect(!memcmp(alone, beside, sizeof alone) && memcmp(alone, by_pairs, sizeof alone));
        three_rows("weight=bf16", "0", beside, alone, by_pairs);
        cr_expect(!memcmp(alone, beside, sizeof alone) && memcmp(alone, by_pairs, sizeof alone));
    }
}

/* Attention over keys that lie anywhere: behind and between them are NaNs. */
enum { LATENT = 96, RANK = 40, HEADS = 35, KEYS = 300, PLACES = KEYS + 70, SPACED = LATENT + 3 };
enum { ODD = 70 }; /* numbers of a key that don't fill tiles */

static struct {
    uint16_t q[HEADS][SPACED], key[KEYS][LATENT], cache[PLACES * SPACED];
    int32_t table[PLACES];
} cached;

/* Below 2. */
static uint16_t any_small(uint32_t *random)
{
    return (uint16_t)(any_normal(*random = *random * 1664525 + 1013904223) - (8 << 7));
}

static void fill_cached(void)
{
    uint32_t random = 5;
    memset(&cached, 0xff, sizeof cached);
    for (int c = 0; c < LATENT; c++) {
        for (int h = 0; h < HEADS; h++) cached.q[h][c] = any_small(&random);
        for (int j = 0; j < KEYS; j++) cached.key[j][c] = any_small(&random);
    }
}

/* Keys lie in pages of so many; the last page comes first. */
static void place_keys(int len, int page_size)
{
    int const pages = (len + page_size - 1) / page_size;
    memset(cached.cache, 0xff, sizeof cached.cache);
    for (int i = 0; i < pages; i++) cached.table[i] = pages - 1 - i;
    for (int j = 0; j < len; j++)
        memcpy(cached.cache + (cached.table[j / page_size] * page_size + j % page_size) * SPACED, cached.key[j],
               sizeof cached.key[j]);
}

typedef struct {
    float o[HEADS][RANK], lse[HEADS];
} decoded;

/* Heads from `first` on. */
static void decode(dsv3_ctx *ctx, int first, int heads, int len, int page_size, decoded *to)
{
    dsv3_mla_decode_prob const prob = {1, 1, heads, RANK, LATENT - RANK, 24, page_size, len, 0.25};
    int32_t length = len;
    dsv3_mla_decode_io const io = {
        .q = {cached.q[first], DSV3_BF16, 4, {1, 1, heads, LATENT}, {heads * SPACED, heads * SPACED, SPACED, 1}},
        .kv_cache =
            {cached.cache, DSV3_BF16, 3, {PLACES / page_size, page_size, LATENT}, {page_size * SPACED, SPACED, 1}},
        .block_table = {cached.table, DSV3_I32, 2, {1, PLACES}, {PLACES, 1}},
        .cache_seqlens = {&length, DSV3_I32, 1, {1}, {1}},
        .o = {to->o[first], DSV3_F32, 4, {1, 1, heads, RANK}, {heads * RANK, heads * RANK, RANK, 1}},
        .lse = {to->lse + first, DSV3_F32, 3, {1, 1, heads}, {heads, heads, 1}}};
    cr_assert(fast->mla_decode(ctx, &prob, &io) == DSV3_OK);
}

/* One entry of o in binary64, and lse. */
static double mean_of_values(int head, int len, int column, double *lse)
{
    double sum = 0, mean = 0;
    for (int j = 0; j < len; j++) {
        double score = 0;
        for (int c = 0; c < LATENT; c++)
            score += 0.25 * (double)of_bf16(cached.q[head][c]) * (double)of_bf16(cached.key[j][c]);
        sum += exp(score), mean += exp(score) * (double)of_bf16(cached.key[j][column]);
    }
    return *lse = log(sum), mean / sum;
}

static void try_pages(dsv3_ctx *ctx, int len)
{
    static const int sizes[] = {64, 1, 5, 16, 40};
    static decoded right, other;
    for (int i = 0; i < 5; i++) {
        decoded *const to = i ? &other : &right;
        place_keys(len, sizes[i]);
        decode(ctx, 0, HEADS, len, sizes[i], to);
        cr_expect(!memcmp(&right, to, sizeof right), "%s, %d keys in pages of %d", path, len, sizes[i]);
    }
    for (int h = 0; h < HEADS; h += 17)
        for (int c = 0; c < RANK; c += 13) {
            double lse;
            double const mean = mean_of_values(h, len, c, &lse);
            cr_expect(fabs((double)right.o[h][c] - mean) < 0.02 && fabs((double)right.lse[h] - lse) < 0.002,
                      "%s, %d keys, head %d, column %d: %g, not %g", path, len, h, c, (double)right.o[h][c], mean);
        }
}

Test(fast, pages_do_not_change_bits)
{
    fill_cached();
    for (int way = 0; way < WAYS; way++) {
        if (!take(way)) continue;
        dsv3_ctx *const ctx = open_with("2");
        for (int len = 1; len <= 40; len++) try_pages(ctx, len);
        try_pages(ctx, 255), try_pages(ctx, 257), try_pages(ctx, KEYS);
        fast->close(ctx);
    }
}

Test(fast, heads_do_not_depend_on_their_neighbours)
{
    static decoded all, alone;
    fill_cached();
    for (int way = 0; way < WAYS; way++) {
        if (!take(way)) continue;
        dsv3_ctx *const ctx = open_with("2");
        place_keys(KEYS, 16);
        for (int h = 0; h < HEADS; h++) decode(ctx, h, 1, KEYS, 16, &alone);
        for (int heads = 1; heads <= HEADS; heads++) {
            decode(ctx, 0, heads, KEYS, 16, &all);
            cr_expect(!memcmp(all.o, alone.o, (size_t)heads * sizeof *all.o) &&
                          !memcmp(all.lse, alone.lse, (size_t)heads * sizeof *all.lse),
                      "%s, %d heads", path, heads);
        }
        fast->close(ctx);
    }
}

/* The last `tokens` of the tokens before `end`: token i sees keys 0 to i. Its row of q is row i % HEADS of the heads. */
static void prefill(dsv3_ctx *ctx, int end, int tokens, decoded *to)
{
    int32_t const cu_q[2] = {0, tokens}, cu_k[2] = {0, end};
    dsv3_mla_prefill_prob const prob = {1, tokens, end, 1, ODD - 24, 24, RANK, 0.25};
    dsv3_mla_prefill_io const io = {.q = {cached.q[end - tokens], DSV3_BF16, 3, {tokens, 1, ODD}, {SPACED, SPACED, 1}},
                                    .k = {cached.cache, DSV3_BF16, 3, {end, 1, ODD}, {SPACED, SPACED, 1}},
                                    .v = {cached.cache + 1, DSV3_BF16, 3, {end, 1, RANK}, {SPACED, SPACED, 1}},
                                    .cu_seqlens_q = {(void *)cu_q, DSV3_I32, 1, {2}, {1}},
                                    .cu_seqlens_k = {(void *)cu_k, DSV3_I32, 1, {2}, {1}},
                                    .o = {to->o[end - tokens], DSV3_F32, 3, {tokens, 1, RANK}, {RANK, RANK, 1}},
                                    .lse = {to->lse + end - tokens, DSV3_F32, 2, {tokens, 1}, {1, 1}}};
    cr_assert(fast->mla_prefill(ctx, &prob, &io) == DSV3_OK);
}

Test(fast, tokens_do_not_depend_on_their_neighbours)
{
    static decoded all, alone;
    fill_cached();
    for (int way = 0; way < WAYS; way++) {
        if (!take(way)) continue;
        dsv3_ctx *const ctx = open_with("2");
        place_keys(HEADS, HEADS);
        for (int end = 1; end <= HEADS; end++) prefill(ctx, end, 1, &alone);
        for (int tokens = 1; tokens <= HEADS; tokens++) {
            prefill(ctx, HEADS, tokens, &all);
            cr_expect(
                !memcmp(all.o[HEADS - tokens], alone.o[HEADS - tokens], (size_t)tokens * sizeof *all.o) &&
                    !memcmp(all.lse + HEADS - tokens, alone.lse + HEADS - tokens, (size_t)tokens * sizeof *all.lse),
                "%s, %d tokens", path, tokens);
        }
        fast->close(ctx);
    }
}

/* Weights in any order, among others with names that only look like an expert's; of two of a name the first counts. */
Test(fast, experts_are_found_by_name)
{
    static const char *const others[] = {"experts.01.gate_proj.weight",
                                         "experts.00.up_proj.weight",
                                         "experts.1.gate_proj.weight_",
                                         "experts.1.gate_projx.weight",
                                         "experts.1",
                                         "experts..up_proj.weight",
                                         "experts.18446744073709551617.up_proj.weight", /* 1 in 64 bits */
                                         "xperts.1.up_proj.weight",
                                         "Experts.1.up_proj.weight",
                                         "shared_experts.1.up_proj.weight",
                                         "experts.-1.up_proj.weight"};
    enum { OTHERS = sizeof others / sizeof *others };
    static uint8_t nothing[1 << 16];
    memset(nothing, 0xff, sizeof nothing);
    take(3), path = "fma";
    dsv3_ctx *const ctx = open_with("1");
    call a = open_call("experts@odd:n_tokens=9"), b = open_call("experts@odd:n_tokens=9");
    run(&a, ctx);
    dsv3_weights *const weights = &((dsv3_experts_io *)b.io)->weights;
    int64_t const n = weights->count;
    dsv3_weight *const item = calloc((size_t)(2 * n + OTHERS), sizeof *item);
    for (int i = 0; i < OTHERS; i++) item[i] = (dsv3_weight){others[i], weights->item[0].tensor};
    for (int i = 0; i < OTHERS; i++) item[i].tensor.data = nothing;
    for (int64_t i = 0; i < n; i++) item[OTHERS + i] = weights->item[n - 1 - i];
    for (int64_t i = 0; i < n; i++) item[OTHERS + n + i] = weights->item[i], item[OTHERS + n + i].tensor.data = nothing;
    *weights = (dsv3_weights){2 * n + OTHERS, item};
    run(&b, ctx);
    cr_expect(same_outputs(&a, &b));
    weights->count = OTHERS + n - 1; /* the first expert's first matrix is missing */
    cr_expect(fast->experts(ctx, (const dsv3_experts_prob *)b.p.prob.bytes, b.io) == DSV3_UNSUPPORTED);
    close_call(&a), close_call(&b);
    free(item);
    fast->close(ctx);
}

/* Tokens that see what isn't finite have NaN, those before them what they had. */
Test(fast, keys_that_a_token_does_not_see_are_nothing_to_it)
{
    static const uint16_t wild[] = {0x7fc0, 0x7f80, 0xff80};
    static decoded right, other;
    fill_cached();
    for (int way = 0; way < WAYS; way++) {
        if (!take(way)) continue;
        dsv3_ctx *const ctx = open_with("2");
        for (int key = 1; key < HEADS; key++) {
            place_keys(HEADS, HEADS);
            prefill(ctx, HEADS, HEADS, &right);
            cached.cache[key * SPACED + 1 + key % RANK] = wild[key % 3];
            prefill(ctx, HEADS, HEADS, &other);
            cr_expect(!memcmp(&right, &other, (size_t)key * sizeof *right.o) &&
                          !memcmp(right.lse, other.lse, (size_t)key * sizeof *right.lse),
                      "%s: key %d reaches tokens before it", path, key);
            cr_expect(!isfinite(other.o[HEADS - 1][key % RANK]), "key %d doesn't reach the last token", key);
        }
        fast->close(ctx);
    }
}

/* A NaN in row r of a tensor, one head; what it made before is in `before`. */
static void run_with_nan(dsv3_ctx *ctx, call *c, const call *before, const char *name, int64_t r)
{
    const tensor_info *const t = problem_tensor(&c->p, name);
    int64_t const i = t - c->p.tensor, width = t->shape[2];
    memcpy(c->data[i], before->data[i], t->bytes);
    ((float *)c->data[i])[r * width] = NAN;
    run(c, ctx);
    memcpy(c->data[i], before->data[i], t->bytes);
}

static bool same_rows(const call *a, const call *b, const char *name, int64_t first, int64_t end)
{
    const tensor_info *const t = problem_tensor(&a->p, name);
    int64_t const i = t - a->p.tensor, width = t->shape[2];
    const float *const x = a->data[i], *const y = b->data[i];
    return !memcmp(x + first * width, y + first * width, (size_t)((end - first) * width) * sizeof *x);
}

/* Query i sees keys 0 to i + 4. What isn't finite reaches the gradients of rows that meet it, and leaves the others their bits. */
Test(fast, gradients_of_what_a_query_does_not_see)
{
    static const char *const id = "mla_prefill_backward@odd:batch=1,n_tokens=37,n_keys=41,num_attention_heads=1,q=f32";
    enum { QUERIES = 37, BEFORE = 4, LAST = QUERIES + BEFORE };
    take(3), path = "fma";
    dsv3_ctx *const ctx = open_with("2");
    call right = open_call(id), other = open_call(id);
    run(&right, ctx);
    for (int64_t key = BEFORE + 1; key < LAST; key++) {
        run_with_nan(ctx, &other, &right, "k", key);
        cr_expect(same_rows(&right, &other, "grad_q", 0, key - BEFORE), "key %lld reaches queries before it",
                  (long long)key);
        cr_expect(!same_rows(&right, &other, "grad_q", key - BEFORE, QUERIES), "key %lld is lost", (long long)key);
    }
    for (int64_t i = 0; i < QUERIES - 1; i++) {
        run_with_nan(ctx, &other, &right, "q", i);
        cr_expect(same_rows(&right, &other, "grad_k", i + BEFORE + 1, LAST), "query %lld reaches keys behind it",
                  (long long)i);
        run_with_nan(ctx, &other, &right, "grad_o", i);
        cr_expect(same_rows(&right, &other, "grad_v", i + BEFORE + 1, LAST), "its gradient does");
    }
    close_call(&right), close_call(&other);
    fast->close(ctx);
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
    for (int way = 0; way < WAYS; way++) {
        if (!take(way)) continue;
        dsv3_ctx *const ctx = open_with("2");
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
    path = "dpbf16";
    dsv3_ctx *const ctx = open_with("2");
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

static const char *described(const dsv3_backend *build, const char *asked, char text[256])
{
    if (asked)
        setenv("DSV3_FAST", asked, 1);
    else
        unsetenv("DSV3_FAST");
    build->probe(text, 256);
    return text;
}

Test(fast, portable_paths_are_described)
{
    char text[256];
    const dsv3_backend *const build = &dsv3_backend_portable;
    const char *const chosen =
        "fma runs; dpbf16: no faster on this processor; amx: a model of it, DSV3_FAST=amx asks for it";
    cr_expect_str_eq(described(build, NULL, text), chosen);
    cr_expect_str_eq(described(build, "fma", text), "fma runs; dpbf16: DSV3_FAST=fma; amx: DSV3_FAST=fma");
    cr_expect_str_eq(described(build, "dpbf16", text), "dpbf16 runs; fma: DSV3_FAST=dpbf16; amx: DSV3_FAST=dpbf16");
    cr_expect_str_eq(described(build, "amx", text), "amx runs; fma: DSV3_FAST=amx; dpbf16: DSV3_FAST=amx");
}

/* Asked for or not: AMX runs, or one sentence says what is missing. */
Test(fast, missing_amx_is_named)
{
    static const char *const reasons[] = {"AMX-TILE", "AMX-BF16", "AVX512-BF16", "AVX512-VBMI", "XCR0", "arch_prctl"};
    char text[256];
    needs_avx512();
    described(fast, "amx", text);
    const char *const why = strstr(text, "; amx: ");
    bool named = !strncmp(text, "amx runs; ", 10);
    for (size_t i = 0; why && i < sizeof reasons / sizeof *reasons; i++) named |= strstr(why, reasons[i]) != NULL;
    for (size_t i = 0; why && i < sizeof unit_trials / sizeof *unit_trials; i++)
        named |= strstr(why, unit_trials[i].fault) != NULL;
    cr_expect(named, "%s", text);
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
    cr_expect_str_eq(text, "DSV3_FAST=dpbf61: it is fma, dpbf16 or amx");
}

/* A value that isn't known is no other: no build can be opened with it. */
Test(fast, unknown_values_are_refused)
{
    static const char *const said[][3] = {
        {"DSV3_FAST", "bogus", "fma, dpbf16 or amx"},
        {"DSV3_FAST", "", "fma, dpbf16 or amx"},
        {"DSV3_FAST", "FMA", "fma, dpbf16 or amx"},
        {"DSV3_FAST_INVARIANT", "yes", "0 or 1"},
        {"DSV3_FAST_THREADS", "0", "a whole number from 1 to 64"},
        {"DSV3_FAST_THREADS", "2x", "a whole number from 1 to 64"},
        {"DSV3_FAST_THREADS", "", "a whole number from 1 to 64"},
        {"DSV3_FAST_THREADS", "65", "a whole number from 1 to 64"},
    };
    static const dsv3_backend *const builds[] = {&dsv3_backend_avx512, &dsv3_backend_portable};
    for (size_t i = 0; i < 2 * sizeof said / sizeof *said; i++) {
        const char *const *const s = said[i / 2];
        char text[256], sentence[256];
        dsv3_ctx *ctx = NULL;
        setenv(s[0], s[1], 1);
        snprintf(sentence, sizeof sentence, "%s=%s: it is %s", s[0], s[1], s[2]);
        cr_expect_eq(builds[i % 2]->probe(text, sizeof text), DSV3_INVALID, "%s", sentence);
        cr_expect_str_eq(text, sentence);
        cr_expect(builds[i % 2]->open(&ctx, 0) == DSV3_INVALID && !ctx, "%s", sentence);
        unsetenv(s[0]);
    }
    dsv3_ctx *ctx = NULL;
    setenv("DSV3_FAST_THREADS", "64", 1), setenv("DSV3_FAST_INVARIANT", "0", 1);
    cr_assert(dsv3_backend_portable.open(&ctx, 0) == DSV3_OK);
    dsv3_backend_portable.close(ctx);
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
    for (int way = 0; way < WAYS; way++) {
        if (!take(way)) continue;
        dsv3_ctx *const ctx = open_with("1");
        try_codes(ctx, DSV3_F32, 1), try_codes(ctx, DSV3_F32, 20);
        try_codes(ctx, DSV3_BF16, 1), try_codes(ctx, DSV3_BF16, 20);
        fast->close(ctx);
    }
}

/* ---- the model of the matrix unit ---- */

/* As Intel's manual has TDPBF16PS: one sum. */
static float manual(const uint16_t a[32], const uint16_t b[16][32], int t, float sum)
{
    float chain[2] = {0, 0};
    for (int k = 0; k < 32; k++) {
        double const x = ref_decode(DSV3_BF16, a, k), y = ref_decode(DSV3_BF16, b[k / 2], 2 * t + k % 2);
        chain[k % 2] = fmaf(fpclassify(x) != FP_ZERO && fabs(x) < 0x1p-126 ? 0 : (float)x,
                            fabs(y) < 0x1p-126 ? 0 : (float)y, chain[k % 2]);
        if (fpclassify(chain[k % 2]) == FP_SUBNORMAL) chain[k % 2] = 0;
    }
    float const both = chain[0] + chain[1], before = fpclassify(sum) == FP_SUBNORMAL ? 0 : sum;
    float const all = before + (fpclassify(both) == FP_SUBNORMAL ? 0 : both);
    return fpclassify(all) == FP_SUBNORMAL ? 0 : all;
}

static uint16_t any_bits(uint32_t random)
{
    return (uint16_t)(random >> 8);
}

static void fill_tiles(uint16_t (*number)(uint32_t), uint32_t *random, uint16_t a[16][32], uint16_t b[16][32],
                       float sum[16][16])
{
    for (int i = 0; i < 512; i++) {
        a[i / 32][i % 32] = number(*random = *random * 1664525 + 1013904223);
        b[i / 32][i % 32] = number(*random = *random * 1664525 + 1013904223);
    }
    for (int i = 0; i < 256; i++) sum[i / 16][i % 16] = of_bf16(a[i % 16][i / 16]) * of_bf16(b[i % 16][i / 16]);
}

Test(fast, the_model_of_tiles_is_the_manual)
{
    enum { TRIALS = sizeof unit_trials / sizeof *unit_trials };
    uint32_t random = 7;
    for (int round = 0; round < 200; round++) {
        uint16_t a[16][32], b[16][32];
        float sum[16][16], expected[16][16];
        int const trial = round % (TRIALS + 1), columns = 1 + round % 16;
        fill_tiles(trial < TRIALS ? unit_trials[trial].number : any_bits, &random, a, b, sum);
        memcpy(expected, sum, sizeof sum);
        for (int i = 0; i < 16; i++)
            for (int t = 0; t < columns; t++) expected[i][t] = manual(a[i], (const uint16_t(*)[32])b, t, sum[i][t]);
        tile_model((const uint16_t(*)[32])a, (const uint16_t(*)[32])b, columns, sum);
        cr_expect(same_sums((const float(*)[16])sum, (const float(*)[16])expected), "round %d", round);
    }
}

/* ---- the kernel that was never run: its object code ---- */

#if defined(__x86_64__)
static bool is_one_of(const char *word, const char *const *list)
{
    for (; *list; list++)
        if (!strncmp(word, *list, strlen(*list)) && strchr(".>", word[strlen(*list)])) return true;
    return false;
}

/* Each instruction for tiles is there, and only in functions that are called where the path is amx, or is looked for. */
Test(fast, tiles_are_behind_the_guard)
{
    static const char *const instructions[] = {"ldtilecfg", "tilezero",   "tileloadd",
                                               "tdpbf16ps", "tilestored", "tilerelease"};
    static const char *const guarded[] = {"unit_open",    "unit_close", "add_group", "add_two",
                                          "step_of_unit", "score_four", "sum_four",  NULL};
    enum { KINDS = sizeof instructions / sizeof *instructions };
    char line[512], function[200] = "";
    int seen[KINDS] = {0};
    FILE *const code = popen("objdump -d --no-show-raw-insn " BUILD "/obj/avx512.o", "r");
    cr_assert(code != NULL);
    while (fgets(line, sizeof line, code)) {
        sscanf(line, "%*x <%199s", function);
        for (int i = 0; i < KINDS; i++) {
            if (!strstr(line, instructions[i])) continue;
            seen[i]++;
            cr_expect(is_one_of(function, guarded), "%s in <%s", instructions[i], function);
        }
    }
    pclose(code);
    for (int i = 0; i < KINDS; i++) cr_expect(seen[i] > 0, "no %s", instructions[i]);
}
#endif

/* ---- the unit itself, where there is one ---- */

#if defined(__x86_64__)
static USES_UNIT void by_the_processor(const uint16_t a[16][32], const uint16_t b[16][32], float sum[16][16])
{
    unit u;
    unit_open(&u, 16);
    unit_load(&u, 0, sum, 64);
    unit_load(&u, 4, a, 64);
    unit_load(&u, 6, b, 64);
    unit_dot(&u, 0, 4, 6);
    unit_store(&u, 0, sum, 64);
    unit_close(&u);
}

Test(fast, the_model_of_tiles_is_this_processor)
{
    enum { TRIALS = sizeof unit_trials / sizeof *unit_trials };
    fast = &dsv3_backend_avx512;
    char text[400];
    described(fast, "amx", text);
    if (strncmp(text, "amx runs; ", 10)) cr_skip_test("%s", text);
    uint32_t random = 11;
    for (int round = 0; round < 20000; round++) {
        uint16_t a[16][32], b[16][32];
        float sum[16][16], expected[16][16];
        int const trial = round % (TRIALS + 1);
        fill_tiles(trial < TRIALS ? unit_trials[trial].number : any_bits, &random, a, b, sum);
        memcpy(expected, sum, sizeof sum);
        by_the_processor((const uint16_t(*)[32])a, (const uint16_t(*)[32])b, sum);
        tile_model((const uint16_t(*)[32])a, (const uint16_t(*)[32])b, 16, expected);
        cr_assert(same_sums((const float(*)[16])sum, (const float(*)[16])expected), "round %d", round);
    }
}
#endif

/* ---- functions, as the portable build has them ---- */

static float float_of(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* All of them were tried once: 1.293 units at most. */
Test(fast, weights_are_within_two_units)
{
    enum { STEP = 4099 };
    for (uint32_t bits = 0x80000000u; bits < 0xc2aeac50u; bits += STEP) { /* -0 to -87.3365 */
        vec const v = vec_of(float_of(bits)), e = vec_weight(v);
        double const right = exp((double)v.lane[0]), off = fabs((double)e.lane[0] - right) / right * 0x1p24;
        cr_assert(off <= 2, "e^%a is off by %g units", (double)v.lane[0], off);
    }
    cr_expect(vec_weight(vec_of(0)).lane[0] == 1 && vec_weight(vec_of(-0.0f)).lane[0] == 1);
    cr_expect(vec_weight(vec_of(-INFINITY)).lane[0] == 0 && vec_weight(vec_of(-87.34f)).lane[0] == 0);
    cr_expect(isnan(vec_weight(vec_of(NAN)).lane[0]));
}

Test(fast, quotients_are_those_of_division)
{
    static const uint32_t often[] = {0, 1, 0x400000, 0x7ffffe, 0x7fffff};
    uint32_t random = 17;
    for (int round = 0; round < 200000; round++) {
        uint32_t const a = random = random * 1664525 + 1013904223, b = random = random * 1664525 + 1013904223;
        uint32_t const digits = round % 3 ? b >> 9 : often[b % 5]; /* of divisors from 1/2 to 2^30 */
        vec const x = vec_of(float_of(a)), y = vec_of(float_of((126 + b % 31) << 23 | digits));
        float const q = vec_quotient(x, y, vec_div(vec_of(1), y)).lane[0], right = x.lane[0] / y.lane[0];
        cr_assert(q == right || (isnan(q) && isnan(right)), "%a / %a: %a", (double)x.lane[0], (double)y.lane[0],
                  (double)q);
    }
}

/* ---- products by it ---- */

enum { COLUMNS = 300, PITCH = 320, OUTPUTS = 40, TOKENS = 19 };

/* A matrix, and rows that it is multiplied with. Behind a row's columns lie NaNs. */
static struct {
    uint16_t x[TOKENS][PITCH], bf16[OUTPUTS][PITCH];
    uint8_t code[OUTPUTS][PITCH];
    float scale[3], y[TOKENS][OUTPUTS];
} given;

static void fill_given(void)
{
    uint32_t random = 3;
    memset(&given, 0xff, sizeof given);
    for (int i = 0; i < 3; i++) given.scale[i] = 0.3f + (float)i;
    for (int k = 0; k < COLUMNS; k++) {
        for (int t = 0; t < TOKENS; t++) given.x[t][k] = any_normal(random = random * 1664525 + 1013904223);
        for (int o = 0; o < OUTPUTS; o++) {
            uint8_t const code = (uint8_t)((random = random * 1664525 + 1013904223) >> 16);
            given.bf16[o][k] = any_normal(random);
            given.code[o][k] = (code & 0x7f) == 0x7f ? 0 : code;
        }
    }
}

static uint16_t weight_at(dsv3_dtype dtype, int o, int k)
{
    if (dtype == DSV3_BF16) return given.bf16[o][k];
    float const v = (float)ref_decode(DSV3_F8_E4M3, &given.code[o][k], 0);
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* As fast.md says: 32 columns at a time, and a block's codes before their scale. */
static float square_sum(dsv3_dtype dtype, int o, int t)
{
    float total = 0, sum = 0;
    for (int k = 0; k < COLUMNS; k += 32) {
        uint16_t a[32] = {0}, b[16][32] = {{0}};
        for (int i = 0; i < 32 && k + i < COLUMNS; i++)
            a[i] = weight_at(dtype, o, k + i), b[i / 2][i % 2] = given.x[t][k + i];
        sum = manual(a, (const uint16_t(*)[32])b, 0, sum);
        bool const ends = (k + 32) % 128 == 0 || k + 32 >= COLUMNS;
        if (dtype == DSV3_F8_E4M3 && ends) total = fmaf(sum, given.scale[k / 128], total), sum = 0;
    }
    return dtype == DSV3_BF16 ? sum : total;
}

/* As lanes.h says: chains of a block, the odd product of a pair first, and codes before their scale. */
static float lane_sum(dsv3_dtype dtype, int o, int t)
{
    float total = 0;
    for (int k = 0; k < COLUMNS; k += 128) {
        float chain = 0;
        for (int i = k; i < k + 128 && i < COLUMNS; i += 2)
            chain = add_product(weight_at(dtype, o, i), given.x[t][i],
                                add_product(weight_at(dtype, o, i + 1), given.x[t][i + 1], chain));
        total = dtype == DSV3_BF16 ? total + chain : fmaf(chain, given.scale[k / 128], total);
    }
    return total;
}

static void try_sums(dsv3_dtype dtype, bool prepared, float sum_of(dsv3_dtype dtype, int o, int t))
{
    dsv3_ctx *const ctx = open_with("2");
    void *const data = dtype == DSV3_BF16 ? (void *)given.bf16 : given.code;
    dsv3_weight const item[] = {{"weight", {data, dtype, 2, {OUTPUTS, COLUMNS}, {PITCH, 1}}},
                                {"weight_scale_inv", {given.scale, DSV3_F32, 2, {1, 3}, {3, 1}}}};
    dsv3_linear_prob const prob = {TOKENS, COLUMNS, OUTPUTS};
    dsv3_linear_io const io = {.x = {given.x, DSV3_BF16, 2, {TOKENS, COLUMNS}, {PITCH, 1}},
                               .weights = {dtype == DSV3_BF16 ? 1 : 2, item},
                               .y = {given.y, DSV3_F32, 2, {TOKENS, OUTPUTS}, {OUTPUTS, 1}}};
    if (prepared) fast->prepare(ctx, "linear", &prob, &io);
    cr_assert(fast->linear(ctx, &prob, &io) == DSV3_OK);
    if (prepared) fast->unprepare(ctx, "linear", &prob, &io);
    for (int t = 0; t < TOKENS; t++)
        for (int o = 0; o < OUTPUTS; o++)
            cr_expect(given.y[t][o] == sum_of(dtype, o, t), "format %d, prepared %d, row %d, output %d: %a", dtype,
                      prepared, t, o, (double)given.y[t][o]);
    fast->close(ctx);
}

Test(fast, squares_are_the_sums_that_are_declared)
{
    fill_given();
    for (int way = 0; way < WAYS; way++) {
        if (!take(way) || strcmp(path, "amx")) continue;
        try_sums(DSV3_BF16, false, square_sum), try_sums(DSV3_BF16, true, square_sum);
        try_sums(DSV3_F8_E4M3, false, square_sum), try_sums(DSV3_F8_E4M3, true, square_sum);
    }
}

static bool goes_by_pairs(void)
{
    char text[400];
    path = "dpbf16", described(fast, path, text);
    return !strncmp(text, "dpbf16 runs; ", 13);
}

Test(fast, lanes_are_the_sums_that_are_declared)
{
    if (!goes_by_pairs()) cr_skip_test("the path dpbf16 isn't here");
    fill_given();
    try_sums(DSV3_BF16, false, lane_sum), try_sums(DSV3_BF16, true, lane_sum);
    try_sums(DSV3_F8_E4M3, false, lane_sum), try_sums(DSV3_F8_E4M3, true, lane_sum);
}

/* ---- attention by pairs ---- */

/* As fast.md says: chains of 288 products, the odd one of a pair first. */
static float paired_sum(const uint16_t *a, const uint16_t *b, int n)
{
    float sum = 0;
    for (int k = 0; k < n; k += 288) {
        float chain = 0;
        for (int i = k; i < k + 288 && i < n; i += 2)
            chain = add_product(a[i], b[i], add_product(a[i + 1], b[i + 1], chain));
        sum = add_normal(sum, chain);
    }
    return sum;
}

/* Of one key the lse is its score. */
Test(fast, scores_by_pairs_are_the_sums_that_are_declared)
{
    enum { WIDE = 600, VALUES = 40 };
    static uint16_t q[HEADS][WIDE], key[WIDE];
    static float o[HEADS][VALUES], lse[HEADS];
    uint32_t random = 9;
    int32_t page = 0, length = 1;
    for (int c = 0; c < WIDE; c++) key[c] = any_small(&random);
    for (int i = 0; i < HEADS * WIDE; i++) q[i / WIDE][i % WIDE] = any_small(&random);
    if (!goes_by_pairs()) cr_skip_test("the path dpbf16 isn't here");
    dsv3_ctx *const ctx = open_with("2");
    dsv3_mla_decode_prob const prob = {1, 1, HEADS, VALUES, WIDE - VALUES, 24, 1, 1, 1};
    dsv3_mla_decode_io const io = {
        .q = {q, DSV3_BF16, 4, {1, 1, HEADS, WIDE}, {HEADS * WIDE, HEADS * WIDE, WIDE, 1}},
        .kv_cache = {key, DSV3_BF16, 3, {1, 1, WIDE}, {WIDE, WIDE, 1}},
        .block_table = {&page, DSV3_I32, 2, {1, 1}, {1, 1}},
        .cache_seqlens = {&length, DSV3_I32, 1, {1}, {1}},
        .o = {o, DSV3_F32, 4, {1, 1, HEADS, VALUES}, {HEADS * VALUES, HEADS * VALUES, VALUES, 1}},
        .lse = {lse, DSV3_F32, 3, {1, 1, HEADS}, {HEADS, HEADS, 1}}};
    cr_assert(fast->mla_decode(ctx, &prob, &io) == DSV3_OK);
    for (int h = 0; h < HEADS; h++)
        cr_expect(lse[h] == paired_sum(q[h], key, WIDE), "head %d: %a, not %a", h, (double)lse[h],
                  (double)paired_sum(q[h], key, WIDE));
    fast->close(ctx);
}

/* ---- the order of sums ---- */

/* One sum by hand: products[k] at place k, all times 1. */
static float one_sum(float before, const float products[32])
{
    uint16_t a[16][32] = {{0}}, b[16][32] = {{0}};
    float sum[16][16] = {{before}};
    for (int k = 0; k < 32; k++) {
        uint32_t bits;
        memcpy(&bits, &products[k], sizeof bits);
        a[0][k] = (uint16_t)(bits >> 16), b[k / 2][k % 2] = 0x3f80;
    }
    tile_model((const uint16_t(*)[32])a, (const uint16_t(*)[32])b, 16, sum);
    return sum[0][0];
}

Test(fast, a_tile_adds_in_the_order_of_the_unit)
{
    /* A small one is lost beside 1 in its own chain, not in the other; chains meet before they meet what was there. */
    cr_expect(one_sum(0, (const float[32]){1, 0, 0x1p-24f, 0, 0x1p-24f}) == 1);
    cr_expect(one_sum(0, (const float[32]){1, 0x1p-24f, 0, 0x1p-24f}) == 1 + 0x1p-23f);
    cr_expect(one_sum(1, (const float[32]){0x1p-24f, 0x1p-24f}) == 1 + 0x1p-23f);
    cr_expect(one_sum(1, (const float[32]){0x1p-24f}) == 1);
    cr_expect(one_sum(1 + 0x1p-23f, (const float[32]){0x1p-24f}) == 1 + 0x1p-22f);
    cr_expect(one_sum(0, (const float[32]){0x1p-127f, 0x1p-127f}) == 0);
    cr_expect(one_sum(0x1p-127f, (const float[32]){0x1p-126f}) == 0x1p-126f);
    cr_expect(one_sum(0x1.8p-126f, (const float[32]){-0x1p-126f}) == 0);
    cr_expect(one_sum(0, (const float[32]){INFINITY, 1}) == INFINITY);
    cr_expect(isnan(one_sum(0, (const float[32]){INFINITY, -INFINITY})) && isnan(one_sum(NAN, (const float[32]){1})));
}

/* Units of another kind. */
static void one_chain(const uint16_t a[16][32], const uint16_t b[16][32], float sum[16][16])
{
    for (int i = 0; i < 256; i++)
        for (int k = 0; k < 32; k++)
            sum[i / 16][i % 16] = add_product(a[i / 16][k], b[k / 2][i % 16 * 2 + k % 2], sum[i / 16][i % 16]);
}

static void other_sum(const uint16_t a[16][32], const uint16_t b[16][32], float sum[16][16], int fault)
{
    for (int i = 0; i < 256; i++) {
        float chain[2] = {0, 0}, *const to = &sum[i / 16][i % 16];
        for (int k = 0; k < 32; k++) {
            float const x = of_bf16(a[i / 16][k]), y = of_bf16(b[k / 2][i % 16 * 2 + k % 2]);
            chain[k % 2] = fault == 0 ? fmaf(x, y, chain[k % 2])
                                      : add_product(a[i / 16][k], b[k / 2][i % 16 * 2 + k % 2], chain[k % 2]);
        }
        *to = fault == 0 ? *to + (chain[0] + chain[1]) : add_normal(*to, add_normal(chain[0], chain[1]));
        if (fault == 1 && !isfinite(*to)) *to = 0x1.fffffep127f;
    }
}

static void keeps_subnormals(const uint16_t a[16][32], const uint16_t b[16][32], float sum[16][16])
{
    other_sum(a, b, sum, 0);
}

static void saturates(const uint16_t a[16][32], const uint16_t b[16][32], float sum[16][16])
{
    other_sum(a, b, sum, 1);
}

static void is_the_model(const uint16_t a[16][32], const uint16_t b[16][32], float sum[16][16])
{
    tile_model(a, b, 16, sum);
}

Test(fast, another_unit_is_refused_by_name)
{
    cr_expect(fault_of(is_the_model) == NULL);
    cr_expect(fault_of(one_chain) == unit_trials[0].fault);
    cr_expect(fault_of(keeps_subnormals) == unit_trials[2].fault);
    cr_expect(fault_of(saturates) == unit_trials[3].fault);
}
