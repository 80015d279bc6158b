/* See parts.h. */
#include "parts.h"

#include "output_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char magic[] = "dsv3 parts 1\n", seal_name[] = "seal", ending[] = ".safetensors";

const char *part_name(int64_t part, char name[PART_NAME])
{
    if (part < 0)
        snprintf(name, PART_NAME, "whole%s", ending);
    else
        snprintf(name, PART_NAME, "%04lld%s", (long long)part, ending);
    return name;
}

/* ---- the manifest ---- */

static void check_of(const char *text, size_t length, char check[FINGERPRINT_TEXT])
{
    fingerprint *const f = fingerprint_open();
    fingerprint_add(f, "manifest", text, length);
    fingerprint_close(f, check);
}

char *manifest_text(const char *key, int64_t parts, size_t *length)
{
    char *text = NULL, name[PART_NAME], check[FINGERPRINT_TEXT];
    FILE *const f = open_memstream(&text, length);
    if (!f) return NULL;
    fprintf(f, "%skey %s\n", magic, key);
    for (int64_t p = -1; p < parts; p++) fprintf(f, "file %s\n", part_name(p, name));
    fflush(f);
    check_of(text, *length, check);
    fprintf(f, "check %s\n", check);
    return output_end(f) ? (free(text), NULL) : text;
}

/* Takes the line that starts with `word` from [*at, end): what stands behind the word, NUL for the newline. */
static bool take_line(const char **at, const char *end, const char *word, char *value, size_t cap)
{
    size_t const length = strlen(word);
    const char *const stop = memchr(*at, '\n', (size_t)(end - *at));
    if (!stop || (size_t)(stop - *at) < length || memcmp(*at, word, length) != 0) return false;
    size_t const n = (size_t)(stop - *at) - length;
    if (n >= cap || memchr(*at, 0, (size_t)(stop - *at))) return false;
    memcpy(value, *at + length, n);
    value[n] = 0;
    *at = stop + 1;
    return true;
}

/* Is this a name that part_name gives? */
static bool is_part_name(const char *name)
{
    size_t const digits = strspn(name, "0123456789");
    return (digits >= 4 && digits <= 6 && !strcmp(name + digits, ending)) ||
           (!strncmp(name, "whole", 5) && !strcmp(name + 5, ending));
}

static bool read_lines(const char *text, size_t length, manifest *out)
{
    char check[64], is[FINGERPRINT_TEXT], name[PART_NAME];
    const char *at = text + sizeof magic - 1, *const end = text + length;
    int64_t room = 0;
    if (!take_line(&at, end, "key ", check, sizeof check) || !fingerprint_is(check)) return false;
    snprintf(out->key, sizeof out->key, "%.32s", check);
    while (take_line(&at, end, "file ", name, sizeof name)) {
        if (!is_part_name(name) || out->files > MOST_PARTS) return false;
        if (out->files == room) {
            room = room ? 2 * room : 64;
            void *const more = realloc(out->file, (size_t)room * sizeof *out->file);
            if (!more) return false;
            out->file = more;
        }
        snprintf(out->file[out->files++], PART_NAME, "%s", name);
    }
    size_t const before = (size_t)(at - text);
    if (!take_line(&at, end, "check ", check, sizeof check) || at != end) return false;
    check_of(text, before, is);
    return !strcmp(check, is);
}

manifest_state manifest_parse(const char *text, size_t length, manifest *out)
{
    *out = (manifest){.files = 0};
    size_t const known = length < sizeof magic - 1 ? length : sizeof magic - 1;
    if (known && memcmp(text, magic, known) != 0) return MANIFEST_FOREIGN;
    if (known == sizeof magic - 1 && read_lines(text, length, out)) return MANIFEST_WHOLE;
    manifest_free(out);
    return MANIFEST_DAMAGED;
}

void manifest_free(manifest *m)
{
    free(m->file);
    *m = (manifest){.files = 0};
}

/* ---- parts ---- */

static void seal_of(const char *key, int64_t part, const safetensor *item, int64_t count, char seal[FINGERPRINT_TEXT])
{
    fingerprint *const f = fingerprint_open();
    fingerprint_add(f, "key", key, strlen(key));
    fingerprint_add(f, "part", &part, sizeof part);
    for (int64_t i = 0; i < count; i++) {
        const safetensor *const s = &item[i];
        fingerprint_add(f, "name", s->name, strlen(s->name));
        fingerprint_add(f, "dtype", &s->dtype, sizeof s->dtype);
        fingerprint_add(f, "shape", s->shape, (size_t)s->ndim * sizeof *s->shape);
        fingerprint_add(f, "data", s->data, s->bytes);
    }
    fingerprint_close(f, seal);
}

bool part_write(const char *path, const char *key, int64_t part, const safetensor *item, int64_t count, complaint *why)
{
    char seal[FINGERPRINT_TEXT];
    safetensor *const all = malloc((size_t)(count + 1) * sizeof *all);
    if (!all) return refuse(why, "no memory for %s", path);
    memcpy(all, item, (size_t)count * sizeof *all);
    seal_of(key, part, item, count, seal);
    all[count] = (safetensor){.dtype = DSV3_U8, .ndim = 1, .shape = {FINGERPRINT_TEXT - 1}, .data = seal};
    all[count].bytes = FINGERPRINT_TEXT - 1;
    snprintf(all[count].name, sizeof all[count].name, "%s", seal_name);
    bool const good = safetensors_write(path, all, count + 1, why);
    free(all);
    return good;
}

static bool is_sealed(const safetensors *s, const char *key, int64_t part)
{
    char seal[FINGERPRINT_TEXT];
    const safetensor *const last = s->count ? &s->item[s->count - 1] : NULL;
    if (!last || strcmp(last->name, seal_name) || last->bytes != FINGERPRINT_TEXT - 1) return false;
    seal_of(key, part, s->item, s->count - 1, seal);
    return !memcmp(last->data, seal, last->bytes);
}

bool part_parse(const char *path, const void *data, size_t size, const char *key, int64_t part, safetensors *out,
                complaint *why)
{
    if (!safetensors_parse(path, data, size, out, why)) return false;
    if (is_sealed(out, key, part)) return out->count--, true;
    safetensors_close(out);
    return refuse_file(&(about_file){path, why}, "its seal doesn't fit its content");
}
