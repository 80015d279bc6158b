/* See struck.h. */
#include "struck.h"

#include <unistd.h>

/* What a handler leaves behind; it can do so in no other way. */
static volatile sig_atomic_t noted;

bool struck_by_port(const siginfo_t *info)
{
    bool const sent = info->si_code <= 0 && info->si_pid > 0;
    bool const ports = sent && getsid(info->si_pid) == getsid(0) && getpgid(info->si_pid) != getpgrp();
    if (ports) noted = info->si_signo;
    return ports;
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (struck_by_port(info)) return;
    signal(number, SIG_DFL);
    if (info->si_code <= 0) raise(number); /* acts when this returns; a fault happens again */
}

/* Is nobody else concerned with it? */
static bool is_default(int number)
{
    struct sigaction now;
    return !sigaction(number, NULL, &now) && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL;
}

void struck_watch(void)
{
    struct sigaction const action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    for (int number = 1; number <= SIGRTMAX; number++) {
        bool const passes = number == SIGCHLD || number == SIGCONT || number == SIGWINCH || number == SIGURG;
        if (!passes && is_default(number)) sigaction(number, &action, NULL);
    }
}

int struck_take(void)
{
    int const number = noted;
    noted = 0;
    return number;
}
