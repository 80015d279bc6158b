/* See guardian.h. */
#include "guardian.h"

#include "case_folders.h"
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- what is left below this process ---- */

static int parent_of(const char *pid)
{
    char path[300], text[512];
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *const f = fopen(path, "r");
    if (!f) return 0;
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    const char *const behind_name = strrchr(text, ')');
    return behind_name && sscanf(behind_name + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

static void kill_children(void)
{
    struct dirent *e;
    DIR *const all = opendir("/proc");
    while (all && (e = readdir(all)))
        if (*e->d_name >= '1' && *e->d_name <= '9' && parent_of(e->d_name) == getpid())
            kill((pid_t)atoi(e->d_name), SIGKILL);
    if (all) closedir(all);
}

/* Children of a child that ends become children of this process: so it goes on until there are none. */
static void end_descendants(void)
{
    enum { LIMIT = 10 }; /* seconds */
    for (double const last = now() + LIMIT; now() < last;) {
        pid_t const ended = waitpid(-1, NULL, WNOHANG);
        if (ended < 0 && errno == ECHILD) return;
        if (ended > 0) continue;
        kill_children();
        pause_for(1e-3);
    }
}

static int code_of(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* ---- the guardian ---- */

static void on_child(int number)
{
    (void)number; /* only ends a wait */
}

/* Waits for one: true, its status. What fell to this process is waited for too. */
static bool has_ended(pid_t work, int *status)
{
    int other;
    pid_t ended;
    while ((ended = waitpid(-1, &other, WNOHANG)) > 0) {
        if (ended != work) continue;
        *status = other;
        return true;
    }
    return false;
}

/* Waits until the work has ended. `front` says by single bytes what signal to pass on, and by its end that nobody waits. */
static int watch(pid_t work, int front)
{
    int status = 0;
    sigset_t none;
    sigemptyset(&none);
    while (!has_ended(work, &status)) {
        unsigned char number = SIGKILL;
        struct pollfd said = {front, POLLIN, 0};
        if (ppoll(&said, 1, NULL, &none) <= 0) continue;
        ssize_t const got = read(front, &number, 1);
        if (got < 0) continue;
        kill(work, number);
        if (got == 0) front = -1; /* poll passes over it */
    }
    return code_of(status);
}

/* ---- signals ---- */

static const int passed_on[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
enum { PASSED_ON = sizeof passed_on / sizeof *passed_on };

/* As they were when the command was started. */
typedef struct {
    sigset_t mask;
    struct sigaction action[PASSED_ON];
} signals;

/* None of them acts from now on: they wait. One that was ignored on purpose, as by nohup, stays so; but SIGINT is ignored by
 * whatever a shell starts with &, and acts as it does elsewhere, also before the command has a handler of its own. */
static void hold_signals(signals *before, sigset_t *held)
{
    signal(SIGCHLD, SIG_DFL); /* a caller may have left it ignored, and then nobody could be waited for */
    sigemptyset(held);
    sigaddset(held, SIGCHLD);
    for (int i = 0; i < PASSED_ON; i++) {
        sigaction(passed_on[i], NULL, &before->action[i]);
        bool const ignored = before->action[i].sa_handler == SIG_IGN;
        if (ignored && passed_on[i] == SIGINT) before->action[i] = (struct sigaction){.sa_handler = SIG_DFL};
        if (!ignored || passed_on[i] == SIGINT) sigaddset(held, passed_on[i]);
    }
    sigprocmask(SIG_BLOCK, held, &before->mask);
}

static void restore_signals(const signals *before)
{
    for (int i = 0; i < PASSED_ON; i++) sigaction(passed_on[i], &before->action[i], NULL);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before->mask, NULL);
}

/* ---- the three processes ---- */

static void leave_terminal(void)
{
    struct sigaction const child = {.sa_handler = on_child};
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigaction(SIGCHLD, &child, NULL);
    for (int i = 0; i < PASSED_ON; i++) signal(passed_on[i], SIG_IGN);
}

/* Whoever reads what the command prints waits for the last process that could still print. */
static void close_standard(void)
{
    int const nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; nothing >= 0 && fd <= 2; fd++) dup2(nothing, fd);
}

/* Dies with its parent, which may be gone already. */
static void die_with(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(128 + SIGKILL);
}

static _Noreturn void stop_without_process(void)
{
    fprintf(stderr, "verify: cannot start a process: %s\n", strerror(errno));
    _exit(2);
}

/* Returns in the process that does the work. */
static void be_guardian(const signals *before, int front)
{
    leave_terminal();
    case_folders_own();
    pid_t const guardian = getpid(), work = fork();
    if (work < 0) stop_without_process();
    if (work == 0) {
        close(front);
        die_with(guardian);
        return restore_signals(before);
    }
    close_standard();
    case_folders_sweep();
    int const code = watch(work, front);
    end_descendants();
    case_folders_sweep();
    _exit(code);
}

static _Noreturn void be_front(pid_t guardian, int to_guardian, const sigset_t *held)
{
    int status = 0;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    while (waitpid(guardian, &status, WNOHANG) == 0) {
        int const number = sigwaitinfo(held, NULL);
        unsigned char const byte = (unsigned char)number;
        if (number > 0 && number != SIGCHLD && write(to_guardian, &byte, 1) < 0) continue; /* it is ending */
    }
    if (WIFSIGNALED(status)) {
        end_descendants();
        case_folders_sweep(); /* those of the guardian, which is gone */
    }
    _exit(code_of(status));
}

void guard(void)
{
    int pipe_ends[2];
    signals before;
    sigset_t held;
    if (pipe2(pipe_ends, O_CLOEXEC)) stop_without_process();
    hold_signals(&before, &held);
    fflush(NULL);
    pid_t const guardian = fork();
    if (guardian < 0) stop_without_process();
    if (guardian > 0) {
        close(pipe_ends[0]);
        be_front(guardian, pipe_ends[1], &held);
    }
    close(pipe_ends[1]);
    be_guardian(&before, pipe_ends[0]);
}
