/* See dump.h. */
#include "dump.h"

#include "ref.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATH_SIZE = 1200 };
static const char manifest_name[] = "manifest", unfinished[] = ".part", record_mark[] = "record of ";

static const char *in_folder(const dump *d, const char *name, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "%s/%s", d->folder, name);
    return path;
}

static const char *part_path(const dump *d, int64_t part, char path[PATH_SIZE])
{
    char name[PART_NAME];
    return in_folder(d, part_name(part, name), path);
}

/* ---- items ---- */

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

/* A copy as the last item. */
static bool append(dump *d, const char *name, dsv3_dtype dtype, int32_t ndim, const int64_t *shape, const void *data)
{
    size_t bytes = ref_dtype_size(dtype);
    for (int32_t i = 0; i < ndim; i++) bytes *= (size_t)shape[i];
    void *const copy = malloc(bytes + 1);
    if (!copy || !grow(d)) return free(copy), false;
    if (bytes) memcpy(copy, data, bytes);
    safetensor *const s = &d->item[d->count++];
    *s = (safetensor){.dtype = dtype, .ndim = ndim, .data = copy, .bytes = bytes};
    snprintf(s->name, sizeof s->name, "%s", name);
    memcpy(s->shape, shape, (size_t)ndim * sizeof *shape);
    return true;
}

bool dump_add(dump *d, const char *name, dsv3_dtype dtype, int32_t ndim, const int64_t *shape, const void *data)
{
    if (d->taken < d->count) dump_drop_rest(d, d->taken);
    if (!append(d, name, dtype, ndim, shape, data)) return false;
    d->taken = d->count;
    return true;
}

const void *dump_take(dump *d, const char *name, dsv3_dtype dtype, int32_t ndim, const int64_t *shape)
{
    if (d->taken == d->count) return NULL;
    const safetensor *const s = &d->item[d->taken];
    bool const fits = !strcmp(s->name, name) && s->dtype == dtype && s->ndim == ndim &&
                      !memcmp(s->shape, shape, (size_t)ndim * sizeof *shape);
    if (!fits) return NULL;
    d->taken++;
    return s->data;
}

void dump_drop_rest(dump *d, int64_t to)
{
    if (to < d->count)
        refuse(&d->note, "%s: part %lld doesn't have the tensors of this run; it is computed again", d->folder,
               (long long)d->parts - 1);
    for (int64_t i = to; i < d->count; i++) free((void *)(uintptr_t)d->item[i].data);
    d->count = d->taken = to;
    while (d->parts && d->end[d->parts - 1] > to) d->parts--;
    d->saved = d->parts ? d->end[d->parts - 1] : 0;
}

const safetensor *dump_find(const dump *d, const char *name)
{
    for (int64_t i = 0; i < d->count; i++)
        if (!strcmp(d->item[i].name, name)) return &d->item[i];
    return NULL;
}

static const char *record_name(const char *name, char text[sizeof((safetensor *)0)->name])
{
    snprintf(text, sizeof((safetensor *)0)->name, "%s%.100s", record_mark, name);
    return text;
}

bool dump_add_record(dump *d, const char *name, const void *data, size_t bytes)
{
    char text[sizeof d->item->name];
    int64_t const shape = (int64_t)bytes;
    return dump_add(d, record_name(name, text), DSV3_U8, 1, &shape, data);
}

const void *dump_take_record(dump *d, const char *name, size_t bytes)
{
    char text[sizeof d->item->name];
    int64_t const shape = (int64_t)bytes;
    return dump_take(d, record_name(name, text), DSV3_U8, 1, &shape);
}

/* ---- whose folder it is ---- */

typedef enum { FOLDER_NONE, FOLDER_OURS, FOLDER_FOREIGN } folder_state;

/* Nothing in it but a manifest that was being written. */
static bool is_new(const dump *d)
{
    DIR *const dir = opendir(d->folder);
    bool good = dir != NULL;
    for (struct dirent *e = dir ? readdir(dir) : NULL; good && e; e = readdir(dir))
        good = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || !strcmp(e->d_name, "manifest.part");
    if (dir) closedir(dir);
    return good;
}

/* The manifest of the folder; FOREIGN when it has none. manifest_free in any case. */
static manifest_state read_manifest(const dump *d, manifest *m)
{
    char path[PATH_SIZE];
    complaint why;
    file_map map;
    *m = (manifest){.files = 0};
    if (!file_map_open(&map, &(about_file){in_folder(d, manifest_name, path), &why})) return MANIFEST_FOREIGN;
    manifest_state const state = manifest_parse(map.data, map.size, m);
    file_map_close(&map);
    return state;
}

static folder_state look_at_folder(const dump *d)
{
    struct stat st;
    manifest m;
    if (lstat(d->folder, &st)) return errno == ENOENT ? FOLDER_NONE : FOLDER_FOREIGN;
    if (!S_ISDIR(st.st_mode)) return FOLDER_FOREIGN;
    manifest_state const state = read_manifest(d, &m);
    manifest_free(&m);
    return state != MANIFEST_FOREIGN || is_new(d) ? FOLDER_OURS : FOLDER_FOREIGN;
}

static const char *kind_of(mode_t mode)
{
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISLNK(mode)) return "a symbolic link";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

static bool name_paths(dump *d, const char *path, complaint *why)
{
    if (!*path) return refuse(why, "--dump= names no file");
    if (strlen(path) >= sizeof d->path) return refuse(why, "the name of the dump is too long");
    if (path[strlen(path) - 1] == '/') return refuse(why, "%s: is a folder, a dump is a file", path);
    snprintf(d->path, sizeof d->path, "%s", path);
    snprintf(d->folder, sizeof d->folder, "%s.partial", path);
    return true;
}

static bool check_target(const dump *d, complaint *why)
{
    struct stat st;
    if (!lstat(d->path, &st) && !S_ISREG(st.st_mode))
        return refuse(why, "%s: is %s, a dump is a regular file", d->path, kind_of(st.st_mode));
    if (look_at_folder(d) != FOLDER_FOREIGN) return true;
    return refuse(why,
                  "%s: isn't a folder that verify model made, and nothing there is touched: move it away or name "
                  "another dump",
                  d->folder);
}

bool dump_check_target(const char *path, complaint *why)
{
    dump d;
    return name_paths(&d, path, why) && check_target(&d, why);
}

/* ---- the folder ---- */

/* The file, and what its writer left when it was killed. */
static void remove_file(const dump *d, const char *name)
{
    char path[PATH_SIZE];
    unlink(in_folder(d, name, path));
    strncat(path, unfinished, sizeof path - strlen(path) - 1);
    unlink(path);
}

/* What the manifest names; without one that can be read, nothing. */
static void remove_parts(const dump *d)
{
    manifest m;
    if (read_manifest(d, &m) == MANIFEST_WHOLE)
        for (int64_t i = 0; i < m.files; i++) remove_file(d, m.file[i]);
    manifest_free(&m);
}

static bool write_whole(const char *path, const char *text, size_t length)
{
    unlink(path);
    FILE *const f = fopen(path, "wbx");
    bool const good = f && fwrite(text, 1, length, f) == length;
    return !(f && fclose(f)) && good;
}

static bool write_manifest(const dump *d, complaint *why)
{
    char path[PATH_SIZE], whole[PATH_SIZE];
    size_t length = 0;
    char *const text = manifest_text(d->key, d->planned, &length);
    in_folder(d, "manifest.part", path);
    bool const good = text && write_whole(path, text, length) && !rename(path, in_folder(d, manifest_name, whole));
    free(text);
    return good || refuse(why, "cannot write %s/%s: %s", d->folder, manifest_name, strerror(errno));
}

/* Is it still the folder that has this name? */
static bool still_there(const dump *d)
{
    struct stat held, named;
    return !fstat(d->lock, &held) && !lstat(d->folder, &named) && held.st_ino == named.st_ino;
}

/* Two runs must not write into one folder. Waits a little: of a run that was killed the last process may be ending. */
static bool lock_folder(dump *d, complaint *why)
{
    enum { TRIES = 300 };
    for (int i = 0; i < TRIES; i++) {
        if (mkdir(d->folder, 0777) && errno != EEXIST)
            return refuse(why, "cannot make %s: %s", d->folder, strerror(errno));
        d->lock = open(d->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (d->lock < 0 && errno == ENOENT) continue; /* the other run has just removed it */
        if (d->lock < 0) return refuse(why, "cannot open %s: %s", d->folder, strerror(errno));
        bool const busy = flock(d->lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
        if (!busy && still_there(d)) return true;
        close(d->lock);
        d->lock = -1;
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    return refuse(why, "%s: another run is writing it: wait for that or name another dump", d->folder);
}

/* ---- parts of an earlier run ---- */

static bool add_all(dump *d, const safetensors *part)
{
    for (int64_t i = 0; i < part->count; i++) {
        const safetensor *const s = &part->item[i];
        if (!append(d, s->name, s->dtype, s->ndim, s->shape, s->data)) return false;
    }
    d->end[d->parts++] = d->saved = d->count;
    return true;
}

/* The next part into the items. False: it isn't there (then the note is empty), or isn't good. */
static bool read_part(dump *d, bool *memory)
{
    char path[PATH_SIZE];
    file_map map;
    safetensors part;
    if (access(part_path(d, d->parts, path), F_OK)) return false;
    complaint why = {""};
    if (!file_map_open(&map, &(about_file){path, &why})) return refuse(&d->note, "%s", why.text);
    bool const good = part_parse(path, map.data, map.size, d->key, d->parts, &part, &d->note);
    if (good) *memory = add_all(d, &part);
    if (good) safetensors_close(&part);
    file_map_close(&map);
    return good && *memory;
}

/* Parts in order, until one is missing or not good: that one and what follows are made again. */
static bool read_parts(dump *d, complaint *why)
{
    bool memory = true;
    while (d->parts < d->planned && read_part(d, &memory)) continue;
    if (!memory) return refuse(why, "no memory for the parts in %s", d->folder);
    if (*d->note.text)
        refuse_more(&d->note, "; it is computed again");
    else if (d->parts)
        refuse(&d->note, "%s: goes on behind %lld finished parts", d->folder, (long long)d->parts);
    return true;
}

static bool take_folder(dump *d, complaint *why)
{
    manifest m;
    manifest_state const state = read_manifest(d, &m);
    bool const same = state == MANIFEST_WHOLE && !strcmp(m.key, d->key) && m.files == d->planned + 1;
    manifest_free(&m);
    if (same) return read_parts(d, why);
    if (state == MANIFEST_WHOLE)
        refuse(&d->note, "%s: is of a run with another model, input, option, port or program; it starts anew",
               d->folder);
    if (state == MANIFEST_DAMAGED) refuse(&d->note, "%s/%s: is damaged; it starts anew", d->folder, manifest_name);
    remove_parts(d);
    return write_manifest(d, why);
}

bool dump_open(dump *d, const char *path, const char *key, int64_t parts, complaint *why)
{
    *d = (dump){.lock = -1, .planned = parts};
    if (!path) return true;
    snprintf(d->key, sizeof d->key, "%s", key);
    d->end = calloc((size_t)parts + 1, sizeof *d->end);
    if (!d->end) return refuse(why, "no memory for the parts of %s", path);
    if (!name_paths(d, path, why) || !check_target(d, why)) return d->path[0] = 0, false;
    return lock_folder(d, why) && take_folder(d, why);
}

bool dump_finish_part(dump *d, complaint *why)
{
    char path[PATH_SIZE], name[PART_NAME];
    if (!*d->path || d->taken < d->count || d->saved == d->count || d->parts == d->planned) return true;
    remove_file(d, part_name(d->parts, name));
    if (!part_write(part_path(d, d->parts, path), d->key, d->parts, d->item + d->saved, d->count - d->saved, why))
        return false;
    d->end[d->parts++] = d->saved = d->count;
    return true;
}

/* ---- the file ---- */

/* The items but the records; the caller frees them. */
static safetensor *without_records(const dump *d, int64_t *count)
{
    safetensor *const item = malloc((size_t)d->count * sizeof *item + 1);
    *count = 0;
    for (int64_t i = 0; item && i < d->count; i++)
        if (strncmp(d->item[i].name, record_mark, sizeof record_mark - 1)) item[(*count)++] = d->item[i];
    return item;
}

/* Manifest last, so that a run that is killed here can still tell whose the rest is. */
static void remove_folder(dump *d)
{
    char path[PATH_SIZE];
    remove_parts(d);
    unlink(in_folder(d, manifest_name, path));
    if (rmdir(d->folder) && errno == ENOTEMPTY)
        refuse(&d->note, "%s: holds files that verify model didn't make; they are left", d->folder);
}

bool dump_write(dump *d, complaint *why)
{
    char whole[PATH_SIZE], name[PART_NAME];
    int64_t count;
    if (!*d->path) return true;
    if (d->taken < d->count) dump_drop_rest(d, d->taken);
    safetensor *const item = without_records(d, &count);
    if (!item) return refuse(why, "no memory for %s", d->path);
    remove_file(d, part_name(-1, name));
    bool good = safetensors_write(part_path(d, -1, whole), item, count, why) && check_target(d, why);
    free(item);
    if (!good) return false;
    if (rename(whole, d->path)) return refuse(why, "cannot write %s: %s", d->path, strerror(errno));
    remove_folder(d);
    close(d->lock);
    d->lock = -1;
    return true;
}

/* A folder without a part is of no use. */
void dump_close(dump *d)
{
    if (d->lock >= 0 && !d->parts) remove_folder(d);
    for (int64_t i = 0; i < d->count; i++) free((void *)(uintptr_t)d->item[i].data);
    free(d->item);
    free(d->end);
    if (d->lock >= 0) close(d->lock);
    *d = (dump){.lock = -1};
}
