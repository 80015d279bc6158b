/* See npy.h. A file is somebody else's: nothing in it is believed before it is checked. */
#include "npy.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAGIC = 6, MOST_HEADER = 10000 };
static const char ending[] = ".npy", magic[] = "\x93NUMPY";

/* What numpy calls them, and safetensors. */
typedef struct {
    const char *descr, *name;
} format;

static const format formats[] = {
    {"<f4", "F32"}, {"<f8", "F64"}, {"<f2", "F16"}, {"<i4", "I32"}, {"|u1", "U8"}, {"<i8", "I64"},
};

bool npy_is(const char *path)
{
    size_t const length = strlen(path), tail = sizeof ending - 1;
    return length > tail && !strcmp(path + length - tail, ending);
}

/* ---- the header: a literal of a Python dict, with the keys descr, fortran_order and shape ---- */

/* What stands behind 'KEY': in the text; NULL: nothing. */
static const char *value_of(const char *text, const char *key)
{
    char quoted[40];
    snprintf(quoted, sizeof quoted, "'%s':", key);
    const char *const at = strstr(text, quoted);
    return at ? at + strlen(quoted) + strspn(at + strlen(quoted), " ") : NULL;
}

static bool read_descr(const about_file *to, const char *text, safetensor *t, size_t *bytes)
{
    const char *const at = value_of(text, "descr");
    if (!at) return refuse_file(to, "its header has no descr");
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        size_t const length = strlen(formats[i].descr);
        if (*at != '\'' || strncmp(at + 1, formats[i].descr, length) != 0 || at[1 + length] != '\'') continue;
        return safetensor_set_format(t, formats[i].name, bytes);
    }
    int const length = (int)strcspn(at, ",}");
    return refuse_file(to, "its descr is %.*s; known are '<f4', '<f8', '<f2', '<i4', '<i8', '|u1'",
                       length < 40 ? length : 40, at);
}

/* "(3, 97)", "(3,)", "()" */
static bool read_shape(const about_file *to, const char *text, safetensor *t, size_t *bytes)
{
    const char *at = value_of(text, "shape");
    if (!at || *at++ != '(') return refuse_file(to, "its header has no shape");
    while (*at && *at != ')') {
        char *end;
        errno = 0;
        long long const n = isdigit((unsigned char)*at) ? strtoll(at, &end, 10) : -1;
        if (n < 0 || errno) return refuse_file(to, "axis %d of its shape is no whole number", t->ndim);
        if (t->ndim == SAFETENSOR_AXES) return refuse_file(to, "has more than %d axes", SAFETENSOR_AXES);
        t->shape[t->ndim++] = n;
        if (__builtin_mul_overflow(*bytes, (size_t)n, bytes)) return refuse_file(to, "is larger than any file");
        at = end + strspn(end, ", ");
    }
    return *at == ')' || refuse_file(to, "its shape has no end");
}

static bool read_order(const about_file *to, const char *text, const safetensor *t)
{
    const char *const at = value_of(text, "fortran_order");
    if (at && (!strncmp(at, "False", 5) || t->ndim < 2)) return true;
    return refuse_file(to, "its fortran_order isn't False: save numpy.ascontiguousarray of it");
}

/* Where the header's text begins, and how long it is. */
static bool find_header(const about_file *to, const char *file, size_t size, size_t *at, size_t *length)
{
    const unsigned char *const u = (const unsigned char *)file;
    if (size < MAGIC + 6 || memcmp(file, magic, MAGIC) != 0) return refuse_file(to, "is no file of numpy");
    bool const one = u[MAGIC] == 1;
    if (u[MAGIC] < 1 || u[MAGIC] > 3)
        return refuse_file(to, "is of version %d of numpy's format; known are 1 to 3", u[MAGIC]);
    *at = MAGIC + (one ? 4 : 6);
    *length = (size_t)u[8] | (size_t)u[9] << 8;
    if (!one) *length |= (size_t)u[10] << 16 | (size_t)u[11] << 24;
    if (*length > MOST_HEADER)
        return refuse_file(to, "its header has %zu bytes, at most %d are read", *length, MOST_HEADER);
    return *length <= size - *at || refuse_file(to, "its header has %zu bytes, and the file %zu", *length, size);
}

static void name_it(const char *path, safetensor *t)
{
    const char *const slash = strrchr(path, '/'), *const leaf = slash ? slash + 1 : path;
    size_t const length = strlen(leaf) - (npy_is(leaf) ? sizeof ending - 1 : 0);
    snprintf(t->name, sizeof t->name, "%.*s", (int)length, leaf);
}

static bool read_array(const about_file *to, const char *file, size_t size, safetensor *t)
{
    char text[MOST_HEADER + 1];
    size_t at = 0, length = 0, bytes = 0;
    if (!find_header(to, file, size, &at, &length)) return false;
    memcpy(text, file + at, length);
    text[length] = 0;
    if (!read_descr(to, text, t, &bytes) || !read_shape(to, text, t, &bytes) || !read_order(to, text, t)) return false;
    t->data = file + at + length;
    t->bytes = bytes;
    size_t const there = size - at - length;
    return bytes == there || refuse_file(to, "its shape needs %zu bytes, and it has %zu", bytes, there);
}

bool npy_parse(const char *path, const void *data, size_t size, safetensors *out, complaint *why)
{
    about_file const to = {path, why};
    *out = (safetensors){.item = calloc(1, sizeof *out->item)};
    if (!out->item) return refuse_file(&to, "no memory for it");
    name_it(path, out->item);
    out->count = read_array(&to, data, size, out->item);
    if (!out->count) safetensors_close(out);
    return out->count > 0;
}

bool npy_open(const char *path, safetensors *out, complaint *why)
{
    file_map map;
    *out = (safetensors){.count = 0};
    if (!file_map_open(&map, &(about_file){path, why})) return false;
    bool const good = npy_parse(path, map.data, map.size, out, why);
    out->map = map;
    if (!good) safetensors_close(out);
    return good;
}
