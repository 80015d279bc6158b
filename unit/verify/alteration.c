/*
 * Inputs of which a key is left out: what each query sees of the cache is what it saw, but for that key.
 */
#include "judge/alteration.h"

#include "case/fill.h"

#include <criterion/criterion.h>

TestSuite(alteration, .timeout = 60);

/* The inputs of a case. */
typedef struct {
    const problem *p;
    void *const *data;
} inputs;

static const void *numbers_of(const inputs *in, const char *tensor)
{
    return in->data[problem_tensor(in->p, tensor) - in->p->tensor];
}

static size_t row_bytes(const inputs *in)
{
    const tensor_info *const t = problem_tensor(in->p, "kv_cache");
    return t->bytes / (size_t)(t->shape[0] * t->shape[1]);
}

static const char *key_at(const inputs *in, int64_t b, int64_t j)
{
    int64_t const page_size = problem_tensor(in->p, "kv_cache")->shape[1],
                  width = problem_tensor(in->p, "block_table")->shape[1];
    const int32_t *const table = (const int32_t *)numbers_of(in, "block_table") + b * width;
    return (const char *)numbers_of(in, "kv_cache") +
           (size_t)(table[j / page_size] * page_size + j % page_size) * row_bytes(in);
}

/* How many keys query i of a sequence sees. */
static int64_t seen_by(const inputs *in, int64_t b, int64_t i)
{
    return ((const int32_t *)numbers_of(in, "cache_seqlens"))[b] - problem_size(in->p, "s_q") + i + 1;
}

static bool sees(const inputs *in, int64_t b, int64_t i, const char *key)
{
    bool seen = false;
    for (int64_t j = 0; j < seen_by(in, b, i); j++) seen = seen || !memcmp(key_at(in, b, j), key, row_bytes(in));
    return seen;
}

/* Every key is its own: rows are drawn. */
static void check_query(const inputs *before, const inputs *behind, int64_t b, int64_t i, int64_t key)
{
    bool const is_there = key < seen_by(before, b, 0) && seen_by(before, b, 0) > 1;
    cr_assert_eq(seen_by(behind, b, i), seen_by(before, b, i) - is_there);
    for (int64_t j = 0; j < seen_by(before, b, i); j++)
        cr_expect(sees(behind, b, i, key_at(before, b, j)) == !(is_there && j == key),
                  "%s without key %d: key %d, query %d of sequence %d", before->p->id, (int)key, (int)j, (int)i,
                  (int)b);
}

static void check_key(const inputs *before, int64_t key)
{
    void *data[MAX_ROWS];
    alteration a;
    cr_assert(alteration_of_key(before->p, before->data, key, &a));
    memcpy(data, before->data, (size_t)before->p->tensors * sizeof *data);
    for (int k = 0; k < a.changed; k++) data[a.tensor[k]] = a.data[k];
    inputs const behind = {before->p, data};
    for (int64_t b = 0; b < problem_size(before->p, "batch"); b++)
        for (int64_t i = 0; i < problem_size(before->p, "s_q"); i++) check_query(before, &behind, b, i, key);
    alteration_close(&a);
}

Test(alteration, queries_see_all_keys_but_one)
{
    static const char *const ids[] = {"mla_decode@odd", "mla_decode@odd:s_q=1,kv_cache=u8",
                                      "mla_decode@odd:kv_lens=0+1+2+37,s_q=2,kv_cache=f8_e4m3"};
    for (size_t k = 0; k < sizeof ids / sizeof *ids; k++) {
        complaint why;
        problem p;
        void **data;
        cr_assert(problem_parse(ids[k], &p, &why) && tensors_open(&p, &data), "%s", why.text);
        inputs const in = {&p, data};
        int64_t const keys = alteration_keys(&p, data);
        cr_assert(keys > 1);
        for (int64_t key = 0; key < keys; key++) check_key(&in, key);
        tensors_close(&p, data);
        problem_close(&p);
    }
}

Test(alteration, other_ops_have_no_keys)
{
    complaint why;
    problem p;
    cr_assert(problem_parse("linear@odd", &p, &why));
    cr_expect_eq(alteration_keys(&p, NULL), 0);
    problem_close(&p);
}
