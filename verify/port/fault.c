/* See fault.h. */
#include "fault.h"

#include "twin.h"
#include "wire.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What the handler needs; a signal handler can be told in no other way. */
static struct {
    const arena *memory;
    int answers;
    int step, steps;
    uint64_t serial;
    answer last;
} fault;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    char where[160] = "outside all tensors";
    if (!twin_is_worker()) _exit(128 + number);
    fault.last.outcome = PORT_CRASHED;
    if (fault.memory) arena_locate(fault.memory, info->si_addr, where, sizeof where);
    int used = 0;
    if (fault.step) used = snprintf(fault.last.why, sizeof fault.last.why, "step %d of %d: ", fault.step, fault.steps);
    snprintf(fault.last.why + used, sizeof fault.last.why - (size_t)used, "signal %s: %s", sigabbrev_np(number), where);
    wire_send(fault.answers, FRAME_ANSWER, fault.serial, &fault.last, sizeof fault.last);
    _exit(128 + number);
}

void fault_catch(int answers)
{
    static char stack[64 * 1024];
    stack_t const other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    fault.answers = answers;
    sigaltstack(&other, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

void fault_case(uint64_t serial)
{
    fault.serial = serial;
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

void fault_watch(const arena *memory)
{
    fault.memory = memory;
}
