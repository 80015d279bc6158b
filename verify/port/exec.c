/* See exec.h. */
#include "exec.h"

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

struct exec_port {
    process process; /* leads a process group of its own */
    char op[MAX_OPS][32];
    int ops;
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

static bool start(exec_port *p, const char *command)
{
    if (!process_start(&p->process)) return false;
    if (p->process.pid == 0) become(command, p->process.requests, p->process.answers);
    return true;
}

/* Waits a little for a program that was told to end, then kills its whole group. Returns its status. */
static int finish(exec_port *p, double patience)
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
static port_outcome died(exec_port *p, complaint *why)
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
static port_outcome read_line(exec_port *p, const deadline *until, size_t *used, complaint *why)
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
static port_outcome read_reply(exec_port *p, const deadline *until, json_t **reply, complaint *why)
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

static bool send_line(exec_port *p, const char *line)
{
    void (*const before)(int) = signal(SIGPIPE, SIG_IGN);
    bool const sent = write_all(p->process.requests, line, strlen(line));
    signal(SIGPIPE, before);
    return sent;
}

/* ---- hello ---- */

static bool read_hello(exec_port *p, json_t *reply, complaint *why)
{
    json_t *const hello = json_object_get(reply, "hello"), *const list = json_object_get(hello, "ops");
    json_t *const protocol = json_object_get(hello, "protocol");
    const char *const name = json_string_value(json_object_get(hello, "name"));
    if (!json_is_object(hello)) return refuse(why, "its first line is no {\"hello\": ...}; see docs/formats.md");
    if (!json_is_integer(protocol) || json_integer_value(protocol) != PROTOCOL)
        return refuse(why, "its hello doesn't speak protocol %d", PROTOCOL);
    if (!name || !json_is_array(list)) return refuse(why, "its hello lacks name or ops");
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

exec_port *exec_open(const char *command, double timeout_s, port_outcome *outcome, complaint *why)
{
    exec_port *const p = calloc(1, sizeof *p);
    json_t *reply = NULL;
    *outcome = PORT_NOT_ASKED;
    if (!program_exists(command)) {
        refuse(why, "'%.200s': %s", command, strerror(errno));
        return free(p), NULL;
    }
    refuse(why, "cannot start a process");
    if (!p || !start(p, command)) return free(p), NULL;
    deadline const until = deadline_in(timeout_s);
    *outcome = read_reply(p, &until, &reply, why);
    if (*outcome == PORT_RAN && !read_hello(p, reply, why)) *outcome = PORT_REJECTED;
    json_decref(reply);
    if (*outcome == PORT_RAN) return p;
    exec_close(p);
    complaint const reason = *why;
    refuse(why, "'%.200s': %s", command, reason.text);
    return NULL;
}

bool exec_has_op(const exec_port *port, const char *name)
{
    for (int i = 0; i < port->ops; i++)
        if (!strcmp(port->op[i], name)) return true;
    return false;
}

void exec_close(exec_port *port)
{
    finish(port, 2);
    free(port);
}

/* ---- one case ---- */

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
static port_outcome read_outcome(const json_t *reply, char *numerics, size_t numerics_cap, complaint *why)
{
    const char *const unsupported = json_string_value(json_object_get(reply, "unsupported"));
    const char *const error = json_string_value(json_object_get(reply, "error"));
    const char *const declared = json_string_value(json_object_get(reply, "numerics"));
    snprintf(numerics, numerics_cap, "%s", declared ? declared : "");
    if (unsupported) return refuse(why, "%s", unsupported), PORT_SKIPPED;
    if (error) return refuse(why, "the port reports: %s", error), PORT_REJECTED;
    if (json_is_true(json_object_get(reply, "ok"))) return PORT_RAN;
    return refuse(why, "its answer has none of ok, unsupported, error"), PORT_REJECTED;
}

static port_outcome ask(exec_port *port, const char *dir, const deadline *until, char *numerics, size_t numerics_cap,
                        complaint *why)
{
    char line[4400];
    json_t *reply = NULL;
    snprintf(line, sizeof line, "{\"case\": \"%s\"}\n", dir);
    if (!send_line(port, line)) return died(port, why);
    port_outcome const outcome = read_reply(port, until, &reply, why);
    port_outcome const said = outcome == PORT_RAN ? read_outcome(reply, numerics, numerics_cap, why) : outcome;
    json_decref(reply);
    return said;
}

port_outcome exec_run(exec_port *port, const problem *p, void *const data[], double timeout_s, char *numerics,
                      size_t numerics_cap, complaint *why)
{
    char dir[4000], path[4200];
    numerics[0] = 0;
    if (!make_folder(dir, sizeof dir, why)) return PORT_NOT_ASKED;
    port_outcome outcome = folder_write(dir, p, data, why) ? PORT_RAN : PORT_NOT_ASKED;
    deadline const until = deadline_in(timeout_s);
    if (outcome == PORT_RAN) outcome = ask(port, dir, &until, numerics, numerics_cap, why);
    snprintf(path, sizeof path, "%s/outputs.safetensors", dir);
    if (outcome == PORT_RAN && !folder_read_outputs(path, p, data, why)) outcome = PORT_REJECTED;
    remove_folder(dir);
    return outcome;
}
