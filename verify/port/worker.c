/* See worker.h. */
#include "worker.h"

#include "arena.h"
#include "case/fill.h"
#include "process.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* The loaded port, and its context. */
typedef struct {
    const dsv3_backend *table;
    dsv3_ctx *ctx;
} port;

/* What the handler of memory faults needs; a signal handler can be told in no other way. */
static struct {
    const arena *memory;
    int answers;
    answer last;
} fault;

/* ---- memory faults ---- */

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    char where[160] = "outside all tensors";
    fault.last.v = CRASH;
    fault.last.bytes = 0;
    if (fault.memory) arena_locate(fault.memory, info->si_addr, where, sizeof where);
    snprintf(fault.last.why, sizeof fault.last.why, "signal %s: %s", sigabbrev_np(number), where);
    write_all(fault.answers, &fault.last, sizeof fault.last);
    _exit(128 + number);
}

static void catch_faults(int answers)
{
    static char stack[64 * 1024];
    stack_t const other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    fault.answers = answers;
    sigaltstack(&other, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

/* ---- floating-point environment ---- */

#if defined(__x86_64__)
static unsigned fp_control(void)
{
    return _mm_getcsr() & ~0x3fu; /* without the sticky flags */
}

static void fp_restore(unsigned control)
{
    _mm_setcsr(control);
}

static void describe_fp(unsigned before, unsigned after, char *why, size_t cap)
{
    unsigned const changed = before ^ after;
    snprintf(why, cap, "the port left%s%s%s%s changed (MXCSR %04x, was %04x)",
             changed & 0x6000 ? " the rounding mode" : "", changed & 0x8000 ? " flush-to-zero" : "",
             changed & 0x0040 ? " denormals-are-zero" : "", changed & 0x1f80 ? " the exception masks" : "", after,
             before);
}
#elif defined(__aarch64__)
static unsigned fp_control(void)
{
    unsigned long v;
    __asm__("mrs %0, fpcr" : "=r"(v));
    return (unsigned)v;
}

static void fp_restore(unsigned control)
{
    __asm__("msr fpcr, %0" ::"r"((unsigned long)control));
}

static void describe_fp(unsigned before, unsigned after, char *why, size_t cap)
{
    snprintf(why, cap, "the port left the floating-point control register changed (FPCR %08x, was %08x)", after,
             before);
}
#else
#error "this processor's floating-point control register is unknown here"
#endif

/* ---- loading ---- */

__attribute__((format(printf, 3, 4))) static bool unusable(answer *a, verdict v, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(a->why, sizeof a->why, format, args);
    va_end(args);
    a->v = v;
    return false;
}

static bool load_table(const backend *b, port *p, answer *a)
{
    p->table = b->table;
    if (p->table) return true;
    void *const object = dlopen(b->target, RTLD_NOW | RTLD_LOCAL);
    if (!object) return unusable(a, REJECTED, "cannot load %s: %s", b->target, dlerror());
    const dsv3_backend *(*get)(uint32_t) = NULL;
    void *const symbol = dlsym(object, "dsv3_backend_get");
    memcpy(&get, &symbol, sizeof get);
    if (!get) return unusable(a, REJECTED, "%s exports no dsv3_backend_get: see include/dsv3.h", b->target);
    p->table = get(DSV3_ABI);
    if (!p->table)
        return unusable(a, REJECTED, "%s does not speak abi %u: rebuild it with this include/dsv3.h", b->target,
                        DSV3_ABI);
    if (p->table->abi != DSV3_ABI || p->table->size < offsetof(dsv3_backend, rmsnorm))
        return unusable(a, REJECTED, "%s speaks abi %u, not %u: rebuild it with this include/dsv3.h", b->target,
                        p->table->abi, DSV3_ABI);
    return true;
}

static bool start(const backend *b, port *p, answer *a)
{
    char why[256] = "it doesn't say why";
    if (!load_table(b, p, a)) return false;
    dsv3_status const usable = p->table->probe ? p->table->probe(why, sizeof why) : DSV3_OK;
    why[sizeof why - 1] = 0;
    if (usable != DSV3_OK) return unusable(a, SKIP, "%s", why);
    dsv3_status const opened = p->table->open ? p->table->open(&p->ctx, 0) : DSV3_OK;
    if (opened != DSV3_OK) return unusable(a, REJECTED, "open returned status %d", (int)opened);
    return true;
}

/* A port compiled with an older header has a shorter table: what it lacks reads as NULL. */
static void complete_table(const dsv3_backend *theirs, dsv3_backend *ours)
{
    memset(ours, 0, sizeof *ours);
    memcpy(ours, theirs, theirs->size < sizeof *ours ? theirs->size : sizeof *ours);
}

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

static bool fail(job *j, verdict v, const char *why)
{
    j->a->v = v;
    snprintf(j->a->why, sizeof j->a->why, "%s", why);
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
            return fail(j, REJECTED, get ? "get returned an error status" : "put returned an error status");
    }
    return true;
}

static dsv3_status call_op(job *j, const void *io)
{
    double const from = now();
    dsv3_status status = op_call(j->p.op, j->table, j->ctx, j->p.prob.bytes, io);
    if (status == DSV3_OK && j->table->sync) status = j->table->sync(j->ctx);
    j->a->seconds = now() - from;
    return status;
}

/* Calls the op on the arena, through device memory where the port has its own. */
static bool call_port(job *j, const arena *memory, dsv3_status *status)
{
    void **const data = calloc((size_t)j->p.tensors, sizeof *data);
    bool const device = j->table->alloc && j->table->release && j->table->put && j->table->get;
    bool good = data || fail(j, ERROR, "no memory for the tensors");
    for (int i = 0; data && i < j->p.tensors; i++) {
        data[i] = device ? j->table->alloc(j->ctx, memory->item[i].bytes) : memory->item[i].data;
        if (!data[i]) good = fail(j, REJECTED, "alloc returned NULL");
    }
    if (good && device) good = copy_device(j, memory, data, false);
    void *const io = good ? problem_bind(&j->p, data) : NULL;
    if (good && !io) good = fail(j, ERROR, "no memory for the tensors");
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
        return fail(j, CORRUPT, why);
    }
    for (int i = 0; i < j->p.tensors; i++) {
        if (is_output(j, i) || !memcmp(memory->item[i].data, j->pristine[i], memory->item[i].bytes)) continue;
        snprintf(why, sizeof why, "the port changed its input %s", memory->item[i].name);
        return fail(j, CORRUPT, why);
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
            return fail(j, REJECTED, why);
        }
    return fail(j, SKIP, "the port doesn't support this case");
}

static bool check_status(job *j, const arena *memory, int turn, dsv3_status status, unsigned before)
{
    char why[160];
    unsigned const after = fp_control();
    fp_restore(before);
    if (status == DSV3_UNSUPPORTED) return refused(j, memory, turn);
    if (status != DSV3_OK) {
        snprintf(why, sizeof why, "the op returned status %s", status_name(status));
        return fail(j, REJECTED, why);
    }
    if (after == before) return true;
    describe_fp(before, after, why, sizeof why);
    return fail(j, FPENV, why);
}

/* One run in fresh guarded memory, outputs poisoned; false when that is already the verdict. */
static bool run_once(job *j, int turn)
{
    arena memory;
    dsv3_status status = DSV3_OK;
    if (!arena_open(&memory, &j->p, turn ? GUARD_BEFORE : GUARD_BEHIND, j->table->align))
        return fail(j, ERROR, "no memory for the tensors");
    for (int i = 0; i < j->p.tensors; i++) {
        if (is_output(j, i))
            memset(memory.item[i].data, poison[turn], memory.item[i].bytes);
        else
            memcpy(memory.item[i].data, j->pristine[i], memory.item[i].bytes);
    }
    unsigned const before = fp_control();
    fault.memory = &memory;
    bool good =
        call_port(j, &memory, &status) && check_status(j, &memory, turn, status, before) && check_memory(j, &memory);
    fault.memory = NULL;
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
        return fail(j, unwritten ? UNWRITTEN : NONDET, why);
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
    if (!problem_parse(id, &j->p, &why)) return fail(j, ERROR, "the worker can't read the id");
    size_t const tensors = (size_t)j->p.tensors;
    j->pristine = calloc(tensors, sizeof *j->pristine);
    for (int turn = 0; turn < 2; turn++) j->written[turn] = calloc(tensors, sizeof *j->written[turn]);
    if (!j->pristine || !j->written[0] || !j->written[1]) return fail(j, ERROR, "no memory for the tensors");
    for (int i = 0; i < j->p.tensors; i++) {
        size_t const bytes = j->p.tensor[i].bytes;
        j->pristine[i] = is_output(j, i) ? NULL : malloc(bytes);
        for (int turn = 0; turn < 2; turn++) j->written[turn][i] = is_output(j, i) ? malloc(bytes) : NULL;
        if (is_output(j, i) ? !j->written[0][i] || !j->written[1][i] : !j->pristine[i])
            return fail(j, ERROR, "no memory for the tensors");
    }
    if (!given) fill_inputs(&j->p, j->pristine);
    for (int i = 0; given && i < j->p.tensors; i++)
        if (!is_output(j, i) && !read_all(requests, j->pristine[i], j->p.tensor[i].bytes))
            return fail(j, ERROR, "the inputs did not arrive");
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
    answer a = {.v = PASS};
    job j = {.table = table, .ctx = ctx, .a = &a};
    if (prepare(&j, id, given, requests)) {
        declare(&j);
        fault.last = a;
        if (run_once(&j, 0) && run_once(&j, 1)) compare_runs(&j);
    }
    for (int i = 0; i < j.p.tensors; i++) a.bytes += a.v == PASS && is_output(&j, i) ? j.p.tensor[i].bytes : 0;
    bool sent = write_all(answers, &a, sizeof a);
    for (int i = 0; sent && a.v == PASS && i < j.p.tensors; i++)
        if (is_output(&j, i)) sent = write_all(answers, j.written[0][i], j.p.tensor[i].bytes);
    close_job(&j);
}

/* The names of the ops that the port has, a space behind each. */
static void name_ops(const dsv3_backend *table, char *text, size_t cap)
{
    size_t used = 0;
#define OP(op)                                                                                                         \
    if (table->op && used < cap) used += (size_t)snprintf(text + used, cap - used, #op " ");
    DSV3_OPS(OP)
#undef OP
}

_Noreturn void worker_serve(const backend *b, int requests, int answers)
{
    port p = {NULL, NULL};
    answer hello = {.v = PASS};
    dsv3_backend table;
    request r;
    char id[512];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN);
    catch_faults(answers);
    bool const ready = start(b, &p, &hello);
    if (ready) complete_table(p.table, &table);
    if (ready) name_ops(&table, hello.declared, sizeof hello.declared);
    if (!write_all(answers, &hello, sizeof hello) || !ready) _exit(0);
    while (read_all(requests, &r, sizeof r) && r.length < sizeof id && read_all(requests, id, r.length)) {
        id[r.length] = 0;
        serve_case(&table, p.ctx, id, r.given, requests, answers);
    }
    if (table.close && p.ctx) table.close(p.ctx);
    _exit(0);
}
