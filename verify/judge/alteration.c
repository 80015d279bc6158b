/* See alteration.h. */
#include "alteration.h"

#include "ref.h"

#include <stdio.h>
#include <stdlib.h>

enum { BLOCK = 128, MOST_NAMED = 16 };

/* The tensor's own numbers, to be changed. NULL: no memory. */
static void *copy_of(const problem *p, void *const data[], const char *tensor, alteration *out)
{
    const tensor_info *const t = problem_tensor(p, tensor);
    void *const copy = malloc(t->bytes + 1);
    if (!copy) return NULL;
    memcpy(copy, data[t - p->tensor], t->bytes);
    out->tensor[out->changed] = (int)(t - p->tensor);
    out->data[out->changed++] = copy;
    return copy;
}

/* ---- linear: features that are left out ---- */

static bool drop_features(const problem *p, void *const data[], int64_t from, int64_t to, alteration *out)
{
    void *const copy = from < 0 || from >= to ? NULL : copy_of(p, data, "x", out);
    const tensor_info *const x = problem_tensor(p, "x");
    if (!copy) return false;
    int64_t const width = x->shape[x->ndim - 1];
    for (int64_t i = 0; i < x->count; i++)
        if (i % width >= from && i % width < to) ref_encode(x->dtype, copy, i, 0);
    return true;
}

static bool features(const problem *p, void *const data[], int i, alteration *out)
{
    static const char *const names[] = {"the last feature dropped", "the first feature dropped",
                                        "the last block dropped"};
    int64_t const n = (int64_t)problem_size(p, "in_features");
    int64_t const from[] = {n - 1, 0, n > BLOCK ? (n - 1) / BLOCK * BLOCK : -1}, to[] = {n, 1, n};
    if (i >= 3 || !drop_features(p, data, from[i], to[i], out)) return false;
    snprintf(out->name, sizeof out->name, "%s", names[i]);
    return true;
}

/* ---- mla_decode: a key is left out ---- */

static bool last_key(const problem *p, void *const data[], int i, alteration *out)
{
    int32_t *const length = i > 0 ? NULL : copy_of(p, data, "cache_seqlens", out);
    int32_t const queries = (int32_t)problem_size(p, "s_q");
    if (!length) return false;
    for (int64_t b = 0; b < problem_size(p, "batch"); b++) length[b] -= length[b] > queries;
    snprintf(out->name, sizeof out->name, "the last key dropped");
    return true;
}

static const void *numbers_of(const problem *p, void *const data[], const char *tensor)
{
    return data[problem_tensor(p, tensor) - p->tensor];
}

/* Of a sequence: keys that all its queries see. */
static int64_t seen_by_all(const problem *p, const int32_t *length, int64_t b)
{
    return length[b] - problem_size(p, "s_q") + 1;
}

int64_t alteration_keys(const problem *p, void *const data[])
{
    int64_t most = 0;
    if (strcmp(p->op->name, "mla_decode")) return 0;
    const int32_t *const length = numbers_of(p, data, "cache_seqlens");
    for (int64_t b = 0; b < problem_size(p, "batch"); b++) {
        int64_t const seen = seen_by_all(p, length, b);
        if (seen > most) most = seen;
    }
    return most > 1 ? most : 0; /* the only one has none to take its place */
}

/* A cache, in bytes, and where its rows are. */
typedef struct {
    unsigned char *cache;
    const int32_t *table; /* of a sequence */
    int64_t page_size;
    size_t row;
} cached_keys;

static unsigned char *key_at(const cached_keys *k, int64_t j)
{
    return k->cache + (size_t)(k->table[j / k->page_size] * k->page_size + j % k->page_size) * k->row;
}

/* The last key that all queries see takes its place, and those behind that one move up. */
static void drop_key(const cached_keys *k, int64_t key, int64_t last, int64_t n)
{
    memmove(key_at(k, key), key_at(k, last), k->row);
    for (int64_t j = last; j + 1 < n; j++) memcpy(key_at(k, j), key_at(k, j + 1), k->row);
}

bool alteration_of_key(const problem *p, void *const data[], int64_t key, alteration *out)
{
    const tensor_info *const t = problem_tensor(p, "kv_cache");
    *out = (alteration){.share = 1};
    unsigned char *const cache = copy_of(p, data, "kv_cache", out);
    int32_t *const length = cache ? copy_of(p, data, "cache_seqlens", out) : NULL;
    const int32_t *const table = numbers_of(p, data, "block_table");
    if (!length) return alteration_close(out), false;
    for (int64_t b = 0; b < problem_size(p, "batch"); b++) {
        int64_t const last = seen_by_all(p, length, b) - 1;
        if (last < 1 || key > last) continue;
        cached_keys const keys = {cache, table + b * problem_size(p, "table_width"), t->shape[1],
                                  t->bytes / (size_t)(t->shape[0] * t->shape[1])};
        drop_key(&keys, key, last, length[b]--);
    }
    snprintf(out->name, sizeof out->name, "key %lld dropped", (long long)key);
    return true;
}

/* ---- experts: the weight of one ---- */

/* The n-th expert that tokens chose, in the order in which they did; -1: there are fewer. */
static int32_t expert_of(const int32_t *idx, int64_t slots, int n)
{
    for (int64_t i = 0; i < slots; i++) {
        bool known = false;
        for (int64_t k = 0; k < i; k++) known |= idx[k] == idx[i];
        if (!known && n-- == 0) return idx[i];
    }
    return -1;
}

static bool experts(const problem *p, void *const data[], int i, alteration *out)
{
    const tensor_info *const chosen = problem_tensor(p, "topk_idx");
    const int32_t *const idx = data[chosen - p->tensor];
    int32_t const expert = i < MOST_NAMED ? expert_of(idx, chosen->count, i) : -1;
    float *const weight = expert < 0 ? NULL : copy_of(p, data, "topk_weight", out);
    if (!weight) return false;
    for (int64_t k = 0; k < chosen->count; k++)
        if (idx[k] == expert) weight[k] *= 1 + 0x1p-10f;
    out->share = 0x1p-10;
    snprintf(out->name, sizeof out->name, "weight of expert %d", (int)expert);
    return true;
}

bool alteration_of(const problem *p, void *const data[], int i, alteration *out)
{
    *out = (alteration){.share = 1};
    if (!strcmp(p->op->name, "linear")) return features(p, data, i, out);
    if (!strcmp(p->op->name, "mla_decode")) return last_key(p, data, i, out);
    if (!strcmp(p->op->name, "experts")) return experts(p, data, i, out);
    return false;
}

void alteration_close(alteration *a)
{
    for (int k = 0; k < a->changed; k++) free(a->data[k]);
    a->changed = 0;
}
