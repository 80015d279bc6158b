/* See trial.h. */
#include "trial.h"

#include "fault.h"
#include "fpenv.h"
#include "own_locale.h"
#include "process.h"
#include "twin.h"

#include <stdio.h>
#include <stdlib.h>

static const unsigned char poison[2] = {0xa5, 0x5a}; /* by run */

static bool is_output(const trial *t, int i)
{
    return t->p->tensor[i].row->kind == TENSOR_OUT;
}

static bool fail(trial *t, port_outcome outcome, const char *why)
{
    answer_set(t->a, outcome, why);
    return false;
}

/* ---- memory ---- */

bool trial_open(trial *t, const problem *p)
{
    size_t const n = (size_t)p->tensors + 1; /* calloc may give NULL for none */
    *t = (trial){.p = p, .input = calloc(n, sizeof *t->input), .bound = calloc(n, sizeof *t->bound)};
    for (int run = 0; run < 2; run++) t->written[run] = calloc(n, sizeof *t->written[run]);
    bool good = t->input && t->bound && t->written[0] && t->written[1];
    for (int i = 0; good && i < p->tensors; i++) {
        size_t const bytes = p->tensor[i].bytes;
        if (!is_output(t, i))
            good = (t->input[i] = malloc(bytes)) != NULL;
        else
            good = (t->written[0][i] = malloc(bytes)) && (t->written[1][i] = malloc(bytes));
    }
    return good;
}

static void free_each(void **data, int count)
{
    for (int i = 0; data && i < count; i++) free(data[i]);
    free(data);
}

void trial_close(trial *t)
{
    free_each(t->input, t->p->tensors);
    free_each(t->written[0], t->p->tensors);
    free_each(t->written[1], t->p->tensors);
    free(t->bound);
}

/* ---- the port's code is called ---- */

/* False: its text is too long. */
static bool declare(trial *t)
{
    const dsv3_backend *const table = &t->port->table;
    char why[80];
    void *const io = problem_bind(t->p, NULL);
    const char *const text = table->numerics && io ? table->numerics(t->p->op->name, t->p->prob.bytes, io) : NULL;
    twin_end();
    own_locale();
    bool const fits = !text || strlen(text) < sizeof t->a->declared;
    if (fits) snprintf(t->a->declared, sizeof t->a->declared, "%s", text ? text : "");
    free(io);
    snprintf(why, sizeof why, "its declaration is longer than %d characters", REF_NUMERICS_CAP - 1);
    return fits || fail(t, PORT_REJECTED, why);
}

static bool call_op(trial *t, dsv3_status *status)
{
    const loaded_port *const port = t->port;
    void *const io = problem_bind(t->p, t->bound);
    if (!io) return fail(t, PORT_NOT_ASKED, "no memory for the tensors");
    double const from = now();
    *status = op_call(t->p->op, &port->table, port->ctx, t->p->prob.bytes, io);
    if (*status == DSV3_OK && port->table.sync) *status = port->table.sync(port->ctx);
    twin_end();
    t->a->seconds = now() - from;
    free(io);
    return true;
}

/* Copies every tensor to the device (get: outputs back). */
static bool copy_device(trial *t, bool get)
{
    const loaded_port *const port = t->port;
    for (int i = 0; i < t->p->tensors; i++) {
        const region *const r = &t->memory.item[i];
        dsv3_status const s = get ? port->table.get(port->ctx, r->data, t->bound[i], r->bytes)
                                  : port->table.put(port->ctx, t->bound[i], r->data, r->bytes);
        if (s != DSV3_OK)
            return fail(t, PORT_REJECTED, get ? "get returned an error status" : "put returned an error status");
    }
    return true;
}

/* Calls the op on the guarded memory, through device memory where the port has its own. */
static bool call_port(trial *t, dsv3_status *status)
{
    const dsv3_backend *const table = &t->port->table;
    bool const device = table->alloc && table->release && table->put && table->get;
    bool good = true;
    for (int i = 0; i < t->p->tensors; i++) {
        const region *const r = &t->memory.item[i];
        t->bound[i] = device ? table->alloc(t->port->ctx, r->bytes) : r->data;
        if (!t->bound[i]) good = fail(t, PORT_REJECTED, "alloc returned NULL");
    }
    if (good && device) good = copy_device(t, false);
    good = good && call_op(t, status);
    if (good && device && *status == DSV3_OK) good = copy_device(t, true);
    for (int i = 0; device && i < t->p->tensors; i++)
        if (t->bound[i]) table->release(t->port->ctx, t->bound[i]);
    return good;
}

/* ---- what else it did ---- */

/* UNSUPPORTED comes before anything is written. */
static bool check_refusal(trial *t, int run)
{
    char why[160];
    for (int i = 0; i < t->p->tensors; i++) {
        const region *const r = &t->memory.item[i];
        for (size_t k = 0; is_output(t, i) && k < r->bytes; k++) {
            if ((unsigned char)r->data[k] == poison[run]) continue;
            snprintf(why, sizeof why, "the port wrote to %s and then said UNSUPPORTED", r->name);
            return fail(t, PORT_REJECTED, why);
        }
    }
    answer_skip(t->a, SKIP_CASE, NULL);
    return false;
}

static const char *status_name(dsv3_status s)
{
    switch (s) {
    case DSV3_OK: return "OK";
    case DSV3_UNSUPPORTED: return "UNSUPPORTED";
    case DSV3_INVALID: return "INVALID";
    case DSV3_NO_MEMORY: return "NO_MEMORY";
    case DSV3_FAILED: return "FAILED";
    }
    return "of no known number";
}

static bool check_status(trial *t, int run, dsv3_status status)
{
    char why[160];
    if (status == DSV3_UNSUPPORTED && run)
        return fail(t, PORT_NONDET, "the second run on the same inputs is UNSUPPORTED");
    if (status == DSV3_UNSUPPORTED) return check_refusal(t, run);
    if (status == DSV3_OK) return true;
    snprintf(why, sizeof why, "the op returned status %s", status_name(status));
    return fail(t, PORT_REJECTED, why);
}

/* Does the declaration say ftz or daz, in so many words? One that can't be read is the judge's to refuse. */
static bool declares_flushing(const trial *t)
{
    char text[REF_NUMERICS_CAP], why[300];
    ref_numerics n;
    if (!ref_numerics_parse(t->p->op->name, t->a->declared, &n, why, sizeof why)) return true;
    ref_numerics_print(t->p->op->name, &n, false, text, sizeof text);
    return n.flush != REF_FLUSH_NONE && strstr(text, "flush");
}

/* Starting the port left floating-point control as it was, but for flushing that it declares. */
static bool check_start(trial *t)
{
    char why[160];
    unsigned const clean = t->port->clean, at_start = t->port->control;
    if (at_start == clean) return true;
    bool const flushing_alone = !((at_start ^ clean) & ~fpenv_flushing());
    if (flushing_alone && declares_flushing(t)) return true;
    fpenv_describe("loading the port", clean, at_start, why, sizeof why);
    return fail(t, PORT_FPENV, why);
}

static bool check_fpenv(trial *t, unsigned before, unsigned after)
{
    char why[160];
    if (after == before) return true;
    fpenv_describe("the port", before, after, why, sizeof why);
    return fail(t, PORT_FPENV, why);
}

static bool check_memory(trial *t)
{
    char why[160];
    const char *const damaged = arena_damage(&t->memory);
    if (damaged) {
        snprintf(why, sizeof why, "the port wrote beyond the ends of %s", damaged);
        return fail(t, PORT_CORRUPT, why);
    }
    for (int i = 0; i < t->p->tensors; i++) {
        const region *const r = &t->memory.item[i];
        if (is_output(t, i) || !memcmp(r->data, t->input[i], r->bytes)) continue;
        snprintf(why, sizeof why, "the port changed its input %s", r->name);
        return fail(t, PORT_CORRUPT, why);
    }
    return true;
}

/* ---- one run ---- */

static void lay_out(trial *t, int run)
{
    for (int i = 0; i < t->p->tensors; i++) {
        const region *const r = &t->memory.item[i];
        if (is_output(t, i))
            memset(r->data, poison[run], r->bytes);
        else
            memcpy(r->data, t->input[i], r->bytes);
    }
}

static void keep_outputs(trial *t, int run)
{
    for (int i = 0; i < t->p->tensors; i++)
        if (is_output(t, i)) memcpy(t->written[run][i], t->memory.item[i].data, t->memory.item[i].bytes);
}

/* Calls the port and checks what it left, whatever it did. False: that is the outcome. */
static bool call_and_check(trial *t, int run)
{
    dsv3_status status = DSV3_OK;
    fpenv_restore(t->port->control);
    bool const called = call_port(t, &status);
    unsigned const after = fpenv_control();
    fpenv_restore(t->port->clean);
    own_locale();
    return called && check_status(t, run, status) && check_fpenv(t, t->port->control, after) && check_memory(t);
}

/* In fresh memory that is guarded on one side, or the other. False: that is the outcome. */
static bool run_once(trial *t, int run)
{
    if (!arena_open(&t->memory, t->p, run ? GUARD_BEFORE : GUARD_BEHIND, t->port->table.align))
        return fail(t, PORT_NOT_ASKED, "no memory for the tensors");
    lay_out(t, run);
    fault_watch(&t->memory);
    bool const good = call_and_check(t, run);
    fault_watch(NULL);
    if (good) keep_outputs(t, run);
    arena_close(&t->memory);
    return good;
}

/* ---- both runs ---- */

/* Is element k of tensor i still as it was poisoned, in both runs? */
static bool still_poisoned(const trial *t, int i, int64_t k, size_t size)
{
    for (int run = 0; run < 2; run++)
        for (size_t b = 0; b < size; b++)
            if (((const unsigned char *)t->written[run][i])[(size_t)k * size + b] != poison[run]) return false;
    return true;
}

/* The runs differ in tensor i: elements were left as they were, or the port isn't deterministic. */
static bool explain_difference(trial *t, int i)
{
    char why[200];
    const tensor_info *const info = &t->p->tensor[i];
    size_t const size = ref_dtype_size(info->dtype);
    int64_t unwritten = 0, first = 0;
    for (int64_t k = info->count - 1; k >= 0; k--)
        if (still_poisoned(t, i, k, size)) unwritten++, first = k;
    if (unwritten)
        snprintf(why, sizeof why, "%lld of %lld elements of %s were not written, the first is %lld",
                 (long long)unwritten, (long long)info->count, info->name, (long long)first);
    else
        snprintf(why, sizeof why, "two runs on the same inputs differ in %s", info->name);
    return fail(t, unwritten ? PORT_UNWRITTEN : PORT_NONDET, why);
}

static bool compare_runs(trial *t)
{
    for (int i = 0; i < t->p->tensors; i++)
        if (is_output(t, i) && memcmp(t->written[0][i], t->written[1][i], t->p->tensor[i].bytes))
            return explain_difference(t, i);
    return true;
}

void trial_run(trial *t, const loaded_port *port, answer *a)
{
    t->port = port;
    t->a = a;
    fault_begin(a);
    if (!declare(t) || !check_start(t)) return;
    fault_begin(a);
    bool const good = run_once(t, 0) && run_once(t, 1) && compare_runs(t);
    if (twin_seen())
        fail(t, PORT_REJECTED, "the port forks, and both processes return");
    else if (good)
        answer_set(a, PORT_RAN, "");
}
