/* See interrupt.h. */
#include "interrupt.h"

#include "port/struck.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What the handlers need; they can be told in no other way. */
static struct {
    pid_t owner; /* processes forked from it are not reported on */
    const checkpoint *weights;
    const char *other; /* what else is mapped */
    char out[1000], words[1000];
} state;

static void say(int fd, const char *text)
{
    ssize_t const written = write(fd, text, strlen(text));
    (void)written;
}

/* In a process of a port: what would have happened without us. */
static bool is_forked(int number)
{
    if (getpid() == state.owner) return false;
    signal(number, SIG_DFL);
    raise(number);
    return true;
}

static void on_interrupt(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (is_forked(number) || struck_by_port(info)) return;
    say(STDOUT_FILENO, state.out);
    say(STDERR_FILENO, isatty(STDERR_FILENO) ? "\r\033[Kverify: interrupted by SIG" : "verify: interrupted by SIG");
    say(STDERR_FILENO, number == SIGINT ? "INT" : number == SIGTERM ? "TERM" : "HUP");
    say(STDERR_FILENO, state.words);
    say(STDERR_FILENO, "\n");
    _exit(128 + number);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (getpid() != state.owner) {
        signal(number, SIG_DFL); /* it happens again, on return */
        return;
    }
    const checkpoint_file *const f = state.weights ? checkpoint_file_at(state.weights, info->si_addr) : NULL;
    say(STDERR_FILENO, isatty(STDERR_FILENO) ? "\r\033[Kverify: " : "verify: ");
    if (f) {
        say(STDERR_FILENO, state.weights->dir);
        say(STDERR_FILENO, "/");
    }
    say(STDERR_FILENO, f ? f->name : state.other && *state.other ? state.other : "a mapped file");
    say(STDERR_FILENO, ": was cut, or can't be read any more, while it was in use\n");
    _exit(2);
}

void interrupt_catch(void)
{
    struct sigaction const end = {.sa_sigaction = on_interrupt, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigaction const fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    struct sigaction before;
    state.owner = getpid();
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGHUP, NULL, &before);
    if (before.sa_handler != SIG_IGN) sigaction(SIGHUP, &end, NULL); /* nohup */
    sigaction(SIGBUS, &fault, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void mask(int how)
{
    sigset_t all;
    sigemptyset(&all);
    sigaddset(&all, SIGINT);
    sigaddset(&all, SIGTERM);
    sigaddset(&all, SIGHUP);
    sigprocmask(how, &all, NULL);
}

void interrupt_hold(void)
{
    mask(SIG_BLOCK);
}

void interrupt_go_on(void)
{
    mask(SIG_UNBLOCK);
}

void interrupt_says(const char *out, const char *words)
{
    snprintf(state.out, sizeof state.out, "%s", out);
    snprintf(state.words, sizeof state.words, "%s", words);
}

void interrupt_watches(const checkpoint *c, const char *other)
{
    state.weights = c;
    state.other = other;
}
