/* See exact_steps.h. */
#include "exact_steps.h"

#include "compare_builds.h"
#include "port/twin.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { MOST_INSTRUCTIONS = 20000000 };

/* What the traced process says, in memory of both. */
typedef struct {
    complaint why; /* if it doesn't come as far as the call */
    exact_count count;
} report;

/* ---- in the process that is stepped ---- */

/* Between two marks lies the call alone. The last is an illegal instruction that no port has: a text is behind it. */
#define END_MARK                                                                                                       \
    "\x0f\x0b"                                                                                                         \
    "dsv3 ex"

static void call_marked(rotation *r, const loaded_port *loaded)
{
    const void *const io = r->io[0];
    __asm__ volatile("int3" ::: "memory");
    op_call(r->p->op, &loaded->table, loaded->ctx, r->p->prob.bytes, io);
    __asm__ volatile("ud2\n\t.ascii \"dsv3 ex\"" ::: "memory");
}

static int threads_here(void)
{
    int n = 0;
    DIR *const d = opendir("/proc/self/task");
    for (const struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

/* Loads, prepares and calls it, twice: what happens once has happened then. */
static bool begin(rotation *r, const char *file, loaded_port *loaded, report *said)
{
    allocations before, after;
    if (!builds_begin(file, r, loaded, &said->why)) return false;
    rotation_call(r, loaded, 1);
    said->count.counted = allocations_so_far(&before);
    rotation_call(r, loaded, 1);
    allocations_so_far(&after);
    said->count.asked = (allocations){after.times - before.times, after.bytes - before.bytes};
    int const threads = threads_here();
    return threads == 1 ||
           refuse(&said->why, "%s: a build keeps %d threads, and instructions are counted on one", r->p->id, threads);
}

/* It ends in the call. */
static _Noreturn void be_stepped(rotation *r, const char *file, report *said)
{
    loaded_port loaded;
    twin_watch();
    if (!begin(r, file, &loaded, said)) _exit(1);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) {
        refuse(&said->why, "instructions can't be counted here: a process may not be traced: %s", strerror(errno));
        _exit(1);
    }
    call_marked(r, &loaded);
    _exit(1);
}

/* ---- in the process that steps ---- */

static bool at_end(pid_t child)
{
    long const at = ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, regs.rip), NULL);
    long const there = ptrace(PTRACE_PEEKTEXT, child, at, NULL);
    return !memcmp(&there, END_MARK, sizeof there);
}

/* A terminal changes its size, say: no instruction, and nothing of the port's. */
static bool is_from_outside(int signal)
{
    return signal == SIGWINCH || signal == SIGCHLD || signal == SIGCONT || signal == SIGURG;
}

/* A thread that the process has just started is traced too, and must be waited for before the process can end. */
static void end_started(pid_t child)
{
    unsigned long started = 0;
    if (ptrace(PTRACE_GETEVENTMSG, child, NULL, &started) || !started) return;
    kill((pid_t)started, SIGKILL);
    kill(child, SIGKILL);
    waitpid((pid_t)started, NULL, __WALL);
}

/* Why steps ended before the mark. */
static bool refuse_status(const problem *p, pid_t child, int status, complaint *why)
{
    if (WIFSTOPPED(status) && status >> 16) end_started(child);
    if (!WIFSTOPPED(status)) return refuse(why, "%s: a build ends the process when it is stepped", p->id);
    if (status >> 16) return refuse(why, "%s: a build starts a thread, and instructions are counted on one", p->id);
    return refuse(why, "%s: a build dies of signal %d when it is stepped", p->id, WSTOPSIG(status));
}

static bool step_once(pid_t child, int *status, complaint *why)
{
    if (!ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) && waitpid(child, status, 0) == child) return true;
    return refuse(why, "instructions can't be counted here: a process can't be stepped: %s", strerror(errno));
}

/* From the first mark to the last. */
static bool step_all(const problem *p, pid_t child, long *instructions, complaint *why)
{
    int status;
    for (*instructions = 0; *instructions < MOST_INSTRUCTIONS;) {
        if (!step_once(child, &status, why)) return false;
        bool const stopped = WIFSTOPPED(status) && !(status >> 16);
        if (stopped && WSTOPSIG(status) == SIGILL && at_end(child)) return true;
        if (stopped && is_from_outside(WSTOPSIG(status))) continue;
        if (!stopped || WSTOPSIG(status) != SIGTRAP) return refuse_status(p, child, status, why);
        ++*instructions;
    }
    return refuse(why, "%s takes more than %d instructions, too many to count", p->id, MOST_INSTRUCTIONS);
}

static bool step(const problem *p, pid_t child, report *said, complaint *why)
{
    long const options = PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK;
    int status;
    bool const there = waitpid(child, &status, 0) == child && WIFSTOPPED(status);
    if (*said->why.text) return refuse(why, "%s", said->why.text);
    if (!there) return refuse(why, "%s: a build died before it was stepped", p->id);
    if (ptrace(PTRACE_SETOPTIONS, child, NULL, options))
        return refuse(why, "instructions can't be counted here: a process can't be stepped: %s", strerror(errno));
    return step_all(p, child, &said->count.instructions, why);
}

static bool step_in_process(rotation *r, const char *file, report *said, complaint *why)
{
    pid_t const child = fork();
    if (child == 0) be_stepped(r, file, said);
    if (child < 0) return refuse(why, "no process to count %s in", r->p->id);
    bool const good = step(r->p, child, said, why);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return good;
}

bool exact_steps(rotation *r, const char *file, exact_count *count, complaint *why)
{
    report *const said = mmap(NULL, sizeof *said, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (said == MAP_FAILED) return refuse(why, "no memory to count %s", r->p->id);
    bool const good = step_in_process(r, file, said, why);
    *count = said->count;
    munmap(said, sizeof *said);
    return good;
}
#else
bool exact_steps(rotation *r, const char *file, exact_count *count, complaint *why)
{
    (void)r, (void)file, (void)count;
    return refuse(why, "instructions are counted on x86-64 only");
}
#endif
