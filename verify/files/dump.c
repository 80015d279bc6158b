/* See dump.h. */
#include "dump.h"

#include "ref.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void part_path(const dump *d, int part, char *path, size_t cap)
{
    snprintf(path, cap, "%s/%04d.safetensors", d->folder, part);
}

static bool grow(dump *d)
{
    if (d->count < d->room) return true;
    int64_t const room = d->room ? 2 * d->room : 64;
    safetensor *const more = realloc(d->item, (size_t)room * sizeof *more);
    if (!more) return false;
    d->item = more;
    d->room = room;
    return true;
}

bool dump_add(dump *d, const char *name, dsv3_dtype dtype, int32_t ndim, const int64_t *shape, const void *data)
{
    size_t bytes = ref_dtype_size(dtype);
    for (int32_t i = 0; i < ndim; i++) bytes *= (size_t)shape[i];
    void *const copy = malloc(bytes + 1);
    if (!copy || !grow(d)) return free(copy), false;
    memcpy(copy, data, bytes);
    safetensor *const s = &d->item[d->count++];
    *s = (safetensor){.dtype = dtype, .ndim = ndim, .data = copy, .bytes = bytes};
    snprintf(s->name, sizeof s->name, "%s", name);
    memcpy(s->shape, shape, (size_t)ndim * sizeof *shape);
    return true;
}

const safetensor *dump_find(const dump *d, const char *name)
{
    for (int64_t i = 0; i < d->count; i++)
        if (!strcmp(d->item[i].name, name)) return &d->item[i];
    return NULL;
}

/* ---- parts ---- */

/* The key of the parts that are there; "" for none. */
static void read_key(const dump *d, char *key, size_t cap)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/key", d->folder);
    FILE *const f = fopen(path, "r");
    size_t const n = f ? fread(key, 1, cap - 1, f) : 0;
    key[n] = 0;
    if (f) fclose(f);
}

static bool write_key(const dump *d, const char *key, complaint *why)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/key", d->folder);
    FILE *const f = fopen(path, "w");
    bool const good = f && fputs(key, f) >= 0;
    if ((f && fclose(f)) || !good) return refuse(why, "cannot write %s: %s", path, strerror(errno));
    return true;
}

static void remove_parts(const dump *d)
{
    DIR *const dir = opendir(d->folder);
    char path[1500];
    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        bool const ours = strstr(e->d_name, ".safetensors") || !strcmp(e->d_name, "key");
        snprintf(path, sizeof path, "%s/%s", d->folder, e->d_name);
        if (ours) unlink(path);
    }
    if (dir) closedir(dir);
    rmdir(d->folder);
}

/* Parts in order, until one is missing or can't be read: that one and what follows are made again. */
static bool read_parts(dump *d, complaint *why)
{
    char path[1300];
    struct stat st;
    for (;; d->parts++) {
        safetensors file;
        part_path(d, d->parts, path, sizeof path);
        if (stat(path, &st) || !safetensors_open(path, &file, why)) break;
        bool good = true;
        for (int64_t i = 0; good && i < file.count; i++) {
            const safetensor *const s = &file.item[i];
            good = dump_add(d, s->name, s->dtype, s->ndim, s->shape, s->data);
        }
        safetensors_close(&file);
        if (!good) return refuse(why, "no memory for %s", path);
    }
    d->saved = d->count;
    return true;
}

bool dump_open(dump *d, const char *path, const char *key, complaint *why)
{
    char old[2048];
    memset(d, 0, sizeof *d);
    if (!path) return true;
    if (strlen(path) >= sizeof d->path) return refuse(why, "the name of the dump is too long");
    snprintf(d->path, sizeof d->path, "%s", path);
    snprintf(d->folder, sizeof d->folder, "%s.partial", path);
    if (mkdir(d->folder, 0777) && errno != EEXIST) return refuse(why, "cannot make %s: %s", d->folder, strerror(errno));
    read_key(d, old, sizeof old);
    if (!strcmp(old, key)) return read_parts(d, why);
    remove_parts(d);
    if (mkdir(d->folder, 0777) && errno != EEXIST) return refuse(why, "cannot make %s: %s", d->folder, strerror(errno));
    return write_key(d, key, why);
}

bool dump_finish_part(dump *d, complaint *why)
{
    char path[1300];
    if (!*d->path || d->saved == d->count) return true;
    part_path(d, d->parts, path, sizeof path);
    if (!safetensors_write(path, d->item + d->saved, d->count - d->saved, why)) return false;
    d->saved = d->count;
    d->parts++;
    return true;
}

bool dump_write(dump *d, complaint *why)
{
    if (!*d->path) return true;
    if (!safetensors_write(d->path, d->item, d->count, why)) return false;
    remove_parts(d);
    return true;
}

void dump_close(dump *d)
{
    for (int64_t i = 0; i < d->count; i++) free((void *)(uintptr_t)d->item[i].data);
    free(d->item);
    memset(d, 0, sizeof *d);
}
