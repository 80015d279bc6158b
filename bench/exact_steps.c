/* See exact_steps.h. */
#include "exact_steps.h"

#include "allocations.h"
#include "compare_builds.h"
#include "port/twin.h"
#include "rotation.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_INSTRUCTIONS = 20000000 };

/* What the traced process says, in memory of both. */
typedef struct {
    bool ready; /* else why not */
    complaint why;
    exact_count count;
} report;

#if defined(__x86_64__)
/* Between the two signals lies the call alone. */
static void call_marked(rotation *r, const loaded_port *loaded)
{
    const void *const io = r->io[0];
    __asm__ volatile("int3" ::: "memory");
    op_call(r->p->op, &loaded->table, loaded->ctx, r->p->prob.bytes, io);
    __asm__ volatile("ud2" ::: "memory");
}
#else
static void call_marked(rotation *r, const loaded_port *loaded)
{
    rotation_call(r, loaded, 1);
}
#endif

/* In the process that will be stepped. It ends in the call. */
static _Noreturn void be_stepped(rotation *r, const char *file, report *said)
{
    loaded_port loaded;
    twin_watch();
    if (!builds_load(file, &loaded, &said->why)) _exit(1);
    if (loaded.table.prepare && rotation_prepare(r, &loaded) < 0) {
        refuse(&said->why, "%s: a build can't prepare it", r->p->id);
        _exit(1);
    }
    rotation_call(r, &loaded, 1);
    long const before = allocations_so_far();
    rotation_call(r, &loaded, 1);
    said->count.allocations = before < 0 ? -1 : allocations_so_far() - before;
    said->ready = !ptrace(PTRACE_TRACEME, 0, NULL, NULL) || refuse(&said->why, "this process may not be traced");
    if (said->ready) call_marked(r, &loaded);
    _exit(1);
}

static bool stopped_by(int status, int signal)
{
    return WIFSTOPPED(status) && WSTOPSIG(status) == signal;
}

/* Steps until the mark behind the call. False: it didn't get there. */
static bool step(pid_t child, long *instructions)
{
    int status;
    if (waitpid(child, &status, 0) != child || !stopped_by(status, SIGTRAP)) return false;
    for (*instructions = 0; *instructions < MOST_INSTRUCTIONS; ++*instructions) {
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) || waitpid(child, &status, 0) != child) return false;
        if (!stopped_by(status, SIGTRAP)) return stopped_by(status, SIGILL);
    }
    return false;
}

static bool step_in_process(rotation *r, const char *file, report *said, complaint *why)
{
    pid_t const child = fork();
    if (child == 0) be_stepped(r, file, said);
    if (child < 0) return refuse(why, "no process to count %s in", r->p->id);
    bool const good = step(child, &said->count.instructions);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    if (good) return true;
    if (*said->why.text) return refuse(why, "%s", said->why.text);
    return refuse(why, "%s takes more than %d instructions, or dies when it is stepped", r->p->id, MOST_INSTRUCTIONS);
}

bool exact_steps(const problem *p, const char *file, exact_count *count, complaint *why)
{
#if !defined(__x86_64__)
    return refuse(why, "instructions are counted on x86-64 only");
#endif
    report *const said = mmap(NULL, sizeof *said, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    rotation *const r = calloc(1, sizeof *r);
    bool good = said != MAP_FAILED && r && rotation_open_once(r, p);
    if (!good) refuse(why, "no memory to count %s", p->id);
    good = good && step_in_process(r, file, said, why);
    if (good) *count = said->count;
    if (r) rotation_close(r);
    free(r);
    if (said != MAP_FAILED) munmap(said, sizeof *said);
    return good;
}
