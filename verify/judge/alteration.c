/* See alteration.h. */
#include "alteration.h"

#include "ref.h"

#include <stdio.h>
#include <stdlib.h>

enum { BLOCK = 128, MOST_NAMED = 16 };

/* The tensor's own numbers, to be changed. */
static bool copy_of(const problem *p, void *const data[], const char *tensor, alteration *out)
{
    const tensor_info *const t = problem_tensor(p, tensor);
    out->share = 1;
    out->tensor = (int)(t - p->tensor);
    out->data = malloc(t->bytes + 1);
    if (out->data) memcpy(out->data, data[out->tensor], t->bytes);
    return out->data != NULL;
}

/* ---- linear: features that are left out ---- */

static bool drop_features(const problem *p, void *const data[], int64_t from, int64_t to, alteration *out)
{
    if (from < 0 || from >= to || !copy_of(p, data, "x", out)) return false;
    const tensor_info *const x = &p->tensor[out->tensor];
    int64_t const width = x->shape[x->ndim - 1];
    for (int64_t i = 0; i < x->count; i++)
        if (i % width >= from && i % width < to) ref_encode(x->dtype, out->data, i, 0);
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

/* ---- mla_decode: the last key is left out ---- */

static bool keys(const problem *p, void *const data[], int i, alteration *out)
{
    if (i > 0 || !copy_of(p, data, "cache_seqlens", out)) return false;
    int32_t *const length = out->data;
    int32_t const queries = (int32_t)problem_size(p, "s_q");
    for (int64_t b = 0; b < p->tensor[out->tensor].count; b++) length[b] -= length[b] > queries;
    snprintf(out->name, sizeof out->name, "the last key dropped");
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
    if (expert < 0 || !copy_of(p, data, "topk_weight", out)) return false;
    float *const weight = out->data;
    for (int64_t k = 0; k < chosen->count; k++)
        if (idx[k] == expert) weight[k] *= 1 + 0x1p-10f;
    out->share = 0x1p-10;
    snprintf(out->name, sizeof out->name, "weight of expert %d", (int)expert);
    return true;
}

bool alteration_of(const problem *p, void *const data[], int i, alteration *out)
{
    if (!strcmp(p->op->name, "linear")) return features(p, data, i, out);
    if (!strcmp(p->op->name, "mla_decode")) return keys(p, data, i, out);
    if (!strcmp(p->op->name, "experts")) return experts(p, data, i, out);
    return false;
}
