/* See safetensors.h. A file is somebody else's: nothing in it is believed before it is checked. */
#include "safetensors.h"

#include "output_file.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { PREFIX = 8, NAME_SIZE = sizeof((safetensor *)0)->name, PACKED = 0 /* less than a byte an element */ };

typedef struct {
    const char *name;
    dsv3_dtype dtype;
    size_t size;
} format;

/* What the format knows; the ones that are no dsv3_dtype are read past. */
static const format formats[] = {
    {"F32", DSV3_F32, 4},           {"BF16", DSV3_BF16, 2},    {"F8_E4M3", DSV3_F8_E4M3, 1},
    {"I32", DSV3_I32, 4},           {"U8", DSV3_U8, 1},        {"F64", DSV3_F64, 8},
    {"F16", DSV3_F16, 2},           {"I64", DSV3_I64, 8},      {"I16", DSV3_NONE, 2},
    {"I8", DSV3_NONE, 1},           {"BOOL", DSV3_NONE, 1},    {"F8_E5M2", DSV3_NONE, 1},
    {"U64", DSV3_NONE, 8},          {"U32", DSV3_NONE, 4},     {"U16", DSV3_NONE, 2},
    {"C64", DSV3_NONE, 8},          {"F8_E8M0", DSV3_NONE, 1}, {"F6_E3M2", DSV3_NONE, PACKED},
    {"F6_E2M3", DSV3_NONE, PACKED}, {"F4", DSV3_NONE, PACKED},
};

/* The file that is being read, and where an error goes. */
typedef struct {
    about_file to;
    safetensors *s;
    const char *data; /* behind the header */
    size_t data_bytes;
} reader;

const char *safetensor_format(const safetensor *t)
{
    if (t->format) return t->format;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i].dtype != DSV3_NONE && formats[i].dtype == t->dtype) return formats[i].name;
    return "another format";
}

bool safetensor_set_format(safetensor *t, const char *name, size_t *size)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(formats[i].name, name)) continue;
        t->dtype = formats[i].dtype;
        t->format = formats[i].name;
        *size = formats[i].size;
        return true;
    }
    return false;
}

static bool refuse_dtype(const reader *r, const char *name, const char *dtype)
{
    refuse_file(&r->to, "tensor %s: dtype %.20s is unknown; known are", name, dtype ? dtype : "(none)");
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) refuse_more(r->to.why, " %s", formats[i].name);
    return false;
}

/* Reads shape; *bytes is the size that shape and format ask for, or PACKED. */
static bool read_shape(const reader *r, const json_t *shape, size_t element, safetensor *t, size_t *bytes)
{
    *bytes = element;
    if (!json_is_array(shape)) return refuse_file(&r->to, "tensor %s has no shape", t->name);
    if (json_array_size(shape) > SAFETENSOR_AXES)
        return refuse_file(&r->to, "tensor %s has more than %d dimensions", t->name, SAFETENSOR_AXES);
    t->ndim = (int32_t)json_array_size(shape);
    for (int d = 0; d < t->ndim; d++) {
        json_t *const size = json_array_get(shape, (size_t)d);
        json_int_t const n = json_is_integer(size) ? json_integer_value(size) : -1;
        if (n < 0) return refuse_file(&r->to, "tensor %s: dimension %d is no whole number", t->name, d);
        t->shape[d] = n;
        if (__builtin_mul_overflow(*bytes, (size_t)n, bytes))
            return refuse_file(&r->to, "tensor %s is larger than any file", t->name);
    }
    return true;
}

/* bytes: as many as the shape needs, unless it is packed. */
static bool read_span(const reader *r, const json_t *offsets, bool packed, size_t bytes, safetensor *t)
{
    json_t *const a = json_array_get(offsets, 0), *const b = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(a) || !json_is_integer(b))
        return refuse_file(&r->to, "tensor %s has no data_offsets", t->name);
    json_int_t const from = json_integer_value(a), to = json_integer_value(b);
    if (from < 0 || to < from || (uint64_t)to > r->data_bytes)
        return refuse_file(&r->to,
                           "tensor %s: its data_offsets [%lld, %lld] leave the file, which holds %zu bytes of data",
                           t->name, (long long)from, (long long)to, r->data_bytes);
    if (!packed && (uint64_t)(to - from) != bytes)
        return refuse_file(&r->to, "tensor %s: its shape needs %zu bytes, its data_offsets span %lld", t->name, bytes,
                           (long long)(to - from));
    t->data = r->data + from;
    t->bytes = (size_t)(to - from);
    return true;
}

static bool read_tensor(const reader *r, const char *name, const json_t *entry, safetensor *t)
{
    size_t bytes, size;
    *t = (safetensor){.dtype = DSV3_NONE};
    if (strlen(name) >= NAME_SIZE)
        return refuse_file(&r->to, "tensor %.40s...: its name is longer than %d characters", name, NAME_SIZE - 1);
    strcpy(t->name, name);
    const char *const dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype || !safetensor_set_format(t, dtype, &size)) return refuse_dtype(r, name, dtype);
    return read_shape(r, json_object_get(entry, "shape"), size, t, &bytes) &&
           read_span(r, json_object_get(entry, "data_offsets"), size == PACKED, bytes, t);
}

static int by_place(const void *a, const void *b)
{
    const safetensor *const x = a, *const y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static bool check_overlaps(const reader *r)
{
    safetensor *const item = r->s->item;
    qsort(item, (size_t)r->s->count, sizeof *item, by_place);
    for (int64_t i = 1; i < r->s->count; i++)
        if ((const char *)item[i - 1].data + item[i - 1].bytes > (const char *)item[i].data)
            return refuse_file(&r->to, "tensors %s and %s overlap", item[i - 1].name, item[i].name);
    return true;
}

static bool read_entries(const reader *r, json_t *header)
{
    const char *name;
    json_t *entry;
    r->s->item = calloc(json_object_size(header) + 1, sizeof *r->s->item);
    if (!r->s->item) return refuse_file(&r->to, "no memory for its list of tensors");
    json_object_foreach(header, name, entry)
    {
        if (!strcmp(name, "__metadata__")) continue;
        if (!read_tensor(r, name, entry, &r->s->item[r->s->count])) return false;
        r->s->count++;
    }
    return check_overlaps(r);
}

static bool read_header(reader *r, const char *file, size_t size)
{
    uint64_t length;
    json_error_t error;
    if (size < PREFIX) return refuse_file(&r->to, "is no safetensors file: it has %zu bytes", size);
    memcpy(&length, file, sizeof length);
    if (length > size - PREFIX)
        return refuse_file(&r->to, "is no safetensors file: its header would have %llu bytes, the file has %zu",
                           (unsigned long long)length, size);
    if (length > SAFETENSORS_MAX_HEADER)
        return refuse_file(&r->to, "its header has %llu bytes, at most %d are read", (unsigned long long)length,
                           SAFETENSORS_MAX_HEADER);
    json_t *const header = json_loadb(file + PREFIX, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(header)) {
        json_decref(header);
        return refuse_file(&r->to, "its header is no JSON object: %s", header ? "it is something else" : error.text);
    }
    r->data = file + PREFIX + length;
    r->data_bytes = size - PREFIX - (size_t)length;
    bool const good = read_entries(r, header);
    json_decref(header);
    return good;
}

bool safetensors_parse(const char *path, const void *data, size_t size, safetensors *out, complaint *why)
{
    reader r = {.to = {path, why}, .s = out};
    *out = (safetensors){.count = 0};
    if (read_header(&r, data, size)) return true;
    safetensors_close(out);
    return false;
}

bool safetensors_open(const char *path, safetensors *out, complaint *why)
{
    file_map map;
    *out = (safetensors){.count = 0};
    if (!file_map_open(&map, &(about_file){path, why})) return false;
    bool const good = safetensors_parse(path, map.data, map.size, out, why);
    out->map = map;
    if (!good) safetensors_close(out);
    return good;
}

void safetensors_close(safetensors *s)
{
    file_map_close(&s->map);
    free(s->item);
    *s = (safetensors){.count = 0};
}

const safetensor *safetensors_find(const safetensors *s, const char *name)
{
    for (int64_t i = 0; i < s->count; i++)
        if (!strcmp(s->item[i].name, name)) return &s->item[i];
    return NULL;
}

/* ---- writing ---- */

/* The header as text; the caller frees it. */
static char *header_text(const safetensor *item, int64_t count, size_t *length)
{
    char *text = NULL;
    size_t offset = 0;
    FILE *const f = open_memstream(&text, length);
    if (!f) return NULL;
    fputc('{', f);
    for (int64_t i = 0; i < count; i++) {
        fprintf(f, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", item[i].name, safetensor_format(&item[i]));
        for (int d = 0; d < item[i].ndim; d++) fprintf(f, "%s%lld", d ? "," : "", (long long)item[i].shape[d]);
        fprintf(f, "],\"data_offsets\":[%zu,%zu]}", offset, offset + item[i].bytes);
        offset += item[i].bytes;
    }
    fputc('}', f);
    while (!ferror(f) && ftell(f) % 8) fputc(' ', f);
    return output_end(f) ? (free(text), NULL) : text;
}

static bool write_tensors(FILE *f, const safetensor *item, int64_t count)
{
    size_t length;
    char *const header = header_text(item, count, &length);
    if (!header) return false;
    uint64_t const prefix = length;
    bool good = fwrite(&prefix, sizeof prefix, 1, f) == 1 && fwrite(header, 1, length, f) == length;
    free(header);
    for (int64_t i = 0; good && i < count; i++) good = fwrite(item[i].data, 1, item[i].bytes, f) == item[i].bytes;
    return good;
}

/* What is no regular file, such as a device or a link, is not replaced. */
static bool may_replace(const char *path, complaint *why)
{
    struct stat st;
    if (lstat(path, &st) || S_ISREG(st.st_mode)) return true;
    return refuse(why, "cannot write %s: is no regular file, and only those are replaced: name another", path);
}

bool safetensors_write(const char *path, const safetensor *item, int64_t count, complaint *why)
{
    char temporary[4200];
    if (!may_replace(path, why)) return false;
    snprintf(temporary, sizeof temporary, "%s.part", path);
    FILE *const f = fopen(temporary, "wb");
    bool good = f && write_tensors(f, item, count);
    if (f && fclose(f)) good = false;
    good = good && rename(temporary, path) == 0;
    if (good) return true;
    refuse(why, "cannot write %s: %s", path, strerror(errno));
    if (f) remove(temporary);
    return false;
}
