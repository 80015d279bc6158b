/* See trial.h. */
#include "trial.h"

#include "case/fill.h"
#include "case/without.h"
#include "fault.h"
#include "fpenv.h"
#include "own_locale.h"
#include "process.h"
#include "replay.h"
#include "rooms.h"
#include "settle.h"
#include "twin.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* By run: what an element of an output holds before. */
#define EIGHT(byte)                                                                                                    \
    {                                                                                                                  \
        byte, byte, byte, byte, byte, byte, byte, byte                                                                 \
    }
static const unsigned char poison[2][8] = {EIGHT(0xa5), EIGHT(0x5a)};

static bool is_output(const trial *t, int i)
{
    return t->p->tensor[i].row->kind == TENSOR_OUT;
}

/* What an output's memory holds before: of one that lies over an input, that. NULL: poison. */
static const void *laid_over(const trial *t, int i)
{
    const char *const over = t->p->tensor[i].row->over;
    return over ? t->input[t->first + (problem_tensor(t->p, over) - t->p->tensor)] : NULL;
}

/* Of a sequence it says which step. */
static bool fail(trial *t, port_outcome outcome, const char *why)
{
    char text[sizeof t->a->why];
    snprintf(text, sizeof text, "step %d of %d: %.480s", t->step + 1, t->whole->steps, why);
    answer_set(t->a, outcome, t->whole->steps ? text : why);
    return false;
}

static void take_step(trial *t, int step)
{
    t->p = problem_step(t->whole, step);
    t->step = step;
    t->first = step * t->p->tensors;
    fault_step(t->whole->steps ? step + 1 : 0, t->whole->steps);
}

/* ---- memory ---- */

static bool has_device(const loaded_port *port)
{
    const dsv3_backend *const table = &port->table;
    return table->alloc && table->release && table->put && table->get;
}

static bool is_lazy(const trial *t, int i)
{
    return t->on_demand && tensor_is_lazy(t->whole, i);
}

/* Its input, made when the port first touches it: it lies in memory that a signal handler can ask for. */
static bool make_input(trial *t, int i)
{
    const tensor_info *const info = &t->whole->tensor[i];
    void *const made = mmap(NULL, info->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) return false;
    fill_tensor(t->whole, info, made);
    t->input[i] = made;
    return true;
}

static void drop_input(const trial *t, int i)
{
    if (!is_lazy(t, i))
        free(t->input[i]);
    else if (t->input[i])
        munmap(t->input[i], t->whole->tensor[i].bytes);
}

/* When the port first touches a lazy tensor. */
static bool fill_touched(void *context, int i, void *room)
{
    trial *const t = context;
    if (!t->input[i] && !make_input(t, i)) return false;
    room_fill(&t->p->tensor[i], room, t->input[i]);
    return true;
}

bool trial_open(trial *t, const problem *p, const loaded_port *port, bool given)
{
    size_t const n = (size_t)p->tensors + 1; /* calloc may give NULL for none */
    *t = (trial){.whole = p, .p = p, .input = calloc(n, sizeof *t->input), .bound = calloc(n, sizeof *t->bound)};
    t->port = port;
    t->on_demand = !given && !has_device(port);
    for (int run = 0; run < 2; run++) t->written[run] = calloc(n, sizeof *t->written[run]);
    bool good = t->input && t->bound && t->written[0] && t->written[1];
    for (int i = 0; good && i < p->tensors; i++) {
        size_t const bytes = p->tensor[i].bytes;
        if (is_lazy(t, i)) continue;
        if (p->tensor[i].row->kind != TENSOR_OUT)
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
    for (int i = 0; t->input && i < t->whole->tensors; i++) drop_input(t, i);
    free(t->input);
    free_each(t->written[0], t->whole->tensors);
    free_each(t->written[1], t->whole->tensors);
    free(t->bound);
    fault_watch(NULL, 0);
    for (int run = 0; run < 2; run++) arena_close(&t->memory[run]);
}

/* ---- the port's code is called ---- */

/* False: its text is too long. */
static bool declare_step(trial *t)
{
    char *const declared = answer_declared(t->a, t->step);
    const dsv3_backend *const table = &t->port->table;
    char why[80];
    void *const io = problem_bind_rooms(t->p, NULL);
    const char *const text = table->numerics && io ? table->numerics(t->p->op->name, t->p->prob.bytes, io) : NULL;
    twin_end();
    own_locale();
    bool const fits = !text || strlen(text) < REF_NUMERICS_CAP;
    if (fits) snprintf(declared, REF_NUMERICS_CAP, "%s", text ? text : "");
    free(io);
    snprintf(why, sizeof why, "its declaration is longer than %d characters", REF_NUMERICS_CAP - 1);
    return fits || fail(t, PORT_REJECTED, why);
}

static bool declare(trial *t)
{
    bool good = true;
    for (int s = 0; good && s < problem_calls(t->whole); s++) {
        take_step(t, s);
        good = declare_step(t);
    }
    return good;
}

/* What is made once for many calls of the op; its status stands for the op's. */
static dsv3_status prepare(trial *t, const void *io)
{
    const loaded_port *const port = t->port;
    t->preparing = true;
    dsv3_status const status =
        port->table.prepare ? port->table.prepare(port->ctx, t->p->op->name, t->p->prob.bytes, io) : DSV3_OK;
    twin_end();
    t->preparing = status != DSV3_OK;
    return status;
}

static void unprepare(trial *t, const void *io)
{
    const loaded_port *const port = t->port;
    if (port->table.unprepare) port->table.unprepare(port->ctx, t->p->op->name, t->p->prob.bytes, io);
    twin_end();
}

static dsv3_status call_op(trial *t, const void *io)
{
    const loaded_port *const port = t->port;
    double const from = now();
    dsv3_status status = op_call(t->p->op, &port->table, port->ctx, t->p->prob.bytes, io);
    if (status == DSV3_OK && port->table.sync) status = port->table.sync(port->ctx);
    twin_end();
    t->a->seconds += now() - from;
    return status;
}

/* Copies every tensor to the device (get: back). */
static bool copy_device(trial *t, bool get)
{
    const loaded_port *const port = t->port;
    if (get) arena_set(&t->memory[t->run], ARENA_OURS); /* inputs come back too, and are compared */
    for (int i = 0; i < t->p->tensors; i++) {
        const region *const r = &t->memory[t->run].item[i];
        dsv3_status const s = get ? port->table.get(port->ctx, r->data, t->bound[i], r->bytes)
                                  : port->table.put(port->ctx, t->bound[i], r->data, r->bytes);
        if (s != DSV3_OK)
            return fail(t, PORT_REJECTED, get ? "get returned an error status" : "put returned an error status");
    }
    return true;
}

/* What the op is called with: the guarded memory, or device memory where the port has its own. */
static bool open_bound(trial *t)
{
    bool const device = has_device(t->port);
    bool good = true;
    for (int i = 0; i < t->p->tensors; i++) {
        const region *const r = &t->memory[t->run].item[i];
        t->bound[i] = device ? t->port->table.alloc(t->port->ctx, r->most) : r->data;
        if (!t->bound[i]) good = fail(t, PORT_REJECTED, "alloc returned NULL");
    }
    return good;
}

static void close_bound(trial *t)
{
    bool const device = has_device(t->port);
    for (int i = 0; i < t->p->tensors; i++) {
        if (device && t->bound[i]) t->port->table.release(t->port->ctx, t->bound[i]);
        t->bound[i] = NULL;
    }
}

/* Prepares, calls the op, fetches what it wrote. */
static bool call_prepared(trial *t, dsv3_status *status)
{
    void *const io = problem_bind_rooms(t->p, t->bound);
    bool good = true;
    if (!io) return fail(t, PORT_NOT_ASKED, "no memory for the tensors");
    *status = prepare(t, io);
    if (*status == DSV3_OK) {
        *status = call_op(t, io);
        if (has_device(t->port) && *status == DSV3_OK) good = copy_device(t, true);
        unprepare(t, io);
    }
    free(io);
    return good;
}

/* The calls of a sequence share their memory. */
static bool call_port(trial *t, dsv3_status *status)
{
    bool const last = t->step + 1 == problem_calls(t->whole);
    bool good = t->step > 0 || open_bound(t);
    if (good && has_device(t->port)) good = copy_device(t, false);
    good = good && call_prepared(t, status);
    if (last || !good || *status != DSV3_OK) close_bound(t);
    return good;
}

/* ---- what else it did ---- */

static bool is_as_before(const trial *t, int run, int i)
{
    const region *const r = &t->memory[t->run].item[i];
    if (laid_over(t, i)) return room_holds(&t->p->tensor[i], r->data, laid_over(t, i));
    for (size_t k = 0; k < r->bytes; k++)
        if ((unsigned char)r->data[k] != poison[run][0]) return false;
    return true;
}

/* UNSUPPORTED comes before anything is written. */
static bool check_refusal(trial *t, int run)
{
    char why[160];
    for (int i = 0; i < t->p->tensors; i++) {
        if (!is_output(t, i) || is_as_before(t, run, i)) continue;
        snprintf(why, sizeof why, "the port wrote to %s and then said UNSUPPORTED", t->p->tensor[i].name);
        return fail(t, PORT_REJECTED, why);
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

/* A kernel's mistake that the machine of cuda/emu saw counts whatever the port makes of it. */
static bool check_machine(trial *t)
{
    const char *const what = t->port->fault ? t->port->fault() : NULL;
    return !what || fail(t, PORT_CRASHED, what);
}

static bool check_status(trial *t, int run, dsv3_status status)
{
    char why[160];
    if (status == DSV3_UNSUPPORTED && run)
        return fail(t, PORT_NONDET, "the second run on the same inputs is UNSUPPORTED");
    if (status == DSV3_UNSUPPORTED) return check_refusal(t, run);
    if (status == DSV3_OK) return true;
    snprintf(why, sizeof why, "%s returned status %s", t->preparing ? "prepare" : "the op", status_name(status));
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
    const char *const damaged = arena_damage(&t->memory[t->run]);
    if (damaged) {
        snprintf(why, sizeof why, "the port wrote beyond the ends of %s", damaged);
        return fail(t, PORT_CORRUPT, why);
    }
    for (int i = 0; i < t->p->tensors; i++) {
        const region *const r = &t->memory[t->run].item[i];
        if (is_output(t, i) || !region_is_there(r) || room_holds(&t->p->tensor[i], r->data, t->input[t->first + i]))
            continue;
        snprintf(why, sizeof why, "the port changed its input %s", r->name);
        return fail(t, PORT_CORRUPT, why);
    }
    return true;
}

/* Views of inputs, and of what lies over them, stand among NaN, those of outputs among poison. */
static unsigned char const *around(const trial *t, int i, int run)
{
    return is_output(t, i) && !laid_over(t, i) ? poison[run] : NULL;
}

static bool check_views(trial *t, int run)
{
    char why[200];
    for (int i = 0; i < t->p->tensors; i++) {
        const tensor_info *const info = &t->p->tensor[i];
        int64_t const at = room_touched(info, t->memory[t->run].item[i].data, around(t, i, run));
        if (at < 0) continue;
        snprintf(why, sizeof why,
                 "the port wrote outside the view of %s: row %lld, column %lld (the view is %lld:%lld/%lld)",
                 info->name, (long long)(at / info->wide), (long long)(at % info->wide), (long long)info->first,
                 (long long)(info->first + info->shape[info->ndim - 1]), (long long)info->wide);
        return fail(t, PORT_CORRUPT, why);
    }
    return true;
}

/* ---- one run ---- */

static void lay_out(trial *t, int run)
{
    for (int i = 0; i < t->p->tensors; i++) {
        const region *const r = &t->memory[t->run].item[i];
        if (laid_over(t, i))
            room_fill(&t->p->tensor[i], r->data, laid_over(t, i));
        else if (is_output(t, i))
            memset(r->data, poison[run][0], r->bytes);
        else if (!is_lazy(t, i))
            room_fill(&t->p->tensor[i], r->data, t->input[t->first + i]);
    }
}

static void keep_outputs(trial *t, int run)
{
    for (int i = 0; i < t->p->tensors; i++)
        if (is_output(t, i)) room_read(&t->p->tensor[i], t->memory[t->run].item[i].data, t->written[run][t->first + i]);
}

/* Calls the port and checks what it left, whatever it did. False: that is the outcome. */
static bool call_and_check(trial *t, int run)
{
    dsv3_status status = DSV3_OK;
    int const threads = threads_now();
    fpenv_restore(t->port->control);
    bool const called = call_port(t, &status);
    unsigned const after = fpenv_control();
    fpenv_restore(t->port->clean);
    own_locale();
    arena_set(&t->memory[t->run], ARENA_BACK);
    threads_settle(threads);
    return check_machine(t) && called && check_status(t, run, status) && check_fpenv(t, t->port->control, after) &&
           check_memory(t) && check_views(t, run);
}

static bool run_step(trial *t, int run, int step)
{
    take_step(t, step);
    arena_place(&t->memory[run], t->p);
    lay_out(t, run);
    arena_set(&t->memory[run], ARENA_GIVEN);
    bool const good = call_and_check(t, run);
    if (good) keep_outputs(t, run);
    return good;
}

/* In fresh memory that is guarded on one side, or the other. False: that is the outcome. */
static bool run_once(trial *t, int run)
{
    bool good = true;
    t->a->seconds = 0;
    t->run = run;
    arena_filler const filler = {t->on_demand ? fill_touched : NULL, t};
    if (!arena_open(&t->memory[run], t->whole, run ? GUARD_BEFORE : GUARD_BEHIND, t->port->table.align, filler))
        return fail(t, PORT_NOT_ASKED, "no memory for the tensors");
    fault_watch(t->memory, 2);
    for (int s = 0; good && s < problem_calls(t->whole); s++) good = run_step(t, run, s);
    close_bound(t);
    arena_set(&t->memory[run], ARENA_GONE);
    return good;
}

/* ---- both runs ---- */

/* Is element k of tensor i still as it was poisoned, in both runs? */
static bool still_poisoned(const trial *t, int i, int64_t k, size_t size)
{
    for (int run = 0; run < 2; run++)
        for (size_t b = 0; b < size; b++)
            if (((const unsigned char *)t->written[run][t->first + i])[(size_t)k * size + b] != poison[run][0])
                return false;
    return true;
}

/* What is still poisoned becomes what no port writes. */
static void mark_holes(const trial *t)
{
    for (int i = 0; i < t->p->tensors; i++) {
        const tensor_info *const info = &t->p->tensor[i];
        double const none = info->dtype == DSV3_I32 ? -1 : (double)NAN;
        if (!is_output(t, i)) continue;
        for (int64_t k = 0; k < info->count; k++)
            if (still_poisoned(t, i, k, ref_dtype_size(info->dtype)))
                ref_encode(info->dtype, t->written[0][t->first + i], k, none);
    }
}

/* The runs differ in tensor i: it was left alone, which is for the judge if it is optional; else elements were left as they were,
 * or the port isn't deterministic. */
static bool explain_difference(trial *t, int i)
{
    char why[200];
    const tensor_info *const info = &t->p->tensor[i];
    size_t const size = ref_dtype_size(info->dtype);
    int64_t unwritten = 0, first = 0;
    for (int64_t k = info->count - 1; k >= 0; k--)
        if (still_poisoned(t, i, k, size)) unwritten++, first = k;
    if (unwritten == info->count && optional_as(info)) return t->a->left_out[t->step] |= output_bit(t->p, i), true;
    if (unwritten)
        snprintf(why, sizeof why, "%lld of %lld elements of %s were not written, the first is %lld",
                 (long long)unwritten, (long long)info->count, info->name, (long long)first);
    else
        snprintf(why, sizeof why, "two runs on the same inputs differ in %s", info->name);
    if (unwritten) mark_holes(t);
    return fail(t, unwritten ? PORT_UNWRITTEN : PORT_NONDET, why);
}

static bool compare_step(trial *t, int step)
{
    take_step(t, step);
    for (int i = 0; i < t->p->tensors; i++) {
        const void *const first = t->written[0][t->first + i], *const second = t->written[1][t->first + i];
        bool const differs = is_output(t, i) && memcmp(first, second, t->p->tensor[i].bytes);
        if (differs && !explain_difference(t, i)) return false;
    }
    return true;
}

static bool compare_runs(trial *t)
{
    bool good = true;
    for (int s = 0; good && s < problem_calls(t->whole); s++) good = compare_step(t, s);
    return good;
}

/* A step that repeats another, on the same inputs in the same memory. */
static bool compare_replays(trial *t)
{
    char why[200];
    if (!replay_differs(t->whole, t->written[0], why, sizeof why)) return true;
    answer_set(t->a, PORT_NONDET, why);
    return false;
}

/* Is a field set that the port's header lacks? To the port it is 0. */
static bool is_younger(const trial *t)
{
    for (const field_row *f = t->whole->op->fields; f->name; f++)
        if (f->since >= t->port->table.size && problem_field(t->whole, f) != 0) return true;
    return false;
}

void trial_run(trial *t, answer *a)
{
    t->a = a;
    if (is_younger(t)) {
        answer_skip(a, SKIP_OLDER, NULL);
        return;
    }
    fault_begin(a);
    if (!declare(t) || !check_start(t)) return;
    fault_begin(a);
    bool const good = run_once(t, 0) && run_once(t, 1) && compare_replays(t) && compare_runs(t);
    if (twin_seen())
        fail(t, PORT_REJECTED, "the port forks, and both processes return");
    else if (good)
        answer_set(a, PORT_RAN, "");
}
