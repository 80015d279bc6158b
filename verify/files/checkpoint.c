/* See checkpoint.h. A checkpoint is somebody else's: nothing in it is believed before it is checked. */
#include "checkpoint.h"

#include "ref.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static const char whole_name[] = "model.safetensors", index_name[] = "model.safetensors.index.json";
static const char config_name[] = "config.json";
static const char ending[] = ".safetensors";
enum { PATH_SIZE = 4096 };

/* ---- index ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A file of the folder itself: no way out of it, and nothing but a safetensors file. */
static bool check_file_name(const about_file *to, const char *tensor, const char *file)
{
    if (!file) return refuse_file(to, "weight_map: the file of tensor %.100s is no text", tensor);
    size_t const length = strlen(file), tail = sizeof ending - 1;
    if (length >= CHECKPOINT_FILE_NAME)
        return refuse_file(to, "weight_map: the file name of tensor %.100s is longer than %d characters", tensor,
                           CHECKPOINT_FILE_NAME - 1);
    if (strchr(file, '/') || file[0] == '.')
        return refuse_file(
            to, "weight_map: tensor %.100s is in %s; a file of the same folder is expected, without / and . in front",
            tensor, file);
    if (length <= tail || strcmp(file + length - tail, ending) != 0)
        return refuse_file(to, "weight_map: tensor %.100s is in %s; a name that ends in %s is expected", tensor, file,
                           ending);
    return true;
}

/* Sorts and keeps one of each. */
static bool keep_distinct(const about_file *to, checkpoint_index *index, int64_t count)
{
    qsort(index->file, (size_t)count, sizeof *index->file, by_text);
    for (int64_t i = 0; i < count; i++)
        if (i == 0 || strcmp(index->file[i], index->file[index->files - 1]) != 0)
            index->file[index->files++] = index->file[i];
    if (index->files > CHECKPOINT_MAX_FILES)
        return refuse_file(to, "weight_map names %lld files, at most %d are read", (long long)index->files,
                           CHECKPOINT_MAX_FILES);
    return true;
}

static bool read_weight_map(const about_file *to, checkpoint_index *index)
{
    const char *tensor;
    json_t *file;
    int64_t count = 0;
    json_t *const map = index->json;
    if (!json_is_object(map) || json_object_size(map) == 0)
        return refuse_file(to, "has no weight_map, an object that gives the file of each tensor");
    index->file = calloc(json_object_size(map), sizeof *index->file);
    if (!index->file) return refuse_file(to, "no memory for its list of files");
    json_object_foreach(map, tensor, file)
    {
        if (!check_file_name(to, tensor, json_string_value(file))) return false;
        index->file[count++] = json_string_value(file);
    }
    return keep_distinct(to, index, count);
}

bool checkpoint_index_parse(const char *path, const char *text, size_t length, checkpoint_index *out, complaint *why)
{
    about_file const to = {path, why};
    json_error_t error;
    *out = (checkpoint_index){.files = 0};
    if (length > SAFETENSORS_MAX_HEADER)
        return refuse_file(&to, "has %zu bytes, at most %d are read", length, SAFETENSORS_MAX_HEADER);
    json_t *const root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(root)) {
        json_decref(root);
        return refuse_file(&to, "is no JSON object: %s", root ? "it is something else" : error.text);
    }
    out->json = json_incref(json_object_get(root, "weight_map"));
    json_decref(root);
    if (read_weight_map(&to, out)) return true;
    checkpoint_index_free(out);
    return false;
}

void checkpoint_index_free(checkpoint_index *index)
{
    json_decref(index->json);
    free(index->file);
    *index = (checkpoint_index){.files = 0};
}

/* ---- files ---- */

static const char *path_of(const checkpoint *c, const char *file, char *path)
{
    snprintf(path, PATH_SIZE, "%s/%s", c->dir, file);
    return path;
}

/* Opens these files, and lists their tensors by name. */
static bool open_files(checkpoint *c, const char *const *name, int64_t files, complaint *why)
{
    char path[PATH_SIZE];
    c->file = calloc((size_t)files, sizeof *c->file);
    if (!c->file) return refuse_file(&(about_file){c->dir, why}, "no memory for its list of files");
    for (; c->files < files; c->files++) {
        checkpoint_file *const f = &c->file[c->files];
        snprintf(f->name, sizeof f->name, "%s", name[c->files]);
        if (!safetensors_open(path_of(c, f->name, path), &f->content, why)) return false;
        c->count += f->content.count;
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const checkpoint_entry *)a)->tensor->name, ((const checkpoint_entry *)b)->tensor->name);
}

static bool list_tensors(checkpoint *c, complaint *why)
{
    int64_t n = 0;
    about_file const to = {c->dir, why};
    c->entry = calloc((size_t)c->count + 1, sizeof *c->entry);
    if (!c->entry) return refuse_file(&to, "no memory for its list of tensors");
    for (int64_t f = 0; f < c->files; f++)
        for (int64_t i = 0; i < c->file[f].content.count; i++)
            c->entry[n++] = (checkpoint_entry){&c->file[f].content.item[i], &c->file[f]};
    qsort(c->entry, (size_t)n, sizeof *c->entry, by_name);
    for (int64_t i = 1; i < n; i++)
        if (by_name(&c->entry[i - 1], &c->entry[i]) == 0)
            return refuse_file(&to, "tensor %s is in %s and in %s, one of them is expected", c->entry[i].tensor->name,
                               c->entry[i - 1].file->name, c->entry[i].file->name);
    return true;
}

static const checkpoint_entry *find_entry(const checkpoint *c, const char *name)
{
    int64_t from = 0, to = c->count;
    while (from < to) {
        int64_t const middle = from + (to - from) / 2;
        int const order = strcmp(name, c->entry[middle].tensor->name);
        if (order == 0) return &c->entry[middle];
        if (order < 0)
            to = middle;
        else
            from = middle + 1;
    }
    return NULL;
}

/* Index and files name the same tensors in the same places. */
static bool check_index(const checkpoint *c, const checkpoint_index *index, const about_file *to)
{
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)index->json, tensor, file)
    {
        const char *const name = json_string_value(file);
        const checkpoint_entry *const e = find_entry(c, tensor);
        if (!e) return refuse_file(to, "tensor %.128s is said to be in %s, which doesn't hold it", tensor, name);
        if (strcmp(e->file->name, name) != 0)
            return refuse_file(to, "tensor %s is said to be in %s, but it is in %s", tensor, name, e->file->name);
    }
    for (int64_t i = 0; i < c->count; i++)
        if (!json_object_get(index->json, c->entry[i].tensor->name))
            return refuse_file(to, "tensor %s of %s is not in its weight_map", c->entry[i].tensor->name,
                               c->entry[i].file->name);
    return true;
}

static bool open_sharded(checkpoint *c, complaint *why)
{
    char path[PATH_SIZE];
    checkpoint_index index;
    file_map text;
    about_file const to = {path_of(c, index_name, path), why};
    if (!file_map_open(&text, &to)) return false;
    c->indexed = true;
    c->watched[1] = text.identity;
    bool good = checkpoint_index_parse(path, text.data, text.size, &index, why);
    file_map_close(&text);
    if (!good) return false;
    good = open_files(c, index.file, index.files, why) && list_tensors(c, why) && check_index(c, &index, &to);
    checkpoint_index_free(&index);
    return good;
}

static bool exists(const checkpoint *c, const char *file)
{
    char path[PATH_SIZE];
    return access(path_of(c, file, path), F_OK) == 0 || errno != ENOENT;
}

/* config.json, if it is there: config.h reads it. */
static void watch_config(checkpoint *c)
{
    char path[PATH_SIZE];
    file_identity id;
    if (file_identify(path_of(c, config_name, path), &id)) c->watched[0] = id;
}

bool checkpoint_open(const char *dir, checkpoint *c, complaint *why)
{
    about_file const to = {dir, why};
    const char *const whole[] = {whole_name};
    bool good;
    *c = (checkpoint){.dir = strdup(dir)};
    if (!c->dir) return refuse_file(&to, "no memory for its name");
    watch_config(c);
    if (strlen(dir) + CHECKPOINT_FILE_NAME >= PATH_SIZE)
        good = refuse_file(&to, "is too long a name");
    else if (exists(c, whole_name))
        good = open_files(c, whole, 1, why) && list_tensors(c, why);
    else if (exists(c, index_name))
        good = open_sharded(c, why);
    else
        good = refuse_file(&to, "holds neither %s nor %s; the folder of a Hugging Face checkpoint is expected",
                           whole_name, index_name);
    if (!good) checkpoint_close(c);
    return good;
}

void checkpoint_close(checkpoint *c)
{
    for (int64_t i = 0; i < c->files; i++) safetensors_close(&c->file[i].content);
    free(c->file);
    free(c->entry);
    free(c->dir);
    *c = (checkpoint){.dir = NULL};
}

/* ---- files that are in use ---- */

static bool check_unchanged(const checkpoint *c, const char *file, const file_identity *was, complaint *why)
{
    char path[PATH_SIZE];
    file_identity is;
    about_file const to = {path_of(c, file, path), why};
    if (!was->inode) return true;
    if (!file_identify(path, &is)) return refuse_file(&to, "was taken away while it was in use: %s", strerror(errno));
    if (!file_is_one(was, &is)) return refuse_file(&to, "was replaced by another file while it was in use");
    if (is.size != was->size)
        return refuse_file(&to, "had %lld bytes and has %lld now: it changed while it was in use", (long long)was->size,
                           (long long)is.size);
    return file_is_same(was, &is) || refuse_file(&to, "changed while it was in use");
}

bool checkpoint_check_unchanged(const checkpoint *c, complaint *why)
{
    if (!check_unchanged(c, config_name, &c->watched[0], why)) return false;
    if (!check_unchanged(c, index_name, &c->watched[1], why)) return false;
    for (int64_t f = 0; f < c->files; f++)
        if (!check_unchanged(c, c->file[f].name, &c->file[f].content.map.identity, why)) return false;
    return true;
}

bool checkpoint_has_file(const checkpoint *c, const file_identity *id)
{
    for (int i = 0; i < 2; i++)
        if (c->watched[i].inode && file_is_one(&c->watched[i], id)) return true;
    for (int64_t f = 0; f < c->files; f++)
        if (file_is_one(&c->file[f].content.map.identity, id)) return true;
    return false;
}

const checkpoint_file *checkpoint_file_at(const checkpoint *c, const void *address)
{
    for (int64_t f = 0; f < c->files; f++) {
        const file_map *const m = &c->file[f].content.map;
        if ((const char *)address >= m->data && (const char *)address < m->data + m->size) return &c->file[f];
    }
    return NULL;
}

/* ---- tensors ---- */

const safetensor *checkpoint_find(const checkpoint *c, const char *name)
{
    const checkpoint_entry *const e = find_entry(c, name);
    return e ? e->tensor : NULL;
}

/* "[5, 56]" */
static const char *shape_text(int ndim, const int64_t *shape, char *text, size_t cap)
{
    size_t used = (size_t)snprintf(text, cap, "[");
    for (int d = 0; d < ndim && used < cap; d++)
        used += (size_t)snprintf(text + used, cap - used, "%s%lld", d ? ", " : "", (long long)shape[d]);
    if (used < cap) snprintf(text + used, cap - used, "]");
    return text;
}

/* "F32, BF16 or F8_E4M3" */
static const char *formats_text(unsigned dtypes, char *text, size_t cap)
{
    size_t used = 0;
    text[0] = 0;
    for (unsigned d = DSV3_NONE + 1; d < DSV3_DTYPES && used < cap; d++) {
        if (!(dtypes & DTYPE_BIT(d))) continue;
        const char *const between = !used ? "" : dtypes >> (d + 1) ? ", " : " or ";
        used += (size_t)snprintf(text + used, cap - used, "%s%s", between,
                                 safetensor_format(&(safetensor){.dtype = (dsv3_dtype)d}));
    }
    return text;
}

bool checkpoint_expect(const checkpoint *c, const char *name, unsigned dtypes, int ndim, const int64_t *shape,
                       const safetensor **tensor, complaint *why)
{
    char path[PATH_SIZE], has[120], wants[120];
    const checkpoint_entry *const e = find_entry(c, name);
    *tensor = NULL;
    if (!e) return refuse_file(&(about_file){c->dir, why}, "no file holds tensor %s, which config.json asks for", name);
    const safetensor *const t = e->tensor;
    about_file const to = {path_of(c, e->file->name, path), why};
    if (t->dtype == DSV3_NONE || !(dtypes & DTYPE_BIT(t->dtype)))
        return refuse_file(&to, "tensor %s is %s, %s is expected", name, safetensor_format(t),
                           formats_text(dtypes, wants, sizeof wants));
    if (t->ndim != ndim || memcmp(t->shape, shape, (size_t)ndim * sizeof *shape) != 0)
        return refuse_file(&to, "tensor %s has shape %s, config.json makes it %s", name,
                           shape_text(t->ndim, t->shape, has, sizeof has),
                           shape_text(ndim, shape, wants, sizeof wants));
    *tensor = t;
    return true;
}

bool checkpoint_check_scales(const checkpoint *c, const safetensor *scales, complaint *why)
{
    char path[PATH_SIZE];
    int64_t const columns = scales->ndim ? scales->shape[scales->ndim - 1] : 1;
    for (int64_t i = 0; i < (int64_t)(scales->bytes / sizeof(float)); i++) {
        float s;
        memcpy(&s, (const char *)scales->data + (size_t)i * sizeof s, sizeof s);
        if (s > 0 && isfinite(s)) continue;
        const checkpoint_entry *const e = find_entry(c, scales->name);
        about_file const to = {path_of(c, e ? e->file->name : "", path), why};
        return refuse_file(&to, "tensor %s, row %lld, column %lld is %g; a scale is finite and above 0", scales->name,
                           (long long)(i / columns), (long long)(i % columns), (double)s);
    }
    return true;
}

/* Bits of the elements in a word of 64: those that are all 1 in what is not finite, the lowest of them, and the bit
 * above them, which a carry from there reaches. */
typedef struct {
    uint64_t ones, low, carry;
} not_finite;

static not_finite not_finite_of(dsv3_dtype d)
{
    switch (d) {
    case DSV3_F32: return (not_finite){0x7f8000007f800000, 0x0080000000800000, 0x8000000080000000};
    case DSV3_BF16: return (not_finite){0x7f807f807f807f80, 0x0080008000800080, 0x8000800080008000};
    case DSV3_F16: return (not_finite){0x7c007c007c007c00, 0x0400040004000400, 0x8000800080008000};
    case DSV3_F8_E4M3: return (not_finite){0x7f7f7f7f7f7f7f7f, 0x0101010101010101, 0x8080808080808080};
    default: return (not_finite){0, 0, 0};
    }
}

/* Whole words alone. */
static bool words_are_finite(not_finite n, const char *data, size_t words)
{
    uint64_t carried = 0;
    for (size_t i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, data + i * sizeof word, sizeof word);
        carried |= ((word & n.ones) + n.low) & n.carry;
    }
    return !carried;
}

/* "row 3, column 5", or "element 5" of a vector. */
static const char *place_text(const safetensor *t, int64_t i, char *text, size_t cap)
{
    int64_t const columns = t->ndim > 1 ? t->shape[t->ndim - 1] : 0;
    if (columns)
        snprintf(text, cap, "row %lld, column %lld", (long long)(i / columns), (long long)(i % columns));
    else
        snprintf(text, cap, "element %lld", (long long)i);
    return text;
}

static bool refuse_element(const checkpoint *c, const safetensor *t, int64_t i, complaint *why)
{
    char path[PATH_SIZE], place[64];
    const checkpoint_entry *const e = find_entry(c, t->name);
    about_file const to = {path_of(c, e ? e->file->name : "", path), why};
    return refuse_file(&to, "tensor %s, %s is %g; a weight is finite", t->name, place_text(t, i, place, sizeof place),
                       ref_decode(t->dtype, t->data, i));
}

static bool check_each(const checkpoint *c, const safetensor *t, int64_t first, int64_t last, complaint *why)
{
    for (int64_t i = first; i < last; i++)
        if (!isfinite(ref_decode(t->dtype, t->data, i))) return refuse_element(c, t, i, why);
    return true;
}

bool checkpoint_check_finite(const checkpoint *c, const safetensor *weight, int64_t first, int64_t count,
                             complaint *why)
{
    enum { CHUNK = 1 << 20 }; /* elements */
    not_finite const n = not_finite_of(weight->dtype);
    int64_t const in_word = (int64_t)(sizeof(uint64_t) / ref_dtype_size(weight->dtype)), last = first + count;
    for (int64_t at = first; at < last; at += CHUNK) {
        int64_t const end = last - at < CHUNK ? last : at + CHUNK, words = (end - at) / in_word;
        const char *const data = (const char *)weight->data + (size_t)at * ref_dtype_size(weight->dtype);
        bool const clean = n.ones && words_are_finite(n, data, (size_t)words);
        if (!check_each(c, weight, clean ? at + words * in_word : at, end, why)) return false;
        checkpoint_release(data, (size_t)(end - at) * ref_dtype_size(weight->dtype));
    }
    return true;
}

void checkpoint_release(const void *data, size_t bytes)
{
    uintptr_t const page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)data;
    uintptr_t const from = (at + page - 1) / page * page, to = (at + bytes) / page * page;
    if (from < to) madvise((void *)from, to - from, MADV_DONTNEED);
}
