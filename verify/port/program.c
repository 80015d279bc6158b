/* See program.h. */
#include "program.h"

#include "case/folder.h"
#include "deadline.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LINE_SIZE = 65536, MAX_OPS = 64, PROTOCOL = 1 };

struct program {
    char command[768];
    double timeout;
    process process; /* leads a process group of its own; pid 0: it runs no more */
    char op[MAX_OPS][32];
    int ops;
    char hello[256];      /* its name and version */
    char line[LINE_SIZE]; /* what was read and not yet used */
    size_t held;
};

/* ---- the process ---- */

/* In the child: requests on 3, answers on 4, standard output joined to standard error. */
static _Noreturn void become(const char *command, int requests, int answers)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int const in = fcntl(requests, F_DUPFD, 10), out = fcntl(answers, F_DUPFD, 10);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    dup2(in, 3);
    dup2(out, 4);
    close(in);
    close(out);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static bool start(program *p)
{
    if (!process_start(&p->process)) return false;
    if (p->process.pid == 0) become(p->command, p->process.requests, p->process.answers);
    return true;
}

/* Waits a little for a program that was told to end, then kills its whole group. Returns its status. */
static int finish(program *p, double patience)
{
    process *const c = &p->process;
    int status = 0;
    double const last = now() + patience;
    if (c->pid <= 0) return 0;
    close(c->requests);
    close(c->answers);
    pid_t ended = waitpid(c->pid, &status, WNOHANG);
    while (ended == 0 && now() < last) {
        nanosleep(&(struct timespec){0, 2000000}, NULL);
        ended = waitpid(c->pid, &status, WNOHANG);
    }
    kill(-c->pid, SIGKILL);
    if (ended == 0) waitpid(c->pid, &status, 0);
    c->pid = 0;
    return status;
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

/* Reads one line into p->line (NUL for the newline); its length with the newline into *used. */
static port_outcome read_line(program *p, const deadline *until, size_t *used, complaint *why)
{
    for (;;) {
        char *const end = memchr(p->line, '\n', p->held);
        if (end) {
            *end = 0;
            *used = (size_t)(end - p->line) + 1;
            return PORT_RAN;
        }
        if (p->held == LINE_SIZE)
            return refuse(why, "its answer is a line of more than %d bytes", LINE_SIZE), PORT_REJECTED;
        ssize_t const got = deadline_read_some(until, p->process.answers, p->line + p->held, LINE_SIZE - p->held);
        if (got < 0) return finish(p, 0), deadline_missed(until, why);
        if (got == 0) return died(p, why);
        p->held += (size_t)got;
    }
}

/* One reply as a JSON object; the caller drops it. */
static port_outcome read_reply(program *p, const deadline *until, json_t **reply, complaint *why)
{
    size_t used = 0;
    json_error_t error;
    port_outcome const outcome = read_line(p, until, &used, why);
    if (outcome != PORT_RAN) return outcome;
    *reply = json_loads(p->line, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(*reply)) {
        refuse(why, "its answer is no JSON object: '%.80s'", p->line);
        json_decref(*reply);
        *reply = NULL;
    }
    memmove(p->line, p->line + used, p->held - used);
    p->held -= used;
    return *reply ? PORT_RAN : PORT_REJECTED;
}

static bool send_line(program *p, const char *line)
{
    void (*const before)(int) = signal(SIGPIPE, SIG_IGN);
    bool const sent = write_all(p->process.requests, line, strlen(line));
    signal(SIGPIPE, before);
    return sent;
}

/* ---- hello ---- */

static bool read_hello(program *p, json_t *reply, complaint *why)
{
    json_t *const hello = json_object_get(reply, "hello"), *const list = json_object_get(hello, "ops");
    json_t *const protocol = json_object_get(hello, "protocol");
    const char *const name = json_string_value(json_object_get(hello, "name"));
    if (!json_is_object(hello)) return refuse(why, "its first line is no {\"hello\": ...}; see docs/formats.md");
    if (!json_is_integer(protocol) || json_integer_value(protocol) != PROTOCOL)
        return refuse(why, "its hello doesn't speak protocol %d", PROTOCOL);
    if (!name || !json_is_array(list)) return refuse(why, "its hello lacks name or ops");
    const char *const version = json_string_value(json_object_get(hello, "version"));
    snprintf(p->hello, sizeof p->hello, "%.120s %.120s", name, version ? version : "");
    for (size_t i = 0; i < json_array_size(list) && i < MAX_OPS; i++) {
        const char *const o = json_string_value(json_array_get(list, i));
        if (o) snprintf(p->op[p->ops++], sizeof p->op[0], "%s", o);
    }
    return true;
}

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
    json_t *reply = NULL;
    p->ops = 0;
    p->held = 0;
    if (!program_exists(p->command)) return refuse(why, "'%.200s': %s", p->command, strerror(errno)), PORT_NOT_ASKED;
    if (!start(p)) return refuse(why, "cannot start a process"), PORT_NOT_ASKED;
    deadline const until = deadline_in(p->timeout);
    port_outcome outcome = read_reply(p, &until, &reply, why);
    if (outcome == PORT_RAN && !read_hello(p, reply, why)) outcome = PORT_REJECTED;
    json_decref(reply);
    if (outcome == PORT_RAN) return PORT_RAN;
    finish(p, 2);
    complaint const reason = *why;
    refuse(why, "'%.200s': %s", p->command, reason.text);
    return outcome;
}

program *program_open(const char *command, double timeout, complaint *why)
{
    program *const p = calloc(1, sizeof *p);
    if (!p) return refuse(why, "no memory for a program"), NULL;
    snprintf(p->command, sizeof p->command, "%s", command);
    p->timeout = timeout;
    if (begin(p, why) == PORT_RAN) return p;
    free(p);
    return NULL;
}

void program_close(program *p)
{
    finish(p, 2);
    free(p);
}

const char *program_hello(const program *p)
{
    return p->hello;
}

bool program_has_op(const program *p, const char *name)
{
    for (int i = 0; i < p->ops; i++)
        if (!strcmp(p->op[i], name)) return true;
    return false;
}

/* ---- one run of a case ---- */

static bool make_folder(char *dir, size_t cap, complaint *why)
{
    const char *const root = getenv("TMPDIR");
    snprintf(dir, cap, "%s/dsv3-case-XXXXXX", root && *root ? root : "/tmp");
    if (mkdtemp(dir)) return true; /* mode 0700 */
    return refuse(why, "cannot make a folder %s: %s", dir, strerror(errno));
}

static void remove_folder(const char *dir)
{
    static const char *const files[] = {"case.json", "inputs.safetensors", "outputs.safetensors",
                                        "inputs.safetensors.part"};
    char path[4200];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        remove(path);
    }
    rmdir(dir);
}

/* What the program said: ok, unsupported or error. */
static port_outcome read_outcome(const json_t *reply, answer *a, complaint *why)
{
    const char *const unsupported = json_string_value(json_object_get(reply, "unsupported"));
    const char *const error = json_string_value(json_object_get(reply, "error"));
    const char *const declared = json_string_value(json_object_get(reply, "numerics"));
    snprintf(a->declared, sizeof a->declared, "%s", declared ? declared : "");
    if (unsupported) return refuse(why, "%s", unsupported), PORT_SKIPPED;
    if (error) return refuse(why, "the port reports: %s", error), PORT_REJECTED;
    if (json_is_true(json_object_get(reply, "ok"))) return PORT_RAN;
    return refuse(why, "its answer has none of ok, unsupported, error"), PORT_REJECTED;
}

/* The case is in the folder; the outputs will be. */
static port_outcome ask_for_folder(program *p, const char *dir, answer *a, complaint *why)
{
    char line[4400];
    json_t *reply = NULL;
    deadline const until = deadline_in(p->timeout);
    snprintf(line, sizeof line, "{\"case\": \"%s\"}\n", dir);
    if (!send_line(p, line)) return died(p, why);
    port_outcome outcome = read_reply(p, &until, &reply, why);
    if (outcome == PORT_RAN) outcome = read_outcome(reply, a, why);
    json_decref(reply);
    return outcome;
}

static port_outcome run_in_folder(program *p, const problem *pr, void *const data[], answer *a, complaint *why)
{
    char dir[4000], path[4200];
    a->declared[0] = 0;
    if (!make_folder(dir, sizeof dir, why)) return PORT_NOT_ASKED;
    port_outcome outcome = folder_write(dir, pr, data, why) ? PORT_RAN : PORT_NOT_ASKED;
    if (outcome == PORT_RAN) outcome = ask_for_folder(p, dir, a, why);
    snprintf(path, sizeof path, "%s/outputs.safetensors", dir);
    if (outcome == PORT_RAN && !folder_read_outputs(path, pr, data, why)) outcome = PORT_REJECTED;
    remove_folder(dir);
    return outcome;
}

static void run_once(program *p, const problem *pr, void *const data[], answer *a)
{
    complaint why = {""};
    port_outcome const outcome = run_in_folder(p, pr, data, a, &why);
    if (outcome == PORT_SKIPPED)
        answer_skip(a, SKIP_SAID, why.text);
    else
        answer_set(a, outcome, why.text);
    if (outcome != PORT_RAN && outcome != PORT_SKIPPED) finish(p, 2); /* dead, or out of step */
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
    if (a->outcome == PORT_RAN) compare_runs(pr, data, second, a);
    free_own_outputs(pr, second);
}

void program_ask(program *p, const problem *pr, void *const data[], answer *a)
{
    complaint why = {""};
    port_outcome const begun = p->process.pid ? PORT_RAN : begin(p, &why);
    if (begun != PORT_RAN)
        answer_set(a, begun, why.text);
    else if (!program_has_op(p, pr->op->name))
        answer_skip(a, SKIP_OP, NULL);
    else
        run_twice(p, pr, data, a);
}
