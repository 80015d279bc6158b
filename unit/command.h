/* Runs a program for a test and keeps what it printed. */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#ifndef BUILD
#define BUILD "build"
#endif

typedef struct {
    int code;          /* exit code; 128 + n for a signal */
    char out[1 << 17]; /* standard output and standard error, in that order */
    char err[8192];    /* standard error alone */
} outcome;

static inline void read_file(const char *path, char *text, size_t cap)
{
    FILE *const f = fopen(path, "r");
    size_t const n = f ? fread(text, 1, cap - 1, f) : 0;
    text[n] = 0;
    if (f) fclose(f);
}

/* arguments are shell words; environment stands before the program, as in "PLANT=nan". */
static inline outcome *run_program(const char *environment, const char *program, const char *arguments)
{
    static outcome o;
    char name[] = "/tmp/dsv3-test-XXXXXX", command[4096];
    int const fd = mkstemp(name);
    if (fd < 0) abort();
    snprintf(command, sizeof command, "%s %s/bin/%s %s 2>%s", environment, BUILD, program, arguments, name);
    FILE *const pipe = popen(command, "r");
    if (!pipe) abort();
    size_t const n = fread(o.out, 1, sizeof o.out - 1, pipe);
    o.out[n] = 0;
    int const status = pclose(pipe);
    o.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    read_file(name, o.err, sizeof o.err);
    remove(name);
    return &o;
}

/* Of what --format=jsonl prints: the first result, behind the line about the run; "" if there is none. */
static inline const char *first_result(const char *out)
{
    for (; *out; out += strcspn(out, "\n") + (strchr(out, '\n') != NULL))
        if (!strncmp(out, "{\"id\":", 6)) return out;
    return "";
}

static inline outcome *run_verify(const char *environment, const char *arguments)
{
    return run_program(environment, "verify", arguments);
}

#endif
