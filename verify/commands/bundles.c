/* See bundles.h. */
#include "bundles.h"

#include "case/case_json.h"
#include "files/file_map.h"
#include "files/plain_text.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_folder(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

static bool has_case(const char *folder)
{
    char path[4400];
    struct stat st;
    snprintf(path, sizeof path, "%.4300s/case.json", folder);
    return !stat(path, &st) && S_ISREG(st.st_mode);
}

void bundle_file(const bundle_list *b, int i, const char *name, char *file, size_t cap)
{
    snprintf(file, cap, "%.4300s/%s", b->path[i], name);
}

static json_t *parse_case(const char *path, const char *text, size_t size, complaint *why)
{
    json_error_t error;
    complaint no_text;
    if (!text[strspn(text, " \t\r\n")])
        return refuse(why, "%s: is empty: write it anew with verify bundle make", path), NULL;
    if (!is_plain_text(text, size, &no_text)) return refuse(why, "%s: it %s", path, no_text.text), NULL;
    json_t *const object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!object) refuse(why, "%s: line %d: %s", path, error.line, error.text);
    return object;
}

/* A case.json; NULL: one sentence in why. */
static json_t *read_case(const char *path, complaint *why)
{
    enum { MOST_BYTES = 1 << 20 };
    size_t size = 0;
    char *const text = file_read(&(about_file){path, why}, MOST_BYTES, &size);
    if (!text) return NULL;
    text[size] = 0;
    json_t *const object = parse_case(path, text, size, why);
    free(text);
    return object;
}

/* The id in a case.json; NULL: one sentence in why. */
static char *read_id(const char *path, complaint *why)
{
    json_t *const object = read_case(path, why);
    const char *const id = json_string_value(json_object_get(object, "id"));
    bool const known = json_integer_value(json_object_get(object, "format")) == 1;
    char *const copy = id && known ? strdup(id) : NULL;
    if (object && !copy)
        refuse(why, "%s: has no id, or its format is not 1: verify bundle make writes such files", path);
    json_decref(object);
    return copy;
}

bool bundle_read_id(const bundle_list *b, int i, complaint *why)
{
    char path[4400];
    if (!has_case(b->path[i]))
        return refuse(why,
                      "%s holds no case.json, as a bundle does: write it with verify bundle make, or move the folder "
                      "elsewhere",
                      b->path[i]);
    bundle_file(b, i, "case.json", path, sizeof path);
    b->id[i] = read_id(path, why);
    return b->id[i];
}

bool bundle_agrees(const bundle_list *b, int i, const problem *p, complaint *why)
{
    char path[4400];
    complaint difference;
    bundle_file(b, i, "case.json", path, sizeof path);
    json_t *const object = read_case(path, why);
    if (!object) return false;
    bool const good = case_json_agrees(object, p, &difference);
    json_decref(object);
    return good || refuse(why, "%s: %s: write it anew with verify bundle make", path, difference.text);
}

static bool add(bundle_list *b, const char *folder)
{
    char **const path = realloc(b->path, ((size_t)b->count + 1) * sizeof *path);
    if (path) b->path = path;
    char **const id = realloc(b->id, ((size_t)b->count + 1) * sizeof *id);
    if (id) b->id = id;
    char *const name = path && id ? strdup(folder) : NULL;
    if (!name) return false;
    b->path[b->count] = name;
    b->id[b->count++] = NULL;
    return true;
}

/* Adds the folders in a folder; `bundles` of them have a case.json. False: no memory. */
static bool add_folders(bundle_list *b, const char *path, struct dirent *const entry[], int n, int *bundles)
{
    char folder[4300];
    *bundles = 0;
    for (int i = 0; i < n; i++) {
        snprintf(folder, sizeof folder, "%.4000s/%s", path, entry[i]->d_name);
        if (entry[i]->d_name[0] == '.' || !is_folder(folder)) continue;
        *bundles += has_case(folder);
        if (!add(b, folder)) return false;
    }
    return true;
}

bool bundles_find(const char *path, bundle_list *out, complaint *why)
{
    struct dirent **entry = NULL;
    int bundles;
    *out = (bundle_list){0};
    if (has_case(path)) return add(out, path) || refuse(why, "no memory for the list of bundles");
    int const n = scandir(path, &entry, NULL, alphasort);
    if (n < 0) return refuse(why, "cannot read the folder %s: %s", path, strerror(errno));
    bool const good = add_folders(out, path, entry, n, &bundles);
    for (int i = 0; i < n; i++) free(entry[i]);
    free(entry);
    if (!good) return refuse(why, "no memory for the list of bundles");
    return bundles ||
           refuse(why, "%s holds no case.json, and neither does a folder in it: verify bundle make writes them", path);
}

void bundles_free(bundle_list *b)
{
    for (int i = 0; i < b->count; i++) free(b->path[i]), free(b->id[i]);
    free(b->path);
    free(b->id);
    *b = (bundle_list){0};
}
