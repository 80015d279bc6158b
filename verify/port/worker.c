/* See worker.h. */
#include "worker.h"

#include "arena.h"
#include "case/fill.h"
#include "fault.h"
#include "fpenv.h"
#include "load.h"
#include "process.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* ---- one run ---- */

/* A case in this process: pristine inputs, and outputs of both runs. */
typedef struct {
    problem p;
    void **pristine; /* inputs as filled */
    void **written[2];
    const dsv3_backend *table;
    dsv3_ctx *ctx;
    answer *a;
} job;

static const unsigned char poison[2] = {0xa5, 0x5a};

static bool is_output(const job *j, int i)
{
    return j->p.tensor[i].row->kind == TENSOR_OUT;
}

static bool fail(job *j, port_outcome outcome, const char *why)
{
    answer_fail(j->a, outcome, why);
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

/* Copies every tensor to the device (get: outputs back). */
static bool copy_device(job *j, const arena *host, void *const device[], bool get)
{
    for (int i = 0; i < j->p.tensors; i++) {
        const region *const r = &host->item[i];
        dsv3_status const s = get ? j->table->get(j->ctx, r->data, device[i], r->bytes)
                                  : j->table->put(j->ctx, device[i], r->data, r->bytes);
        if (s != DSV3_OK)
            return fail(j, PORT_REJECTED, get ? "get returned an error status" : "put returned an error status");
    }
    return true;
}

static dsv3_status call_op(job *j, const void *io)
{
    double const from = now();
    dsv3_status status = j->p.op->call(j->table, j->ctx, j->p.prob.bytes, io);
    if (status == DSV3_OK && j->table->sync) status = j->table->sync(j->ctx);
    j->a->seconds = now() - from;
    return status;
}

/* Calls the op on the arena, through device memory where the port has its own. */
static bool call_port(job *j, const arena *memory, dsv3_status *status)
{
    void **const data = calloc((size_t)j->p.tensors, sizeof *data);
    bool const device = j->table->alloc && j->table->release && j->table->put && j->table->get;
    bool good = data || fail(j, PORT_NOT_ASKED, "no memory for the tensors");
    for (int i = 0; data && i < j->p.tensors; i++) {
        data[i] = device ? j->table->alloc(j->ctx, memory->item[i].bytes) : memory->item[i].data;
        if (!data[i]) good = fail(j, PORT_REJECTED, "alloc returned NULL");
    }
    if (good && device) good = copy_device(j, memory, data, false);
    void *const io = good ? problem_bind(&j->p, data) : NULL;
    if (good && !io) good = fail(j, PORT_NOT_ASKED, "no memory for the tensors");
    if (good) *status = call_op(j, io);
    if (good && device && *status == DSV3_OK) good = copy_device(j, memory, data, true);
    for (int i = 0; data && device && i < j->p.tensors; i++)
        if (data[i]) j->table->release(j->ctx, data[i]);
    free(io);
    free(data);
    return good;
}

static bool check_memory(job *j, const arena *memory)
{
    char why[160];
    const char *const damaged = arena_damage(memory);
    if (damaged) {
        snprintf(why, sizeof why, "the port wrote beyond the ends of %s", damaged);
        return fail(j, PORT_CORRUPT, why);
    }
    for (int i = 0; i < j->p.tensors; i++) {
        if (is_output(j, i) || !memcmp(memory->item[i].data, j->pristine[i], memory->item[i].bytes)) continue;
        snprintf(why, sizeof why, "the port changed its input %s", memory->item[i].name);
        return fail(j, PORT_CORRUPT, why);
    }
    return true;
}

/* UNSUPPORTED comes before anything is written. */
static bool refused(job *j, const arena *memory, int turn)
{
    char why[160];
    for (int i = 0; i < j->p.tensors; i++)
        for (size_t k = 0; is_output(j, i) && k < memory->item[i].bytes; k++) {
            if ((unsigned char)memory->item[i].data[k] == poison[turn]) continue;
            snprintf(why, sizeof why, "the port wrote to %s and then said UNSUPPORTED", memory->item[i].name);
            return fail(j, PORT_REJECTED, why);
        }
    return answer_skip(j->a, SKIP_CASE, NULL), false;
}

static bool check_status(job *j, const arena *memory, int turn, dsv3_status status, unsigned before)
{
    char why[160];
    unsigned const after = fpenv_control();
    fpenv_restore(before);
    if (status == DSV3_UNSUPPORTED) return refused(j, memory, turn);
    if (status != DSV3_OK) {
        snprintf(why, sizeof why, "the op returned status %s", status_name(status));
        return fail(j, PORT_REJECTED, why);
    }
    if (after == before) return true;
    fpenv_describe(before, after, why, sizeof why);
    return fail(j, PORT_FPENV, why);
}

/* One run in fresh guarded memory, outputs poisoned; false when that is already the verdict. */
static bool run_once(job *j, int turn)
{
    arena memory;
    dsv3_status status = DSV3_OK;
    if (!arena_open(&memory, &j->p, turn ? GUARD_BEFORE : GUARD_BEHIND, j->table->align))
        return fail(j, PORT_NOT_ASKED, "no memory for the tensors");
    for (int i = 0; i < j->p.tensors; i++) {
        if (is_output(j, i))
            memset(memory.item[i].data, poison[turn], memory.item[i].bytes);
        else
            memcpy(memory.item[i].data, j->pristine[i], memory.item[i].bytes);
    }
    unsigned const before = fpenv_control();
    fault_watch(&memory);
    bool good =
        call_port(j, &memory, &status) && check_status(j, &memory, turn, status, before) && check_memory(j, &memory);
    fault_watch(NULL);
    for (int i = 0; good && i < j->p.tensors; i++)
        if (is_output(j, i)) memcpy(j->written[turn][i], memory.item[i].data, memory.item[i].bytes);
    arena_close(&memory);
    return good;
}

/* Is element i still as it was poisoned, in both runs? */
static bool still_poisoned(const job *j, int t, int64_t i, size_t size)
{
    for (int turn = 0; turn < 2; turn++)
        for (size_t k = 0; k < size; k++)
            if (((const unsigned char *)j->written[turn][t])[(size_t)i * size + k] != poison[turn]) return false;
    return true;
}

static bool compare_runs(job *j)
{
    char why[200];
    for (int t = 0; t < j->p.tensors; t++) {
        const tensor_info *const info = &j->p.tensor[t];
        size_t const size = ref_dtype_size(info->dtype);
        int64_t unwritten = 0, first = 0;
        if (!is_output(j, t) || !memcmp(j->written[0][t], j->written[1][t], info->bytes)) continue;
        for (int64_t i = info->count - 1; i >= 0; i--)
            if (still_poisoned(j, t, i, size)) unwritten++, first = i;
        if (unwritten)
            snprintf(why, sizeof why, "%lld of %lld elements of %s were not written, the first is %lld",
                     (long long)unwritten, (long long)info->count, info->name, (long long)first);
        else
            snprintf(why, sizeof why, "two runs on the same inputs differ in %s", info->name);
        return fail(j, unwritten ? PORT_UNWRITTEN : PORT_NONDET, why);
    }
    return true;
}

static void declare(job *j)
{
    void *const io = problem_bind(&j->p, NULL);
    const char *const text = io && j->table->numerics ? j->table->numerics(j->p.op->name, j->p.prob.bytes, io) : NULL;
    snprintf(j->a->declared, sizeof j->a->declared, "%s", text ? text : "");
    free(io);
}

static bool prepare(job *j, const char *id, bool given, int requests)
{
    complaint why;
    if (!problem_parse(id, &j->p, &why)) return fail(j, PORT_NOT_ASKED, "the worker can't read the id");
    size_t const tensors = (size_t)j->p.tensors;
    j->pristine = calloc(tensors, sizeof *j->pristine);
    for (int turn = 0; turn < 2; turn++) j->written[turn] = calloc(tensors, sizeof *j->written[turn]);
    if (!j->pristine || !j->written[0] || !j->written[1]) return fail(j, PORT_NOT_ASKED, "no memory for the tensors");
    for (int i = 0; i < j->p.tensors; i++) {
        size_t const bytes = j->p.tensor[i].bytes;
        j->pristine[i] = is_output(j, i) ? NULL : malloc(bytes);
        for (int turn = 0; turn < 2; turn++) j->written[turn][i] = is_output(j, i) ? malloc(bytes) : NULL;
        if (is_output(j, i) ? !j->written[0][i] || !j->written[1][i] : !j->pristine[i])
            return fail(j, PORT_NOT_ASKED, "no memory for the tensors");
    }
    if (!given) fill_inputs(&j->p, j->pristine);
    for (int i = 0; given && i < j->p.tensors; i++)
        if (!is_output(j, i) && !read_all(requests, j->pristine[i], j->p.tensor[i].bytes))
            return fail(j, PORT_NOT_ASKED, "the inputs did not arrive");
    return true;
}

static void close_job(job *j)
{
    tensors_close(&j->p, j->pristine);
    tensors_close(&j->p, j->written[0]);
    tensors_close(&j->p, j->written[1]);
    problem_close(&j->p);
}

static void serve_case(const dsv3_backend *table, dsv3_ctx *ctx, const char *id, bool given, int requests, int answers)
{
    answer a = {.outcome = PORT_RAN};
    job j = {.table = table, .ctx = ctx, .a = &a};
    if (prepare(&j, id, given, requests)) {
        declare(&j);
        fault_begin(&a);
        if (run_once(&j, 0) && run_once(&j, 1)) compare_runs(&j);
    }
    bool sent = write_all(answers, &a, sizeof a);
    for (int i = 0; sent && a.outcome == PORT_RAN && i < j.p.tensors; i++)
        if (is_output(&j, i)) sent = write_all(answers, j.written[0][i], j.p.tensor[i].bytes);
    close_job(&j);
}

_Noreturn void worker_serve(const backend *b, int requests, int answers)
{
    loaded_port p;
    answer hello = {.outcome = PORT_RAN};
    request r;
    char id[512];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN);
    fault_catch(answers);
    bool const ready = load_port(b, &p, &hello);
    if (ready) name_ops(&p, hello.declared, sizeof hello.declared);
    if (!write_all(answers, &hello, sizeof hello) || !ready) _exit(0);
    while (read_all(requests, &r, sizeof r) && r.length < sizeof id && read_all(requests, id, r.length)) {
        id[r.length] = 0;
        serve_case(&p.table, p.ctx, id, r.given, requests, answers);
    }
    unload_port(&p);
    _exit(0);
}
