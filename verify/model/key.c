/* See key.h. */
#include "key.h"

#include "port/content.h"

#include <stdio.h>

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

static void add_time(fingerprint *f, struct timespec t)
{
    add_number(f, "seconds", t.tv_sec);
    add_number(f, "nanoseconds", t.tv_nsec);
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
        add_time(f, id->written);
        add_time(f, id->changed); /* whoever writes can put back the other */
        add_header(f, &c->file[i].content.map);
    }
    return checkpoint_check_unchanged(c, why);
}

bool model_key(const model_run *m, const backend *b, char key[FINGERPRINT_TEXT], complaint *why)
{
    fingerprint *const f = fingerprint_open();
    add_text(f, "parts", "1");
    add_text(f, "generator", "1");
    bool const good = fingerprint_add_file(f, "program", "/proc/self/exe", why) && add_checkpoint(f, m->weights, why) &&
                      (!b || content_add(f, b, port_hello(m->judged), why));
    fingerprint_add(f, "tokens", m->tokens, (size_t)m->n_tokens * sizeof *m->tokens);
    add_number(f, "format", m->format);
    add_number(f, "diagnose", m->diagnose);
    fingerprint_close(f, key);
    return good;
}
