/* See program.h. */
#include "program.h"

#include "case/folder.h"
#include "case_folders.h"
#include "deadline.h"
#include "replay.h"
#include "reply.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_SIZE = 65536 };

struct program {
    char command[768];
    port_limits limits;
    process process; /* pid 0: it runs no more */
    heard heard;     /* of the case in work; of the first, of the start too */
    bool asked;      /* of a case, since it was started */
    bool left_out;   /* the last case was none for it */
    int late;        /* starts in a row that were too late */
    op_names ops;
    char line[LINE_SIZE]; /* what was read and not yet used */
    size_t held;
};

/* ---- the process ---- */

/* In the child: requests on 3, answers on 4, far below where they were. */
static _Noreturn void become(const char *command, const process *p, pid_t asker)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != asker) _exit(0);
    int const in = fcntl(p->requests, F_DUPFD_CLOEXEC, 10), out = fcntl(p->answers, F_DUPFD_CLOEXEC, 10);
    dup2(in, 3);
    dup2(out, 4);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static bool start(program *p)
{
    pid_t const asker = getpid();
    if (!process_start(&p->process, &p->heard)) return false;
    if (p->process.pid == 0) become(p->command, &p->process, asker);
    return true;
}

/* Waits a little for a program that was told to end, then kills its whole group. Returns its status. */
static int finish(program *p, double patience)
{
    return process_end(&p->process, patience);
}

/* The shell that started the program reports its signal as exit code 128 + n. */
static port_outcome died(program *p, complaint *why)
{
    int const status = finish(p, 1);
    int const code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    const char *const name = code > 128 ? sigabbrev_np(code - 128) : NULL;
    if (name)
        refuse(why, "signal %s", name);
    else
        refuse(why, "the program ended with exit code %d%s", code,
               code == 127 ? ": the shell found no such command" : "");
    return PORT_CRASHED;
}

/* ---- lines ---- */

/* The length of the line that stands in p->line, its newline too, once it is whole. */
static port_outcome await_line(program *p, const deadline *until, size_t *length, complaint *why)
{
    for (;;) {
        const char *const end = memchr(p->line, '\n', p->held);
        if (end) return *length = (size_t)(end - p->line) + 1, PORT_RAN;
        if (p->held == LINE_SIZE)
            return refuse(why, "its answer is a line of more than %d bytes", LINE_SIZE), PORT_REJECTED;
        ssize_t const got = deadline_read_some(until, &p->process, p->line + p->held, LINE_SIZE - p->held);
        if (got < 0) return finish(p, 0), deadline_missed(until, why);
        if (got == 0) return died(p, why);
        p->held += (size_t)got;
    }
}

static void drop_line(program *p, size_t length)
{
    memmove(p->line, p->line + length, p->held - length);
    p->held -= length;
}

static bool send_line(program *p, const char *line, const deadline *until)
{
    return deadline_write_all(until, &p->process, line, strlen(line)) > 0;
}

/* Nothing may have come before it was asked for: it would be taken for the answer. */
static bool is_silent(const program *p)
{
    struct pollfd answers = {p->process.answers, POLLIN, 0};
    return p->held == 0 && (poll(&answers, 1, 0) <= 0 || !(answers.revents & POLLIN));
}

/* ---- hello ---- */

/* A command that begins with a path to nothing is refused before a shell complains in its own words. */
static bool program_exists(const char *command)
{
    char path[1024];
    size_t const length = strcspn(command, " \t\"'$`;&|<>()*?");
    if (length >= sizeof path || !memchr(command, '/', length)) return true;
    snprintf(path, sizeof path, "%.*s", (int)length, command);
    return access(path, X_OK) == 0;
}

/* Starts the program and reads its hello: PORT_RAN, or it doesn't run and why says why. */
static port_outcome begin(program *p, complaint *why)
{
    size_t length = 0;
    p->held = 0;
    p->asked = false;
    if (!program_exists(p->command)) return refuse(why, "'%.200s': %s", p->command, strerror(errno)), PORT_NOT_ASKED;
    if (!start(p)) return refuse(why, "cannot start a process"), PORT_NOT_ASKED;
    deadline const until = deadline_in(p->limits.start);
    port_outcome outcome = await_line(p, &until, &length, why);
    if (outcome == PORT_RAN && !hello_read(p->line, length - 1, &p->ops, why)) outcome = PORT_REJECTED;
    drop_line(p, length);
    if (outcome == PORT_RAN) return PORT_RAN;
    finish(p, 2);
    complaint const reason = *why;
    refuse(why, "'%.200s': %s", p->command, reason.text);
    return outcome;
}

static void begin_answer(program *p, answer *a)
{
    complaint why = {""};
    port_outcome const outcome = begin(p, &why);
    answer_set(a, outcome, why.text);
    answer_make_printable(a);
    p->late = outcome == PORT_LATE ? p->late + 1 : 0;
}

program *program_open(const char *command, port_limits limits, answer *hello)
{
    program *const p = calloc(1, sizeof *p);
    if (!p) abort();
    snprintf(p->command, sizeof p->command, "%s", command);
    p->limits = limits;
    begin_answer(p, hello);
    return p;
}

void program_close(program *p)
{
    finish(p, 2);
    free(p);
}

const heard *program_heard(const program *p)
{
    static heard const nothing;
    return p->left_out ? &nothing : &p->heard;
}

const char *program_called(const program *p)
{
    return p->ops.called;
}

const char *program_hello(const program *p)
{
    return p->ops.port;
}

bool program_has_op(const program *p, const char *name)
{
    for (int i = 0; i < p->ops.count; i++)
        if (!strcmp(p->ops.name[i], name)) return true;
    return false;
}

/* ---- one run of a case ---- */

/* {"case": DIR} and a newline, malloc'd; NULL: the path can't be said in JSON. */
static char *request_for(const char *dir)
{
    json_t *const request = json_pack("{s:s}", "case", dir);
    char *const text = request ? json_dumps(request, 0) : NULL;
    char *line = NULL;
    json_decref(request);
    if (text && asprintf(&line, "%s\n", text) < 0) line = NULL;
    free(text);
    return line;
}

/* The case is in the folder; the outputs will be. */
static port_outcome ask_for_folder(program *p, const char *dir, answer *a, complaint *why)
{
    size_t length = 0;
    char *const line = request_for(dir);
    deadline const until = deadline_in(p->limits.timeout);
    if (!line) return refuse(why, "TMPDIR is no UTF-8, so a program can't be told of it: %s", dir), PORT_NOT_ASKED;
    bool const silent = is_silent(p), sent = silent && send_line(p, line, &until);
    free(line);
    if (!silent) return refuse(why, "it answers before it is asked"), PORT_REJECTED;
    port_outcome outcome = sent ? await_line(p, &until, &length, why) : died(p, why);
    if (outcome == PORT_RAN) outcome = reply_read(p->line, length - 1, a, why);
    drop_line(p, length);
    return outcome;
}

/* What isn't a file may never end. */
static port_outcome read_outputs(const char *dir, const problem *pr, void *const data[], answer *a, complaint *why)
{
    char path[4200];
    struct stat st;
    snprintf(path, sizeof path, "%s/outputs.safetensors", dir);
    bool const there = !lstat(path, &st);
    if (!there && errno == ENOENT) return refuse(why, "it said ok and wrote no outputs.safetensors"), PORT_REJECTED;
    if (there && !S_ISREG(st.st_mode)) return refuse(why, "%s is no regular file", path), PORT_REJECTED;
    return folder_read_outputs(path, pr, data, false, &a->left_out[0], why) ? PORT_RAN : PORT_REJECTED;
}

static port_outcome run_in_folder(program *p, const problem *pr, void *const data[], answer *a, complaint *why)
{
    char dir[4000];
    a->declared[0] = 0;
    if (!case_folder_make(dir, sizeof dir, why)) return PORT_NOT_ASKED;
    port_outcome outcome = folder_write(dir, pr, data, false, why) ? PORT_RAN : PORT_NOT_ASKED;
    if (outcome == PORT_RAN) outcome = ask_for_folder(p, dir, a, why);
    if (outcome == PORT_RAN) outcome = read_outputs(dir, pr, data, a, why);
    case_folder_remove(dir);
    return outcome;
}

static void run_step(program *p, const problem *pr, void *const data[], answer *a)
{
    complaint why = {""};
    port_outcome const outcome = run_in_folder(p, pr, data, a, &why);
    if (outcome == PORT_SKIPPED)
        answer_skip(a, SKIP_SAID, why.text);
    else
        answer_set(a, outcome, why.text);
    answer_make_printable(a);
    if (outcome != PORT_RAN && outcome != PORT_SKIPPED) finish(p, 2); /* dead, or out of step */
}

/* An answer to one step, put into that to the whole sequence. */
static void add_step(const problem *pr, int step, const answer *here, answer *a)
{
    char text[sizeof a->why];
    snprintf(text, sizeof text, "step %d of %d: %.480s", step + 1, pr->steps, here->why);
    snprintf(answer_declared(a, step), REF_NUMERICS_CAP, "%s", here->declared);
    a->left_out[step] = here->left_out[0];
    a->outcome = here->outcome;
    a->skip = here->skip;
    snprintf(a->why, sizeof a->why, "%s", here->outcome == PORT_RAN ? "" : text);
}

static void run_once(program *p, const problem *pr, void *const data[], answer *a)
{
    if (!pr->steps) return run_step(p, pr, data, a);
    for (int s = 0, first = 0; s < pr->steps; first += pr->step[s++].tensors) {
        answer here = {.outcome = PORT_NOT_ASKED};
        run_step(p, &pr->step[s], data + first, &here);
        add_step(pr, s, &here, a);
        if (here.outcome != PORT_RAN) return;
    }
}

/* ---- twice: a port must answer the same ---- */

static void free_own_outputs(const problem *pr, void **own)
{
    for (int i = 0; i < pr->tensors; i++)
        if (pr->tensor[i].row->kind == TENSOR_OUT) free(own[i]);
    free(own);
}

/* data[] with outputs of its own; NULL: no memory. */
static void **with_own_outputs(const problem *pr, void *const data[])
{
    void **const own = calloc((size_t)pr->tensors + 1, sizeof *own);
    bool good = own != NULL;
    for (int i = 0; good && i < pr->tensors; i++) {
        own[i] = pr->tensor[i].row->kind == TENSOR_OUT ? malloc(pr->tensor[i].bytes) : data[i];
        good = own[i] != NULL;
    }
    if (good || !own) return own;
    free_own_outputs(pr, own);
    return NULL;
}

static void compare_runs(const problem *pr, void *const first[], void *const second[], answer *a)
{
    char why[160];
    for (int i = 0; i < pr->tensors; i++) {
        if (!memcmp(first[i], second[i], pr->tensor[i].bytes)) continue;
        snprintf(why, sizeof why, "two runs on the same inputs differ in %s", pr->tensor[i].name);
        answer_set(a, PORT_NONDET, why);
        return;
    }
}

static bool compare_replays(const problem *pr, void *const data[], answer *a)
{
    char why[200];
    bool const differs = replay_differs(pr, data, why, sizeof why);
    if (differs) answer_set(a, PORT_NONDET, why);
    return !differs;
}

static void run_twice(program *p, const problem *pr, void *const data[], answer *a)
{
    double const from = now();
    run_once(p, pr, data, a);
    if (a->outcome != PORT_RAN) return;
    a->seconds = now() - from;
    void **const second = with_own_outputs(pr, data);
    if (!second) { /* a check that was not made is no success */
        answer_set(a, PORT_NOT_ASKED, "no memory for a second run");
        return;
    }
    run_once(p, pr, second, a);
    if (a->outcome == PORT_RAN && compare_replays(pr, data, a))
        compare_runs(pr, data, second, a);
    else if (a->outcome == PORT_SKIPPED)
        answer_set(a, PORT_NONDET, "it answered, and asked again for the same case it says unsupported");
    free_own_outputs(pr, second);
}

static bool has_views(const problem *pr)
{
    for (int i = 0; i < pr->tensors; i++)
        if (pr->tensor[i].wide) return true;
    return false;
}

void program_ask(program *p, const problem *pr, void *const data[], answer *a)
{
    if (!p->process.pid || p->asked) p->heard.kept = 0, p->heard.bytes = 0;
    p->left_out = false;
    answer_set(a, PORT_RAN, "");
    if (p->late >= MOST_LATE_STARTS) return answer_set(a, PORT_LATE, late_starts);
    if (!p->process.pid) begin_answer(p, a);
    if (a->outcome != PORT_RAN) return;
    bool const has_op = program_has_op(p, pr->op->name);
    p->left_out = !has_op || has_views(pr);
    if (p->left_out) return answer_skip(a, has_op ? SKIP_VIEW : SKIP_OP, NULL);
    p->asked = true;
    run_twice(p, pr, data, a);
    if (p->process.pid) process_hear(&p->process);
}
