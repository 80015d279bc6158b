/* See fault.h. */
#include "fault.h"

#include "case/lazy.h"
#include "twin.h"
#include "wire.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

/* What the handler needs; a signal handler can be told in no other way. */
static struct {
    const arena *memory; /* of so many runs */
    int memories;
    int answers;
    bool working; /* somebody waits for an answer */
    int step, steps;
    uint64_t serial;
    answer last;
} fault;

static atomic_flag answered = ATOMIC_FLAG_INIT; /* by one of many threads */

/* Where the machine doesn't say so: no. */
static bool is_write(const void *context)
{
#if defined(__x86_64__)
    return ((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2;
#else
    return (void)context, false;
#endif
}

static arena_access locate(const void *address, bool writes, char *where, size_t cap)
{
    arena_access found = ACCESS_ELSEWHERE;
    snprintf(where, cap, "outside all tensors");
    for (int i = 0; i < fault.memories && found == ACCESS_ELSEWHERE; i++)
        found = arena_locate(&fault.memory[i], address, writes, where, cap);
    return found;
}

/* The last answer: of a sequence it says which step. */
static _Noreturn void answer_and_end(int number, port_outcome outcome, const char *text)
{
    size_t const cap = sizeof fault.last.why;
    int used = 0;
    fault.last.outcome = outcome;
    if (fault.step) used = snprintf(fault.last.why, cap, "step %d of %d: ", fault.step, fault.steps);
    snprintf(fault.last.why + used, cap - (size_t)used, "%s", text);
    wire_send(fault.answers, FRAME_ANSWER, fault.serial, &fault.last, sizeof fault.last);
    _exit(128 + number);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    char where[160];
    lazy_answer const lazy = is_write(context) ? LAZY_ELSEWHERE : lazy_touch(info->si_addr);
    if (lazy == LAZY_FILLED) return;
    if (!twin_is_worker()) _exit(128 + number);
    if (!fault.working) {
        signal(number, SIG_DFL); /* it happens again, on return */
        return;
    }
    while (atomic_flag_test_and_set(&answered)) pause();
    if (lazy == LAZY_NO_MEMORY) answer_and_end(number, PORT_NOT_ASKED, "no memory for the tensors");
    bool const corrupting = locate(info->si_addr, is_write(context), where, sizeof where) == ACCESS_CORRUPTING;
    char text[200];
    if (corrupting)
        snprintf(text, sizeof text, "the port %s", where);
    else
        snprintf(text, sizeof text, "signal %s: %s", sigabbrev_np(number), where);
    answer_and_end(number, corrupting ? PORT_CORRUPT : PORT_CRASHED, text);
}

void fault_catch(int answers)
{
    static char stack[64 * 1024];
    stack_t const other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    fault.answers = answers;
    fault.working = true;
    sigaltstack(&other, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

void fault_case(uint64_t serial)
{
    fault.serial = serial;
    fault.working = true;
}

void fault_rest(void)
{
    fault.working = false;
}

void fault_begin(const answer *so_far)
{
    fault.last = *so_far;
}

void fault_step(int step, int steps)
{
    fault.step = step;
    fault.steps = steps;
}

void fault_watch(const arena *memory, int count)
{
    fault.memory = memory;
    fault.memories = count;
}
