/* See folder.h. */
#include "folder.h"

#include "case_json.h"
#include "files/output_file.h"
#include "files/safetensors.h"
#include "fill.h"
#include "without.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool write_case_json(const char *dir, const problem *p, bool widened, complaint *why)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/case.json", dir);
    FILE *const f = output_open(path, why);
    if (!f) return false;
    errno = 0;
    int const uncleared = output_clear(f) ? 0 : errno;
    case_json_print(f, p, widened);
    int const unwritten = output_end(f), cause = uncleared ? uncleared : unwritten;
    return !cause || refuse(why, "cannot write %s: %s", path, strerror(cause));
}

/* The same values as F32; NULL: no memory. */
static void *widen(const tensor_info *t, const void *data)
{
    char *const wide = malloc((size_t)t->count * sizeof(float) + 1);
    for (int64_t i = 0; wide && i < t->count; i++) ref_encode(DSV3_F32, wide, i, ref_decode(t->dtype, data, i));
    return wide;
}

/* One input or weight as it is written. False: no memory. */
static bool item_of(const tensor_info *t, void *data, bool widened, safetensor *s)
{
    bool const wide = widened && is_narrow(t->dtype);
    *s = (safetensor){.dtype = t->dtype, .ndim = t->ndim, .data = data, .bytes = t->bytes};
    snprintf(s->name, sizeof s->name, "%s", t->name);
    memcpy(s->shape, t->shape, sizeof t->shape);
    if (!wide) return true;
    s->dtype = DSV3_F32;
    s->bytes = (size_t)t->count * sizeof(float);
    s->data = widen(t, data);
    return s->data != NULL;
}

bool folder_write(const char *dir, const problem *p, void *const data[], bool widened, complaint *why)
{
    char path[4200];
    bool good = true;
    safetensor *const item = calloc((size_t)p->tensors, sizeof *item);
    int64_t count = 0;
    if (!item) return refuse(why, "no memory for the list of tensors");
    if (!tensors_touch(p, data)) return free(item), refuse(why, "no memory for the tensors of %s", p->op->name);
    for (int i = 0; good && i < p->tensors; i++)
        if (p->tensor[i].row->kind != TENSOR_OUT) good = item_of(&p->tensor[i], data[i], widened, &item[count++]);
    snprintf(path, sizeof path, "%s/inputs.safetensors", dir);
    if (!good)
        refuse(why, "no memory for the tensors of %s", p->op->name);
    else
        good = write_case_json(dir, p, widened, why) && safetensors_write(path, item, count, why);
    for (int i = 0, k = 0; i < p->tensors && k < count; i++) {
        if (p->tensor[i].row->kind == TENSOR_OUT) continue;
        if (item[k].data != data[i]) free((void *)(uintptr_t)item[k].data);
        k++;
    }
    free(item);
    return good;
}

static void print_shape(char *text, size_t cap, const int64_t *shape, int ndim)
{
    size_t used = (size_t)snprintf(text, cap, "(");
    for (int d = 0; d < ndim && used < cap; d++)
        used += (size_t)snprintf(text + used, cap - used, "%s%lld", d ? ", " : "", (long long)shape[d]);
    if (used < cap) snprintf(text + used, cap - used, ")");
}

/* Values in F32 become those of a narrower format, which they must be. */
static bool narrow(const char *path, const safetensor *s, const tensor_info *t, void *data, complaint *why)
{
    for (int64_t i = 0; i < t->count; i++) {
        double const v = ref_decode(DSV3_F32, s->data, i);
        ref_encode(t->dtype, data, i, v);
        double const is = ref_decode(t->dtype, data, i);
        if (is != v && !(isnan(is) && isnan(v)))
            return refuse(why, "%s: element %lld of %s is %.9g, which is no %s value: round the answer to %s first",
                          path, (long long)i, s->name, v, ref_dtype_name(t->dtype), ref_dtype_name(t->dtype));
    }
    return true;
}

static bool copy_output(const char *path, const safetensors *file, const tensor_info *t, void *data, bool widened,
                        complaint *why)
{
    char is[100], should[100];
    const safetensor *const s = safetensors_find(file, t->name);
    if (!s) return refuse(why, "%s holds no tensor %s", path, t->name);
    bool const wide = widened && s->dtype == DSV3_F32 && is_narrow(t->dtype);
    if (s->dtype != t->dtype && !wide)
        return refuse(why, "%s: %s has format %s, not %s", path, s->name,
                      s->dtype == DSV3_NONE ? safetensor_format(s) : ref_dtype_name(s->dtype),
                      ref_dtype_name(t->dtype));
    if (s->ndim != t->ndim || memcmp(s->shape, t->shape, (size_t)t->ndim * sizeof *s->shape)) {
        print_shape(is, sizeof is, s->shape, s->ndim);
        print_shape(should, sizeof should, t->shape, t->ndim);
        return refuse(why, "%s: %s has shape %s, not %s", path, s->name, is, should);
    }
    if (wide) return narrow(path, s, t, data, why);
    memcpy(data, s->data, t->bytes);
    return true;
}

static bool copy_outputs(const char *path, const safetensors *file, const problem *p, void *const data[], bool widened,
                         unsigned *left_out, complaint *why)
{
    bool good = true;
    *left_out = 0;
    for (int i = 0; good && i < p->tensors; i++) {
        const tensor_info *const t = &p->tensor[i];
        bool const out = t->row->kind == TENSOR_OUT, missing = optional_as(t) && !safetensors_find(file, t->name);
        if (missing) memset(data[i], 0xa5, t->bytes), *left_out |= output_bit(p, i);
        if (out && !missing) good = copy_output(path, file, t, data[i], widened, why);
    }
    return good;
}

bool folder_read_outputs(const char *path, const problem *p, void *const data[], bool widened, unsigned *left_out,
                         complaint *why)
{
    safetensors file;
    size_t most = SAFETENSORS_MAX_HEADER, size = 0;
    for (int i = 0; i < p->tensors; i++)
        most += p->tensor[i].row->kind == TENSOR_OUT ? (widened ? 4 : 1) * p->tensor[i].bytes : 0;
    char *const content = file_read(&(about_file){path, why}, most, &size);
    bool good = content && safetensors_parse(path, content, size, &file, why);
    if (good) {
        good = copy_outputs(path, &file, p, data, widened, left_out, why);
        safetensors_close(&file);
    }
    free(content);
    return good;
}
