/* Memory of an evaluation: whichever allocation fails, an op returns false and everything is freed; nothing is read unset. */
#include "case/fill.h"
#include "case/problem.h"
#include "judge/judge.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(scratch, .timeout = 120);

static const char *const cases[] = {"rmsnorm@tiny:residual=1",
                                    "linear@tiny",
                                    "linear@tiny:weight=f8_e4m3",
                                    "rope@tiny",
                                    "mla_decode@tiny",
                                    "mla_decode@tiny:kv_cache=f8_e4m3",
                                    "mla_prefill@tiny",
                                    "mla@tiny",
                                    "mla@odd:weights=f8_e4m3,stages=1"};

/* An allocator that counts, poisons, and has no memory for one allocation. */
typedef struct {
    int64_t taken, live, failing; /* failing: which; -1: none */
} heap;

enum { POISON = 0xfe };

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
    return room ? memset(room, POISON, bytes) : NULL;
}

/* One evaluation; NULL: that of malloc. */
static bool evaluate(const problem *p, void *const data[], const ref_numerics *n, heap *h, enclosures *out)
{
    ref_reading const rd = {.declared = n, .allocate = h ? allocate : NULL, .user = h};
    return enclose(p, &rd, &ref_dd, data, out);
}

static void open_case(const char *id, problem *p, void ***data, ref_numerics *n)
{
    complaint why;
    cr_assert(problem_parse(id, p, &why), "%s", why.text);
    cr_assert(tensors_open(p, data));
    cr_assert(ref_numerics_parse(p->op->name, NULL, n, why.text, sizeof why.text), "%s", why.text);
}

/* Under a conforming reading: its formulas take all that the exact one takes, and both forms of attention. */
Test(scratch, every_allocation_may_fail)
{
    problem p;
    void **data;
    ref_numerics n;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        heap all = {.failing = -1};
        enclosures e;
        open_case(cases[c], &p, &data, &n);
        cr_assert(evaluate(&p, data, &n, &all, &e));
        enclosures_free(&e);
        cr_expect(all.taken > 0 && all.live == 0, "%s: %lld of %lld left", cases[c], (long long)all.live,
                  (long long)all.taken);
        for (int64_t i = 0; i < all.taken; i++) {
            heap h = {.failing = i};
            bool const good = evaluate(&p, data, &n, &h, &e);
            cr_expect(!good && h.taken == i + 1 && h.live == 0, "%s: allocation %lld fails: %s, %lld left", cases[c],
                      (long long)i, good ? "true" : "false", (long long)h.live);
            if (good) enclosures_free(&e);
        }
        printf("scratch: %s: %lld allocations\n", cases[c], (long long)all.taken);
        tensors_close(&p, data);
        problem_close(&p);
    }
}

/* What malloc happens to return makes no difference. */
Test(scratch, nothing_is_read_unset)
{
    problem p;
    void **data;
    ref_numerics n;
    for (size_t c = 0; c < 2 * sizeof cases / sizeof *cases; c++) {
        heap h = {.failing = -1};
        enclosures poisoned, plain;
        open_case(cases[c / 2], &p, &data, &n);
        cr_assert(evaluate(&p, data, c % 2 ? &n : NULL, &h, &poisoned) &&
                  evaluate(&p, data, c % 2 ? &n : NULL, NULL, &plain));
        for (int t = 0; t < p.tensors; t++)
            for (int64_t i = 0; plain.value[t] && i < p.tensor[t].count; i++)
                cr_assert(!memcmp(&plain.value[t][i], &poisoned.value[t][i], sizeof(ref_value)), "%s: %s[%lld]",
                          cases[c / 2], p.tensor[t].name, (long long)i);
        enclosures_free(&poisoned);
        enclosures_free(&plain);
        tensors_close(&p, data);
        problem_close(&p);
    }
}
