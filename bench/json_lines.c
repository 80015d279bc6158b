/* See json_lines.h. */
#include "json_lines.h"

#include "printable.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *file, *writer;
    json_take *take;
    void *own;
} reading;

static bool read_line(const reading *r, const char *text, size_t length, int number, complaint *why)
{
    const char *lacks = NULL;
    json_t *const j = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    bool const object = json_is_object(j), good = object && r->take(r->own, j, &lacks);
    json_decref(j);
    if (!object) return refuse(why, "%s, line %d is no line of %s", r->file, number, r->writer);
    return good || refuse(why, "%s, line %d is no line of %s: its %s is missing or not what it can be", r->file, number,
                          r->writer, lacks ? lacks : "text");
}

bool json_lines_read(const char *file, const char *writer, json_take *take, void *own, complaint *why)
{
    reading const r = {file, writer, take, own};
    char *text = NULL;
    size_t cap = 0;
    int number = 0;
    FILE *const f = fopen(file, "r");
    if (!f) return refuse(why, "%s: %s; %s writes such a file", file, strerror(errno), writer);
    bool good = true;
    for (ssize_t length; good && (length = getline(&text, &cap, f)) >= 0;)
        good = read_line(&r, text, (size_t)length, ++number, why);
    free(text);
    fclose(f);
    if (!good || number) return good;
    return refuse(why, "%s is empty; %s writes such a file", file, writer);
}

double json_amount(const json_t *line, const char *key)
{
    const json_t *const j = json_object_get(line, key);
    double const v = json_number_value(j);
    return json_is_number(j) && isfinite(v) && v >= 0 ? v : (double)NAN;
}

bool json_text(const json_t *line, const char *key, char *text, unsigned long cap)
{
    const char *const value = json_string_value(json_object_get(line, key));
    return value && *value && (size_t)snprintf(text, cap, "%s", value) < cap;
}

void json_print_text(const char *key, const char *text)
{
    printf(",\"%s\":", key);
    print_json_text(stdout, text);
}

void json_print_folder(const char *key, const char *path)
{
    char name[256];
    size_t end = strlen(path);
    while (end && path[end - 1] == '/') end--;
    size_t start = end;
    while (start && path[start - 1] != '/') start--;
    snprintf(name, sizeof name, "%.*s", (int)(end - start), path + start);
    json_print_text(key, name);
}
