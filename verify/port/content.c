/* See content.h. */
#include "content.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4200 };

static void add_text(fingerprint *f, const char *what, const char *text)
{
    fingerprint_add(f, what, text, strlen(text));
}

/* The file that a command's first word means: as it stands, or on the PATH. */
static bool find_command(const char *word, char path[PATH_SIZE])
{
    const char *dir = getenv("PATH");
    snprintf(path, PATH_SIZE, "%s", word);
    if (strchr(word, '/')) return true;
    for (; dir && *dir; dir += strcspn(dir, ":"), dir += *dir == ':') {
        snprintf(path, PATH_SIZE, "%.*s/%s", (int)strcspn(dir, ":"), dir, word);
        if (!access(path, X_OK)) return true;
    }
    return false;
}

static bool add_named_file(fingerprint *f, const char *path, complaint *why)
{
    struct stat st;
    return stat(path, &st) || !S_ISREG(st.st_mode) || fingerprint_add_file(f, path, path, why);
}

/* Every word of the command, and what stands behind a '=' in it, may be the name of a file. */
static bool add_command(fingerprint *f, const char *command, complaint *why)
{
    static const char between[] = " \t\n\"'`;&|<>()";
    char word[sizeof((backend *)0)->target], path[PATH_SIZE];
    bool good = true, first = true;
    add_text(f, "command", command);
    for (const char *s = command + strspn(command, between); good && *s; s += strspn(s, between), first = false) {
        size_t const length = strcspn(s, between);
        snprintf(word, sizeof word, "%.*s", (int)length, s);
        const char *const value = strchr(word, '=');
        good = add_named_file(f, first && find_command(word, path) ? path : word, why) &&
               (!value || add_named_file(f, value + 1, why));
        s += length;
    }
    return good;
}

bool content_add(fingerprint *f, const backend *b, const char *hello, complaint *why)
{
    add_text(f, "port", b->name);
    fingerprint_add(f, "kind", &b->kind, sizeof b->kind);
    add_text(f, "hello", hello);
    if (b->kind == BACKEND_PROGRAM) return add_command(f, b->target, why);
    return b->kind == BACKEND_BUILT_IN || fingerprint_add_file(f, "object", b->target, why);
}

const char *content_lacks(const backend *b)
{
    if (b->kind == BACKEND_PROGRAM)
        return "its command line, the files that this names, and its hello; not what these load";
    return b->kind == BACKEND_SHARED_OBJECT ? "the content of its file; not the libraries that it loads" : NULL;
}
