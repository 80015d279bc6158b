/* See recording.h. */
#include "recording.h"

#include "files/npy.h"
#include "files/raw.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_FILES = 10000 };

static bool open_file(const char *path, safetensors *file, complaint *why)
{
    if (npy_is(path)) return npy_open(path, file, why);
    return raw_is(path) ? raw_open(path, file, why) : safetensors_open(path, file, why);
}

static bool add_file(recording *r, const char *path, complaint *why)
{
    safetensors *const more = realloc(r->file, ((size_t)r->files + 1) * sizeof *more);
    if (!more) return refuse(why, "no memory for %s", path);
    r->file = more;
    safetensors *const file = &r->file[r->files];
    if (!open_file(path, file, why)) return false;
    r->count += r->file[r->files++].count;
    return true;
}

static bool is_safetensors(const char *name)
{
    static const char end[] = ".safetensors";
    size_t const length = strlen(name);
    return length >= sizeof end && !strcmp(name + length - (sizeof end - 1), end);
}

static int only_recorded(const struct dirent *e)
{
    return is_safetensors(e->d_name) || npy_is(e->d_name) || raw_is(e->d_name);
}

static bool add_folder(recording *r, const char *path, complaint *why)
{
    struct dirent **entry;
    int const n = scandir(path, &entry, only_recorded, alphasort);
    if (n < 0) return refuse(why, "%s: %s", path, strerror(errno));
    bool good = n <= MOST_FILES || refuse(why, "%s: has %d files, at most %d are read", path, n, MOST_FILES);
    if (n == 0)
        good = refuse(why,
                      "%s: holds no file NAME.safetensors, NAME.npy or NAME.f32.bin; what an engine recorded is such a "
                      "file",
                      path);
    for (int i = 0; i < n; i++) {
        char name[4400];
        snprintf(name, sizeof name, "%s/%s", path, entry[i]->d_name);
        good = good && add_file(r, name, why);
        free(entry[i]);
    }
    free(entry);
    return good;
}

static int by_name(const void *a, const void *b)
{
    const safetensor *const *const x = a, *const *const y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* One list of all. */
static bool sort_items(recording *r, complaint *why)
{
    int64_t n = 0;
    r->item = calloc((size_t)r->count + 1, sizeof *r->item);
    if (!r->item) return refuse(why, "no memory for %s", r->path);
    for (int f = 0; f < r->files; f++)
        for (int64_t i = 0; i < r->file[f].count; i++) r->item[n++] = &r->file[f].item[i];
    qsort(r->item, (size_t)n, sizeof *r->item, by_name);
    for (int64_t i = 1; i < n; i++)
        if (!strcmp(r->item[i - 1]->name, r->item[i]->name))
            return refuse(why, "%s: tensor %s is in two of its files, and a name is one tensor: keep one of them",
                          r->path, r->item[i]->name);
    return n > 0 || refuse(why, "%s: holds no tensor", r->path);
}

bool recording_open(const char *path, recording *r, complaint *why)
{
    struct stat st;
    *r = (recording){.files = 0};
    if (strlen(path) >= sizeof r->path) return refuse(why, "the name of the recording is too long");
    snprintf(r->path, sizeof r->path, "%s", path);
    bool const folder = !stat(path, &st) && S_ISDIR(st.st_mode);
    return (folder ? add_folder(r, path, why) : add_file(r, path, why)) && sort_items(r, why);
}

void recording_close(recording *r)
{
    for (int f = 0; f < r->files; f++) safetensors_close(&r->file[f]);
    free(r->file);
    free(r->item);
    *r = (recording){.files = 0};
}

bool recording_has_file(const recording *r, const file_identity *id)
{
    for (int i = 0; i < r->files; i++)
        if (file_is_one(&r->file[i].map.identity, id)) return true;
    return false;
}

const safetensor *recording_find(const recording *r, const char *name)
{
    int64_t from = 0, to = r->count;
    while (from < to) {
        int64_t const middle = (from + to) / 2;
        int const order = strcmp(name, r->item[middle]->name);
        if (!order) return r->item[middle];
        if (order < 0)
            to = middle;
        else
            from = middle + 1;
    }
    return NULL;
}
