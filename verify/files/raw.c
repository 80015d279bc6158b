/* See raw.h. Files are somebody else's: nothing in them is believed before it is checked. */
#include "raw.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SHAPE = 400 }; /* bytes */

/* How a file's name ends, and what safetensors calls its numbers. */
typedef struct {
    const char *ending, *name;
} format;

static const format formats[] = {
    {".f32.bin", "F32"}, {".bf16.bin", "BF16"}, {".f16.bin", "F16"},
    {".f64.bin", "F64"}, {".i32.bin", "I32"},   {".i64.bin", "I64"},
};

/* NULL: none. */
static const format *format_of(const char *path)
{
    size_t const length = strlen(path);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        size_t const tail = strlen(formats[i].ending);
        if (length > tail && !strcmp(path + length - tail, formats[i].ending)) return &formats[i];
    }
    return NULL;
}

bool raw_is(const char *path)
{
    return format_of(path) != NULL;
}

static bool name_it(const about_file *to, const char *path, const format *f, safetensor *t)
{
    const char *const slash = strrchr(path, '/'), *const leaf = slash ? slash + 1 : path;
    size_t const length = strlen(leaf) - strlen(f->ending);
    if (!length || length >= sizeof t->name)
        return refuse_file(to, "its name is of 1 to %zu bytes", sizeof t->name - 1);
    snprintf(t->name, sizeof t->name, "%.*s", (int)length, leaf);
    return true;
}

static bool read_axes(const about_file *to, const char *text, safetensor *t)
{
    for (const char *at = text + strspn(text, " \t\r\n"); *at; at += strspn(at, " \t\r\n")) {
        char *end;
        errno = 0;
        long long const n = isdigit((unsigned char)*at) ? strtoll(at, &end, 10) : -1;
        if (n < 0 || errno || (*end && !isspace((unsigned char)*end)))
            return refuse_file(to, "axis %d is no whole number: an axis is a number, as in 12 64", t->ndim);
        if (t->ndim == SAFETENSOR_AXES) return refuse_file(to, "has more than %d axes", SAFETENSOR_AXES);
        t->shape[t->ndim++] = n;
        at = end;
    }
    return true;
}

/* Of NAME.shape, beside NAME.FORMAT.bin. */
static bool read_shape(const char *path, const format *f, safetensor *t, complaint *why)
{
    char beside[4400];
    size_t const stem = strlen(path) - strlen(f->ending);
    about_file const to = {beside, why};
    size_t size;
    if ((size_t)snprintf(beside, sizeof beside, "%.*s.shape", (int)stem, path) >= sizeof beside)
        return refuse(why, "the name of a file is too long");
    char *const content = file_read(&to, MOST_SHAPE, &size);
    if (!content) return false;
    char text[MOST_SHAPE + 1] = "";
    memcpy(text, content, size);
    free(content);
    if (memchr(text, 0, size)) return refuse_file(&to, "holds a NUL: an axis is a number, as in 12 64");
    return read_axes(&to, text, t);
}

static bool read_numbers(const about_file *to, const file_map *map, const format *f, safetensor *t)
{
    size_t bytes;
    if (!safetensor_set_format(t, f->name, &bytes)) return refuse_file(to, "%s is no format", f->name);
    for (int d = 0; d < t->ndim; d++)
        if (__builtin_mul_overflow(bytes, (size_t)t->shape[d], &bytes))
            return refuse_file(to, "is larger than any file");
    if (bytes != map->size) return refuse_file(to, "its shape needs %zu bytes, and it has %zu", bytes, map->size);
    t->data = map->data;
    t->bytes = bytes;
    return true;
}

bool raw_open(const char *path, safetensors *out, complaint *why)
{
    about_file const to = {path, why};
    const format *const f = format_of(path);
    *out = (safetensors){.item = calloc(1, sizeof *out->item)};
    if (!out->item) return refuse_file(&to, "no memory for it");
    bool const good = f && name_it(&to, path, f, out->item) && read_shape(path, f, out->item, why) &&
                      file_map_open(&out->map, &to) && read_numbers(&to, &out->map, f, out->item);
    out->count = good;
    if (!good) safetensors_close(out);
    return good;
}
