/* See kernels.h. */
#include "kernels.h"

#include "files/products.h"
#include "printable.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NO_COMPILER = 77 };

typedef struct {
    int code;        /* exit code */
    char text[1024]; /* what it printed: lines */
} reply;

static _Noreturn void become(const char *script, const char *file, int output)
{
    dup2(output, STDOUT_FILENO);
    execl(script, script, file, (char *)NULL);
    printf("%s isn't there: make\n", script);
    fflush(stdout);
    _exit(EXIT_FAILURE);
}

static void read_reply(int from, reply *r)
{
    size_t n = 0;
    for (ssize_t got; n + 1 < sizeof r->text && (got = read(from, r->text + n, sizeof r->text - 1 - n)) > 0;)
        n += (size_t)got;
    r->text[n] = 0;
}

/* False: it did not end by itself. */
static bool run_script(const char *script, const char *file, reply *r)
{
    int ends[2], status = 0;
    fflush(NULL);
    if (pipe(ends)) return false;
    pid_t const child = fork();
    if (!child) become(script, file, ends[1]);
    close(ends[1]);
    read_reply(ends[0], r);
    close(ends[0]);
    bool const ended = child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status);
    r->code = WEXITSTATUS(status);
    return ended;
}

/* "rmsnorm(sm_80 PTX on CPU)", of rmsnorm.cu. */
static void name_kernels(const char *file, const char *target, backend *out)
{
    char stem[32];
    const char *const slash = strrchr(file, '/'), *const last = slash ? slash + 1 : file;
    printable(stem, sizeof stem, last, strcspn(last, "."), false);
    for (char *c = stem; *c; c++)
        if (*c == '"' || *c == '\\') *c = '_';
    snprintf(out->name, sizeof out->name, *target ? "%s(%.12s PTX on CPU)" : "%s", stem, target);
}

bool kernels_build(const char *file, backend *out, complaint *why)
{
    reply r = {0};
    char script[600];
    products_folder(script, 512);
    strcat(script, "/ports/cuda/port.sh");
    if (!run_script(script, file, &r)) return refuse(why, "cuda:%.200s: %s did not end by itself", file, script);
    char *const target = strchr(r.text, '\n');
    if (!target) return refuse(why, "cuda:%.200s: %s says nothing", file, script);
    *target = 0;
    target[1 + strcspn(target + 1, "\n")] = 0;
    if (r.code && r.code != NO_COMPILER) return refuse(why, "cuda:%.200s: %s", file, r.text);
    name_kernels(file, r.code ? "" : target + 1, out);
    out->emulated = true;
    if (r.code)
        snprintf(out->absent, sizeof out->absent, "%.255s", r.text);
    else
        snprintf(out->target, sizeof out->target, "%.767s", r.text);
    return true;
}
