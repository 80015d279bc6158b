/* See rotation.h. */
#include "rotation.h"

#include "cache.h"
#include "case/fill.h"
#include "port/process.h"
#include "timing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_rotated(const tensor_info *t)
{
    return t->row->kind != TENSOR_OUT && t->bytes >= 4096;
}

/* Memory at a multiple of 64, as frameworks give it. Lazy ones are filled anew. */
static void *copy_of(const problem *p, int i, const void *data)
{
    size_t const bytes = p->tensor[i].bytes;
    if (tensor_is_lazy(p, i)) return tensor_open(p, i);
    void *const copy = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (copy) memcpy(copy, data, bytes);
    return copy;
}

/* One copy; what isn't rotated is that of the first. */
static bool add_copy(rotation *r, void *const filled[])
{
    void **const copy = r->data[r->copies] = calloc((size_t)r->p->tensors + 1, sizeof *copy);
    for (int i = 0; copy && i < r->p->tensors; i++) {
        bool const shared = r->copies > 0 && !is_rotated(&r->p->tensor[i]);
        copy[i] = shared ? r->data[0][i] : copy_of(r->p, i, filled[i]);
        if (!copy[i]) return false;
    }
    void *const io = r->io[r->copies] = copy ? problem_bind(r->p, copy) : NULL;
    if (io) problem_lay_over(r->p, io);
    return io && ++r->copies;
}

static bool open_copies(rotation *r, const problem *p, int wanted)
{
    void **filled;
    *r = (rotation){.p = p};
    bool good = tensors_open(p, &filled);
    while (good && r->copies < wanted) good = add_copy(r, filled);
    tensors_close(p, filled);
    return good;
}

size_t rotated_bytes(void)
{
    static size_t bytes; /* asked once: memory that is free now is not later */
    if (!bytes) bytes = uncached_bytes(1);
    return bytes;
}

/* Bytes of a tensor that a call reads: of lazy ones, what one token chooses. */
static size_t least_read(const problem *p, int i)
{
    size_t const bytes = p->tensor[i].bytes;
    if (!tensor_is_lazy(p, i)) return bytes;
    return bytes * (size_t)problem_size(p, "num_experts_per_tok") / (size_t)problem_size(p, "n_routed_experts");
}

bool rotation_open(rotation *r, const problem *p)
{
    size_t bytes = 0;
    for (int i = 0; i < p->tensors; i++) bytes += is_rotated(&p->tensor[i]) ? least_read(p, i) : 0;
    return open_copies(r, p, bytes ? (int)fmin((double)(rotated_bytes() / bytes) + 1, MOST_COPIES) : 1);
}

bool rotation_open_once(rotation *r, const problem *p)
{
    return open_copies(r, p, 1);
}

void rotation_close(rotation *r)
{
    for (int c = r->copies; c-- > 0;) {
        for (int i = 0; i < r->p->tensors; i++)
            if (!c || is_rotated(&r->p->tensor[i])) tensor_close(r->p, i, r->data[c][i]);
        free(r->io[c]);
        free(r->data[c]);
    }
}

double rotation_call(rotation *r, const loaded_port *port, int64_t n)
{
    double const from = now();
    for (int64_t i = 0; i < n; i++, r->at++) {
        op_call(r->p->op, &port->table, port->ctx, r->p->prob.bytes, r->io[r->at % r->copies]);
        if (port->table.sync) port->table.sync(port->ctx);
    }
    return now() - from;
}

bool has_experts(const problem *p)
{
    for (int i = 0; i < p->tensors; i++)
        if (p->tensor[i].row->repeat) return true;
    return false;
}

double rotation_first(rotation *r, const loaded_port *port)
{
    double seconds[MOST_COPIES];
    for (int c = 0; c < r->copies; c++) seconds[c] = rotation_call(r, port, 1);
    sort_values(seconds, r->copies);
    return seconds[r->copies / 2];
}

int64_t rotation_calls(rotation *r, const loaded_port *port, double seconds)
{
    if (has_experts(r->p)) rotation_first(r, port);
    rotation_call(r, port, 1);
    double const once = rotation_call(r, port, 1);
    return (int64_t)fmax(1, fmin(seconds / once, 1e6));
}

double const sample_seconds = 0.04;

void rotation_samples(rotation *r, const loaded_port *port, double seconds[SAMPLES])
{
    int64_t const n = rotation_calls(r, port, sample_seconds);
    rotation_call(r, port, n);
    for (int i = 0; i < SAMPLES; i++) seconds[i] = rotation_call(r, port, n) / (double)n;
    sort_values(seconds, SAMPLES);
}

double rotation_prepare(const rotation *r, const loaded_port *port)
{
    double seconds[MOST_COPIES];
    for (int c = 0; c < r->copies; c++) {
        double const from = now();
        if (port->table.prepare(port->ctx, r->p->op->name, r->p->prob.bytes, r->io[c]) != DSV3_OK) return -1;
        if (port->table.sync) port->table.sync(port->ctx);
        seconds[c] = now() - from;
    }
    sort_values(seconds, r->copies);
    return seconds[r->copies / 2];
}

void rotation_unprepare(const rotation *r, const loaded_port *port)
{
    for (int c = 0; c < r->copies; c++) port->table.unprepare(port->ctx, r->p->op->name, r->p->prob.bytes, r->io[c]);
}
