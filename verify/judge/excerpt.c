/* See excerpt.h. */
#include "excerpt.h"

#include "element.h"

#include <math.h>
#include <stdlib.h>

/* ---- what stands for itself ---- */

/* An axis of which every `unit` indices stand for themselves; `blocks` is the axis of those units, NULL: there is none. Of other ops
 * none does: a gradient of weights is a sum over tokens, a mean has a divisor of all labels, a block's output sums over its heads. */
typedef struct {
    const char *op, *size;
    int64_t unit;
    const char *blocks;
} axis_row;

static const axis_row axes[] = {
    {"rmsnorm", "n_tokens", 1, NULL},
    {"linear", "n_tokens", 1, NULL},
    {"linear", "out_features", 128, "out_blocks"},
    {"rope", "n_tokens", 1, NULL},
    {"rope", "num_heads", 1, NULL},
    {"gate", "n_tokens", 1, NULL},
    {"mla_decode", "batch", 1, NULL},
    {"mla_decode", "num_attention_heads", 1, NULL},
    {"mla_prefill", "num_attention_heads", 1, NULL},
    {"mla_prefill_backward", "num_attention_heads", 1, NULL},
    {"linear_backward", "in_features", 1, NULL},
    {"embed_backward", "hidden_size", 1, NULL},
    {"swiglu", "n_tokens", 1, NULL},
    {"swiglu", "intermediate_size", 1, NULL},
    {"gate_backward", "n_tokens", 1, NULL},
    {"rope_backward", "n_tokens", 1, NULL},
    {"swiglu_backward", "n_tokens", 1, NULL},
    {"swiglu_backward", "intermediate_size", 1, NULL},
    {"embed", "n_tokens", 1, NULL},
    {"quant", "n_tokens", 1, NULL},
    {"quant", "in_features", 128, "tiles"},
    {"experts", "n_tokens", 1, NULL},
    {"moe", "n_tokens", 1, NULL},
    {"mtp_accept", "batch", 1, NULL},
};
enum { AXES = sizeof axes / sizeof *axes, MOST_AXES = 2 };

bool excerpt_misleads(int quirk)
{
    static int const mixing[] = {QUIRK_F1_partial_block,      QUIRK_F2_scale_transposed,
                                 QUIRK_F2_x_scale_transposed, QUIRK_F16_scales_exchanged,
                                 QUIRK_E9_last_token_dropped, QUIRK_F16_act_scale_of_first_row};
    for (size_t i = 0; i < sizeof mixing / sizeof *mixing; i++)
        if (mixing[i] == quirk) return true;
    return false;
}

/* The units of an axis that are kept, in their order. */
typedef struct {
    const axis_row *row;
    int64_t size; /* of the axis in the whole */
    int64_t kept, *unit;
} axis_part;

typedef struct {
    int count;
    axis_part axis[MOST_AXES];
} selection;

static int64_t units_of(const axis_part *a)
{
    return (a->size + a->row->unit - 1) / a->row->unit;
}

/* Nothing is kept yet. False: no memory, or the op has no such axis. */
static bool selection_open(const problem *p, selection *s)
{
    *s = (selection){.count = 0};
    for (int i = 0; i < AXES; i++) {
        if (strcmp(axes[i].op, p->op->name)) continue;
        axis_part *const a = &s->axis[s->count++];
        *a = (axis_part){.row = &axes[i], .size = problem_size(p, axes[i].size)};
        a->unit = calloc((size_t)units_of(a), sizeof *a->unit);
        if (!a->unit) return false;
    }
    return s->count > 0;
}

static void selection_close(selection *s)
{
    for (int i = 0; i < s->count; i++) free(s->axis[i].unit);
}

static void keep_unit(axis_part *a, int64_t unit)
{
    int64_t at = a->kept;
    while (at > 0 && a->unit[at - 1] > unit) at--;
    if (at > 0 && a->unit[at - 1] == unit) return;
    memmove(&a->unit[at + 1], &a->unit[at], (size_t)(a->kept - at) * sizeof *a->unit);
    a->unit[at] = unit;
    a->kept++;
}

/* Indices that are kept, in units of the axis or in whole units. */
static int64_t kept_indices(const axis_part *a, bool blocks)
{
    if (blocks || a->kept == 0) return a->kept;
    int64_t const last = (a->unit[a->kept - 1] + 1) * a->row->unit;
    return a->kept * a->row->unit - (last > a->size ? last - a->size : 0);
}

/* The index in the whole of index i of the excerpt. */
static int64_t index_in_whole(const axis_part *a, bool blocks, int64_t i)
{
    return blocks ? a->unit[i] : a->unit[i / a->row->unit] * a->row->unit + i % a->row->unit;
}

/* ---- tensors ---- */

/* The axis that word d of a tensor's shape is; NULL: it is kept whole. */
static const axis_part *axis_of(const tensor_info *t, int d, const selection *s, bool *blocks)
{
    const char *word = t->row->shape;
    for (int i = 0; i < d; i++) word += strcspn(word, " ") + 1;
    size_t const length = strcspn(word, " ");
    for (int i = 0; i < s->count; i++) {
        const axis_row *const row = s->axis[i].row;
        *blocks = row->blocks && strlen(row->blocks) == length && !strncmp(word, row->blocks, length);
        if (*blocks || (strlen(row->size) == length && !strncmp(word, row->size, length))) return &s->axis[i];
    }
    return NULL;
}

static tensor_info shrink(const tensor_info *whole, const selection *s, bool *smaller)
{
    tensor_info t = *whole;
    t.first = t.wide = 0;
    t.count = 1;
    *smaller = false;
    for (int d = 0; d < t.ndim; d++) {
        bool blocks;
        const axis_part *const a = axis_of(whole, d, s, &blocks);
        if (a) t.shape[d] = kept_indices(a, blocks);
        *smaller |= t.shape[d] != whole->shape[d];
        t.count *= t.shape[d];
    }
    t.bytes = (size_t)t.count * ref_dtype_size(t.dtype);
    return t;
}

/* The element of the whole tensor that element k of the excerpt is. */
static int64_t element_in_whole(const tensor_info *whole, const tensor_info *t, const selection *s, int64_t k)
{
    int64_t at = 0, stride = 1;
    for (int d = t->ndim - 1; d >= 0; d--) {
        bool blocks;
        const axis_part *const a = axis_of(whole, d, s, &blocks);
        int64_t const i = k % t->shape[d];
        at += stride * (a ? index_in_whole(a, blocks, i) : i);
        stride *= whole->shape[d];
        k /= t->shape[d];
    }
    return at;
}

/* The rows of an excerpt, from an array with an element of `size` bytes for each of the tensor. NULL: no memory. */
static void *gather(const tensor_info *whole, const tensor_info *t, const selection *s, const void *from, size_t size)
{
    char *const to = malloc((size_t)t->count * size + 1);
    int64_t const run = t->ndim > 0 && t->shape[t->ndim - 1] == whole->shape[t->ndim - 1] ? t->shape[t->ndim - 1] : 1;
    for (int64_t k = 0; to && k < t->count; k += run)
        memcpy(to + (size_t)k * size, (const char *)from + (size_t)element_in_whole(whole, t, s, k) * size,
               (size_t)run * size);
    return to;
}

/* ---- the excerpt ---- */

static void set_sizes(problem *p, const selection *s)
{
    for (int i = 0; i < s->count; i++) {
        int64_t const size = kept_indices(&s->axis[i], false);
        memcpy(p->prob.bytes + op_field(p->op, s->axis[i].row->size)->offset, &size, sizeof size);
    }
}

/* False: no memory. */
static bool take_tensor(const problem *p, const enclosures *legal, void *const data[], const selection *s, int i,
                        excerpt *out)
{
    const tensor_info *const whole = &p->tensor[i];
    tensor_info *const t = &out->p.tensor[i];
    *t = shrink(whole, s, &out->copied[i]);
    out->data[i] = data[i];
    out->legal.value[i] = legal->value[i];
    if (!out->copied[i]) return true;
    out->data[i] = gather(whole, t, s, data[i], ref_dtype_size(t->dtype));
    if (legal->value[i]) out->legal.value[i] = gather(whole, t, s, legal->value[i], sizeof(ref_value));
    return out->data[i] && (!legal->value[i] || out->legal.value[i]);
}

static double share_of(const problem *p, const excerpt *s)
{
    double whole = 0, here = 0;
    for (int i = 0; i < p->tensors; i++) {
        if (p->tensor[i].row->kind != TENSOR_OUT) continue;
        whole += (double)p->tensor[i].count;
        here += (double)s->p.tensor[i].count;
    }
    return here / whole;
}

static bool excerpt_open(const problem *p, const enclosures *legal, void *const data[], const selection *s,
                         excerpt *out)
{
    size_t const n = (size_t)p->tensors;
    *out = (excerpt){.p = *p, .data = calloc(n, sizeof *out->data), .copied = calloc(n, sizeof *out->copied)};
    out->legal = (enclosures){.value = calloc(n, sizeof *out->legal.value), .tensors = p->tensors};
    out->p.tensor = calloc(n, sizeof *out->p.tensor);
    bool good = out->data && out->copied && out->legal.value && out->p.tensor;
    for (int i = 0; good && i < p->tensors; i++) good = take_tensor(p, legal, data, s, i, out);
    if (good) {
        set_sizes(&out->p, s);
        out->share = share_of(p, out);
        if (out->share < 1) return true;
    }
    excerpt_close(out);
    return false;
}

void excerpt_close(excerpt *s)
{
    for (int i = 0; s->copied && i < s->p.tensors; i++) {
        if (!s->copied[i]) continue;
        if (s->data) free(s->data[i]);
        if (s->legal.value) free(s->legal.value[i]);
    }
    free(s->data);
    free(s->copied);
    free(s->legal.value);
    free(s->p.tensor);
}

/* Keeps what element k of tensor t lies in; an axis that the tensor lacks keeps its first unit. */
static void keep_element(const tensor_info *t, int64_t k, selection *s)
{
    for (int d = t->ndim - 1; d >= 0; k /= t->shape[d--]) {
        bool blocks;
        axis_part *const a = (axis_part *)(uintptr_t)axis_of(t, d, s, &blocks);
        if (a) keep_unit(a, k % t->shape[d] / (blocks ? 1 : a->row->unit));
    }
}

static void keep_something(selection *s)
{
    for (int i = 0; i < s->count; i++)
        if (!s->axis[i].kept) keep_unit(&s->axis[i], 0);
}

bool excerpt_at(const problem *p, const enclosures *legal, void *const data[], int t, int64_t k, excerpt *out)
{
    selection s;
    bool good = selection_open(p, &s);
    if (good) {
        keep_element(&p->tensor[t], k, &s);
        keep_something(&s);
        good = excerpt_open(p, legal, data, &s, out);
    }
    selection_close(&s);
    return good;
}

/* So many units of an axis, from its first to its last. Returns which share of it that is. */
static double keep_spread(axis_part *a, double share)
{
    int64_t const units = units_of(a), n = (int64_t)fmax(1, floor(share * (double)units + 1e-9));
    for (int64_t i = 0; i < n; i++) keep_unit(a, n > 1 ? i * (units - 1) / (n - 1) : 0);
    return (double)a->kept / (double)units;
}

bool excerpt_spread(const problem *p, const enclosures *legal, void *const data[], double share, excerpt *out)
{
    selection s;
    bool good = selection_open(p, &s);
    for (int i = 0; good && i < s.count; i++) share = fmin(share / keep_spread(&s.axis[i], share), 1);
    good = good && excerpt_open(p, legal, data, &s, out);
    selection_close(&s);
    return good;
}

static bool fails(const problem *p, const enclosures *legal, void *const data[], int i, int64_t k)
{
    element const e = element_of(legal->value[i], legal->value[i], k);
    return !is_legal(&e, ref_decode(p->tensor[i].dtype, data[i], k));
}

static double kept_share(const selection *s)
{
    double share = 1;
    for (int i = 0; i < s->count; i++) share *= (double)kept_indices(&s->axis[i], false) / (double)s->axis[i].size;
    return share;
}

/* Elements of every output that are not legal, from its first on in steps that double, until there are enough. */
static void keep_failing(const problem *p, const enclosures *legal, void *const data[], double most, selection *s)
{
    for (int i = 0; i < p->tensors; i++) {
        int64_t step = 1;
        for (int64_t k = 0; legal->value[i] && k < p->tensor[i].count; k++) {
            if (!fails(p, legal, data, i, k)) continue;
            if (step > 1 && kept_share(s) >= most) break;
            keep_element(&p->tensor[i], k, s);
            k += step - 1;
            step *= 2;
        }
    }
    keep_something(s);
}

bool excerpt_failing(const problem *p, const enclosures *legal, void *const data[], int fraction, excerpt *out)
{
    selection s;
    bool good = selection_open(p, &s);
    if (good) {
        keep_failing(p, legal, data, 1.0 / fraction, &s);
        good = excerpt_open(p, legal, data, &s, out);
    }
    selection_close(&s);
    return good;
}
