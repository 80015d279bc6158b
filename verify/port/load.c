/* See load.h. */
#include "load.h"

#include "fpenv.h"
#include "own_locale.h"
#include "twin.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

__attribute__((format(printf, 3, 4))) static bool unusable(answer *a, port_outcome outcome, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(a->why, sizeof a->why, format, args);
    va_end(args);
    a->outcome = outcome;
    return false;
}

/* In dlopen's words, without the name, which the sentence begins with. */
static const char *why_not_loaded(const char *path)
{
    const char *const text = dlerror();
    size_t const length = strlen(path);
    bool const named = !strncmp(text, path, length) && !strncmp(text + length, ": ", 2);
    return named ? text + length + 2 : text;
}

/* The port's own table, checked; NULL: why not is in the answer. */
static const dsv3_backend *find_table(const backend *b, loaded_port *p, answer *a)
{
    if (b->table) return b->table;
    struct stat st;
    if (!stat(b->target, &st) && !S_ISREG(st.st_mode)) /* a pipe would be waited for */
        return unusable(a, PORT_REJECTED, "cannot load it: it is no regular file"), NULL;
    void *const object = dlopen(b->target, RTLD_NOW | RTLD_LOCAL);
    if (!object) return unusable(a, PORT_REJECTED, "cannot load it: %s", why_not_loaded(b->target)), NULL;
    const dsv3_backend *(*get)(uint32_t) = NULL;
    void *const symbol = dlsym(object, "dsv3_backend_get"), *const fault = dlsym(object, "dsv3_machine_fault");
    memcpy(&get, &symbol, sizeof get);
    memcpy(&p->fault, &fault, sizeof p->fault);
    if (!get) return unusable(a, PORT_REJECTED, "%s exports no dsv3_backend_get: see include/dsv3.h", b->target), NULL;
    const dsv3_backend *const table = get(DSV3_ABI);
    size_t const least = offsetof(dsv3_backend, rmsnorm);
    if (table && table->abi == DSV3_ABI && table->size >= least) return table;
    if (!table)
        unusable(a, PORT_REJECTED, "%s does not speak abi %u: rebuild it with this include/dsv3.h", b->target,
                 DSV3_ABI);
    else if (table->abi != DSV3_ABI)
        unusable(a, PORT_REJECTED, "%s speaks abi %u, not %u: rebuild it with this include/dsv3.h", b->target,
                 table->abi, DSV3_ABI);
    else
        unusable(a, PORT_REJECTED, "%s says that its table has %u bytes, and the shortest has %zu: set size", b->target,
                 table->size, least);
    return NULL;
}

/* A port compiled with an older header has a shorter table: what it lacks reads as NULL. */
static void complete_table(const dsv3_backend *theirs, dsv3_backend *ours)
{
    memset(ours, 0, sizeof *ours);
    memcpy(ours, theirs, theirs->size < sizeof *ours ? theirs->size : sizeof *ours);
}

/* A page is what every tensor begins or ends at. */
static bool has_good_align(const loaded_port *p, answer *a)
{
    enum { MOST = 4096 };
    uint32_t const n = p->table.align;
    if (!(n & (n - 1)) && n <= MOST) return true;
    return unusable(a, PORT_REJECTED, "it wants tensors aligned to %u bytes: align is 0 or a power of two up to %d", n,
                    MOST);
}

static bool start_port(const backend *b, loaded_port *p, answer *a)
{
    char why[256] = "";
    p->ctx = NULL;
    p->fault = NULL;
    *p->runs_on = 0;
    const dsv3_backend *const table = find_table(b, p, a);
    if (!table) return false;
    complete_table(table, &p->table);
    if (!has_good_align(p, a)) return false;
    dsv3_status const usable = p->table.probe ? p->table.probe(why, sizeof why) : DSV3_OK;
    why[sizeof why - 1] = 0;
    const char *const fault = usable != DSV3_OK && p->fault ? p->fault() : NULL;
    if (fault) return unusable(a, PORT_REJECTED, "%s", fault);
    if (usable == DSV3_INVALID) return unusable(a, PORT_REJECTED, "%s", *why ? why : "probe returned status INVALID");
    if (usable != DSV3_OK) return answer_skip(a, SKIP_START, *why ? why : "it doesn't say why"), false;
    snprintf(p->runs_on, sizeof p->runs_on, "%.63s", why);
    dsv3_status const opened = p->table.open ? p->table.open(&p->ctx, 0) : DSV3_OK;
    return opened == DSV3_OK || unusable(a, PORT_REJECTED, "open returned status %d", (int)opened);
}

bool load_port(const backend *b, loaded_port *p, answer *a)
{
    p->clean = fpenv_control();
    bool const good = start_port(b, p, a);
    twin_end();
    own_locale();
    p->control = fpenv_control();
    fpenv_restore(p->clean);
    if (twin_seen()) return unusable(a, PORT_REJECTED, "it forks when it is loaded, and both processes return");
    return good;
}

void unload_port(loaded_port *p)
{
    if (p->table.close && p->ctx) p->table.close(p->ctx);
}

void name_ops(const loaded_port *p, char *text, size_t cap)
{
    size_t used = 0;
#define OP(op)                                                                                                         \
    if (p->table.op && used < cap) used += (size_t)snprintf(text + used, cap - used, #op " ");
    DSV3_OPS(OP)
#undef OP
}
