/* Memory of an evaluation: whichever allocation fails, an op returns false and everything is freed; nothing is read unset. */
#include "case/fill.h"
#include "case/problem.h"
#include "judge/judge.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(scratch, .timeout = 120);

/* Beside the smallest preset of every op: cases that take memory where those don't. */
typedef struct {
    const char *id;
    int quirk; /* made beside; -1: none */
} memory_case;

static const memory_case others[] = {{"rmsnorm@tiny:residual=1", -1},
                                     {"linear@tiny:weight=f8_e4m3", -1},
                                     {"gate@odd:scoring_func=1,topk_method=1", -1},
                                     {"balance_loss@odd:seq_lens=3+0+4", -1},
                                     {"mla_decode@tiny:kv_cache=f8_e4m3", -1},
                                     {"mla@odd:weights=f8_e4m3,stages=1", -1},
                                     {"experts@tiny:n_tokens=4", -1},
                                     {"experts@tiny:n_tokens=4;fill=ids", QUIRK_E11_weights_before},
                                     {"experts@odd:weights=f8_e4m3,stages=1", -1},
                                     {"moe@tiny:n_tokens=4,stages=1", -1},
                                     {"moe@odd:stages=1", -1},
                                     {"mtp@tiny:stages=0", -1},
                                     {"mtp@tiny:stages=1", -1}};
enum { OTHERS = sizeof others / sizeof *others };

/* What is done with every case. */
static void for_each_case(void (*check)(const memory_case *c))
{
    char id[64];
    for (const op *const *o = ops; *o; o++) {
        snprintf(id, sizeof id, "%s@tiny", (*o)->name);
        check(&(memory_case){id, -1});
    }
    for (int c = 0; c < OTHERS; c++) check(&others[c]);
}

/* An allocator that counts, poisons, and has no memory for one allocation. */
typedef struct {
    int64_t taken, live, failing; /* failing: which; -1: none */
    unsigned char poison;
} heap;

static void *allocate(void *user, void *piece, size_t bytes)
{
    heap *const h = user;
    if (!bytes) {
        h->live--;
        free(piece);
        return NULL;
    }
    if (h->taken++ == h->failing) return NULL;
    h->live++;
    void *const room = malloc(bytes);
    return room ? memset(room, h->poison, bytes) : NULL;
}

/* One evaluation of a reading. */
static bool evaluate(const problem *p, void *const data[], ref_reading rd, heap *h, enclosures *out)
{
    rd.allocate = allocate;
    rd.user = h;
    return enclose(p, &rd, &ref_dd, data, out);
}

static ref_set quirks_of(const memory_case *c)
{
    return ref_only(c->quirk);
}

static void open_case(const char *id, problem *p, void ***data, ref_numerics *n)
{
    complaint why;
    cr_assert(problem_parse(id, p, &why), "%s", why.text);
    cr_assert(tensors_open(p, data));
    cr_assert(ref_numerics_parse(p->op->name, NULL, n, why.text, sizeof why.text), "%s", why.text);
}

static int64_t allocations;

/* Evaluates a case with all memory, then once for each of its allocations, which fails. */
static void fail_each(const memory_case *c)
{
    const char *const id = c->id;
    problem p;
    void **data;
    ref_numerics n;
    enclosures e;
    heap all = {.failing = -1, .poison = 0xfe};
    open_case(id, &p, &data, &n);
    ref_reading const rd = {.declared = &n, .quirks = quirks_of(c)};
    cr_assert(evaluate(&p, data, rd, &all, &e));
    enclosures_free(&e);
    cr_expect(all.live == 0, "%s: %lld of %lld left", id, (long long)all.live, (long long)all.taken);
    allocations += all.taken;
    for (int64_t i = 0; i < all.taken; i++) {
        heap h = {.failing = i, .poison = 0xfe};
        bool const good = evaluate(&p, data, rd, &h, &e);
        cr_expect(!good && h.taken == i + 1 && h.live == 0, "%s: allocation %lld fails: %s, %lld left", id,
                  (long long)i, good ? "true" : "false", (long long)h.live);
        if (good) enclosures_free(&e);
    }
    printf("scratch: %s: %lld allocations\n", id, (long long)all.taken);
    tensors_close(&p, data);
    problem_close(&p);
}

/* Under a conforming reading: its formulas take all that the exact one takes, and both forms of attention. */
Test(scratch, every_allocation_may_fail)
{
    allocations = 0;
    for_each_case(fail_each);
    cr_expect(allocations > 1000, "only %lld allocations were made", (long long)allocations);
}

/* Evaluates a reading of a case on memory of bytes 0xfe and of bytes 0. */
static void compare_poisoned(const memory_case *c, bool conforming, bool forced)
{
    const char *const id = c->id;
    problem p;
    void **data;
    ref_numerics n;
    heap filled = {.failing = -1, .poison = 0xfe}, zeros = {.failing = -1};
    enclosures poisoned, plain;
    open_case(id, &p, &data, &n);
    ref_reading const rd = {.declared = conforming ? &n : NULL, .quirks = quirks_of(c), .teacher_forced = forced};
    cr_assert(evaluate(&p, data, rd, &filled, &poisoned) && evaluate(&p, data, rd, &zeros, &plain));
    for (int t = 0; t < p.tensors; t++)
        for (int64_t i = 0; plain.value[t] && i < p.tensor[t].count; i++)
            cr_assert(!memcmp(&plain.value[t][i], &poisoned.value[t][i], sizeof(ref_value)), "%s: %s[%lld]", id,
                      p.tensor[t].name, (long long)i);
    enclosures_free(&poisoned);
    enclosures_free(&plain);
    tensors_close(&p, data);
    problem_close(&p);
}

static void compare_each(const memory_case *c)
{
    for (int way = 0; way < 4; way++) compare_poisoned(c, way % 2, way / 2);
}

/* What memory holds before makes no difference. Teacher-forced: the port wrote zeros, which name expert 0 more than once. */
Test(scratch, nothing_is_read_unset)
{
    for_each_case(compare_each);
}
