/* See caller.h. */
#include "caller.h"

#include "ref.h"

#include <stdlib.h>

/* clang-format off */
#define OPS_OF_TRAINING(OP) \
    OP(embed) OP(rmsnorm) OP(linear) OP(rope) OP(mla_prefill) OP(swiglu) OP(gate) OP(experts) OP(cross_entropy) \
    OP(balance_loss) OP(bias_update) \
    OP(embed_backward) OP(rmsnorm_backward) OP(linear_backward) OP(rope_backward) OP(mla_prefill_backward) \
    OP(swiglu_backward) OP(gate_backward) OP(experts_backward) OP(cross_entropy_backward) OP(balance_loss_backward)
/* clang-format on */

void called(caller *c, const char *op, dsv3_status status)
{
    static const char *const words[] = {"ok", "it does not do this problem", "it calls the problem invalid",
                                        "it has no memory left", "it failed"};
    if (status == DSV3_OK) return;
    c->good = refuse(c->why, "%s: %s", op, (unsigned)status < 5 ? words[status] : "it answers no known status");
}

bool open_port(const char *name, const char *purpose, backend *b, loaded_port *port, complaint *why)
{
    answer a = {0};
    if (!backend_resolve(name, b, why)) return false;
    if (b->kind == BACKEND_PROGRAM) return refuse(why, "--backend=%s: %s wants a port in C", name, purpose);
    if (*b->absent) return refuse(why, "--backend=%s: %s", name, b->absent);
    return load_port(b, port, &a) || refuse(why, "--backend=%s: %s", name, a.why);
}

bool can_train(const loaded_port *port, const char *name, complaint *why)
{
#define OP(op)                                                                                                         \
    if (!port->table.op) return refuse(why, "%s has no %s, which training calls", name, #op);
    OPS_OF_TRAINING(OP)
#undef OP
    if (port->table.alloc || port->table.sync)
        return refuse(why, "%s works in memory of its own or later: training calls ports on host memory", name);
    return true;
}

/* ---- tensors ---- */

dsv3_tensor rows_at(float *data, int64_t rows, int64_t width)
{
    return (dsv3_tensor){data, DSV3_F32, 2, {rows, width}, {width, 1}};
}

dsv3_tensor list_at(int32_t *data, int64_t n)
{
    return (dsv3_tensor){data, DSV3_I32, 1, {n}, {1}};
}

static void *element_of(const dsv3_tensor *t, int64_t offset)
{
    return (char *)t->data + offset * (int64_t)ref_dtype_size(t->dtype);
}

dsv3_tensor columns_of(dsv3_tensor rows, int64_t first, int64_t width)
{
    rows.data = element_of(&rows, first);
    rows.shape[1] = width;
    return rows;
}

dsv3_tensor rows_from(dsv3_tensor rows, int64_t first, int64_t n)
{
    rows.data = element_of(&rows, first * rows.stride[0]);
    rows.shape[0] = n;
    return rows;
}

dsv3_tensor heads_of(dsv3_tensor rows, int64_t heads)
{
    int64_t const width = rows.shape[1] / heads;
    return (dsv3_tensor){rows.data, rows.dtype, 3, {rows.shape[0], heads, width}, {rows.stride[0], width, 1}};
}

dsv3_tensor part_of_heads(dsv3_tensor heads, int64_t first, int64_t width)
{
    heads.data = element_of(&heads, first);
    heads.shape[2] = width;
    return heads;
}

/* The same with three axes. */
static dsv3_tensor in_three(dsv3_tensor t)
{
    if (t.ndim == 3) return t;
    return (dsv3_tensor){t.data, t.dtype, 3, {t.shape[0], 1, t.shape[1]}, {t.stride[0], 0, 1}};
}

static void copy_run(dsv3_dtype format, void *to, const void *from, int64_t n)
{
    memcpy(to, from, (size_t)n * ref_dtype_size(format));
}

static void add_run(dsv3_dtype format, void *to, const void *from, int64_t n)
{
    float *const a = to;
    const float *const b = from;
    if (format == DSV3_F32)
        for (int64_t c = 0; c < n; c++) a[c] += b[c];
    else
        for (int64_t c = 0; c < n; c++)
            ref_encode(format, to, c, ref_decode(format, to, c) + ref_decode(format, from, c));
}

static void combine(dsv3_tensor to, dsv3_tensor from, void (*run)(dsv3_dtype, void *, const void *, int64_t))
{
    to = in_three(to), from = in_three(from);
    for (int64_t i = 0; i < to.shape[0]; i++)
        for (int64_t j = 0; j < to.shape[1]; j++)
            run(to.dtype, element_of(&to, i * to.stride[0] + j * to.stride[1]),
                element_of(&from, i * from.stride[0] + j * from.stride[1]), to.shape[2]);
}

void copy_values(dsv3_tensor to, dsv3_tensor from)
{
    combine(to, from, copy_run);
}

void add_values(dsv3_tensor to, dsv3_tensor from)
{
    combine(to, from, add_run);
}

/* ---- memory ---- */

void *room_take(room *r, int64_t n, size_t size)
{
    size_t const bytes = ((size_t)n * size + 64) / 64 * 64;
    void **const more = realloc(r->piece, ((size_t)r->count + 1) * sizeof *more);
    if (more) r->piece = more;
    void *const piece = more ? aligned_alloc(64, bytes) : NULL;
    if (!piece) return r->short_of = true, NULL;
    memset(piece, 0, bytes);
    return r->piece[r->count++] = piece;
}

dsv3_tensor room_values(room *r, dsv3_dtype format, int64_t rows, int64_t width)
{
    void *const data = room_take(r, rows * width, ref_dtype_size(format));
    return (dsv3_tensor){data, format, 2, {rows, width}, {width, 1}};
}

dsv3_tensor room_rows(room *r, int64_t rows, int64_t width)
{
    return room_values(r, DSV3_F32, rows, width);
}

void room_close(room *r)
{
    while (r->count) free(r->piece[--r->count]);
    free(r->piece);
    r->piece = NULL;
}
