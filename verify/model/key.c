/* See key.h. */
#include "key.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4200 };

static void add_text(fingerprint *f, const char *what, const char *text)
{
    fingerprint_add(f, what, text, strlen(text));
}

static void add_number(fingerprint *f, const char *what, int64_t number)
{
    fingerprint_add(f, what, &number, sizeof number);
}

/* ---- the checkpoint ---- */

static bool add_file_of(fingerprint *f, const checkpoint *c, const char *name, complaint *why)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", c->dir, name);
    return fingerprint_add_file(f, name, path, why);
}

/* 8 bytes of length and the header: where the data of each tensor lie. */
static void add_header(fingerprint *f, const file_map *m)
{
    uint64_t length;
    memcpy(&length, m->data, sizeof length);
    fingerprint_add(f, "header", m->data, sizeof length + (size_t)length);
}

static bool add_checkpoint(fingerprint *f, const checkpoint *c, complaint *why)
{
    if (!add_file_of(f, c, "config.json", why)) return false;
    if (c->indexed && !add_file_of(f, c, "model.safetensors.index.json", why)) return false;
    for (int64_t i = 0; i < c->files; i++) {
        const file_identity *const id = &c->file[i].content.map.identity;
        add_text(f, "shard", c->file[i].name);
        add_number(f, "size", id->size);
        add_number(f, "seconds", id->written.tv_sec);
        add_number(f, "nanoseconds", id->written.tv_nsec);
        add_header(f, &c->file[i].content.map);
    }
    return checkpoint_check_unchanged(c, why);
}

/* ---- the port ---- */

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

static bool add_port(fingerprint *f, const model_run *m, const backend *b, complaint *why)
{
    add_text(f, "port", b->name);
    add_number(f, "kind", b->kind);
    add_text(f, "hello", port_hello(m->judged));
    if (b->kind == BACKEND_PROGRAM) return add_command(f, b->target, why);
    return b->kind == BACKEND_BUILT_IN || fingerprint_add_file(f, "object", b->target, why);
}

const char *model_key_lacks(const backend *b)
{
    if (b->kind == BACKEND_PROGRAM)
        return "its command line, the files that this names, and its hello; not what these load";
    return b->kind == BACKEND_SHARED_OBJECT ? "the content of its file; not the libraries that it loads" : NULL;
}

bool model_key(const model_run *m, const backend *b, char key[FINGERPRINT_TEXT], complaint *why)
{
    fingerprint *const f = fingerprint_open();
    add_text(f, "parts", "1");
    add_text(f, "generator", "1");
    bool const good = fingerprint_add_file(f, "program", "/proc/self/exe", why) && add_checkpoint(f, m->weights, why) &&
                      (!b || add_port(f, m, b, why));
    fingerprint_add(f, "tokens", m->tokens, (size_t)m->n_tokens * sizeof *m->tokens);
    add_number(f, "format", m->format);
    add_number(f, "diagnose", m->diagnose);
    fingerprint_close(f, key);
    return good;
}
