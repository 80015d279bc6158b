/* See bundles.h. */
#include "bundles.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool has_case(const char *folder)
{
    char path[4400];
    struct stat st;
    snprintf(path, sizeof path, "%.4300s/case.json", folder);
    return !stat(path, &st) && S_ISREG(st.st_mode);
}

/* The id in case.json; NULL: one sentence in why. */
static char *read_id(const char *folder, complaint *why)
{
    char path[4400];
    json_error_t error;
    snprintf(path, sizeof path, "%.4300s/case.json", folder);
    json_t *const object = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    const char *const id = json_string_value(json_object_get(object, "id"));
    bool const known = json_integer_value(json_object_get(object, "format")) == 1;
    char *const copy = id && known ? strdup(id) : NULL;
    if (!object)
        refuse(why, "%s: line %d: %s", path, error.line, error.text);
    else if (!copy)
        refuse(why, "%s: has no id, or its format is not 1: verify bundle make writes such files", path);
    json_decref(object);
    return copy;
}

static bool add(bundle_list *b, const char *folder, complaint *why)
{
    char **const path = realloc(b->path, ((size_t)b->count + 1) * sizeof *path);
    if (path) b->path = path;
    char **const id = realloc(b->id, ((size_t)b->count + 1) * sizeof *id);
    if (id) b->id = id;
    char *const name = path && id ? strdup(folder) : NULL;
    if (!name) return refuse(why, "no memory for the list of bundles");
    char *const text = read_id(folder, why);
    if (!text) return free(name), false;
    b->path[b->count] = name;
    b->id[b->count++] = text;
    return true;
}

bool bundles_find(const char *path, bundle_list *out, complaint *why)
{
    struct dirent **entry = NULL;
    char folder[4300];
    bool good = true;
    *out = (bundle_list){0};
    if (has_case(path)) return add(out, path, why);
    int const n = scandir(path, &entry, NULL, alphasort);
    if (n < 0) return refuse(why, "cannot read the folder %s: %s", path, strerror(errno));
    for (int i = 0; i < n; i++) {
        snprintf(folder, sizeof folder, "%.4000s/%s", path, entry[i]->d_name);
        if (good && entry[i]->d_name[0] != '.' && has_case(folder)) good = add(out, folder, why);
        free(entry[i]);
    }
    free(entry);
    if (good && !out->count)
        return refuse(why, "%s holds no case.json, and neither does a folder in it: verify bundle make writes them",
                      path);
    return good;
}

void bundles_free(bundle_list *b)
{
    for (int i = 0; i < b->count; i++) free(b->path[i]), free(b->id[i]);
    free(b->path);
    free(b->id);
    *b = (bundle_list){0};
}
