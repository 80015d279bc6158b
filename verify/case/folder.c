/* See folder.h. */
#include "folder.h"

#include "files/safetensors.h"
#include "fill.h"
#include "without.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void print_prob(FILE *f, const problem *p)
{
    for (const field_row *field = p->op->fields; field->name; field++)
        fprintf(f, "%s\"%s\": %.17g", field == p->op->fields ? "" : ", ", field->name, problem_field(p, field));
}

static void print_tensors(FILE *f, const problem *p)
{
    static const char *const kinds[] = {"in", "weight", "out"};
    for (int i = 0; i < p->tensors; i++) {
        const tensor_info *const t = &p->tensor[i];
        fprintf(f, "%s\n  {\"name\": \"%s\", \"kind\": \"%s\", \"dtype\": \"%s\", \"shape\": [", i ? "," : "", t->name,
                kinds[t->row->kind], ref_dtype_name(t->dtype));
        for (int d = 0; d < t->ndim; d++) fprintf(f, "%s%lld", d ? ", " : "", (long long)t->shape[d]);
        fprintf(f, "]}");
    }
}

static bool write_case_json(const char *dir, const problem *p, complaint *why)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/case.json", dir);
    FILE *const f = fopen(path, "w");
    if (!f) return refuse(why, "cannot write %s: %s", path, strerror(errno));
    fprintf(f, "{\"format\": 1, \"id\": \"%s\", \"op\": \"%s\", \"prob\": {", p->id, p->op->name);
    print_prob(f, p);
    fprintf(f, "}, \"tensors\": [");
    print_tensors(f, p);
    fprintf(f, "\n]}\n");
    bool const good = !ferror(f);
    if (!fclose(f) && good) return true;
    return refuse(why, "cannot write %s: %s", path, strerror(errno));
}

bool folder_write(const char *dir, const problem *p, void *const data[], complaint *why)
{
    char path[4200];
    safetensor *const item = calloc((size_t)p->tensors, sizeof *item);
    int64_t count = 0;
    if (!item) return refuse(why, "no memory for the list of tensors");
    if (!tensors_touch(p, data)) return free(item), refuse(why, "no memory for the tensors of %s", p->op->name);
    for (int i = 0; i < p->tensors; i++) {
        const tensor_info *const t = &p->tensor[i];
        if (t->row->kind == TENSOR_OUT) continue;
        safetensor *const s = &item[count++];
        *s = (safetensor){.dtype = t->dtype, .ndim = t->ndim, .data = data[i], .bytes = t->bytes};
        snprintf(s->name, sizeof s->name, "%s", t->name);
        memcpy(s->shape, t->shape, sizeof s->shape);
    }
    snprintf(path, sizeof path, "%s/inputs.safetensors", dir);
    bool const good = write_case_json(dir, p, why) && safetensors_write(path, item, count, why);
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

static bool copy_output(const char *path, const safetensors *file, const tensor_info *t, void *data, complaint *why)
{
    char is[100], should[100];
    const safetensor *const s = safetensors_find(file, t->name);
    if (!s) return refuse(why, "%s holds no tensor %s", path, t->name);
    if (s->dtype != t->dtype)
        return refuse(why, "%s: %s has format %s, not %s", path, s->name, ref_dtype_name(s->dtype),
                      ref_dtype_name(t->dtype)),
               false;
    if (s->ndim != t->ndim || memcmp(s->shape, t->shape, (size_t)t->ndim * sizeof *s->shape)) {
        print_shape(is, sizeof is, s->shape, s->ndim);
        print_shape(should, sizeof should, t->shape, t->ndim);
        return refuse(why, "%s: %s has shape %s, not %s", path, s->name, is, should);
    }
    memcpy(data, s->data, t->bytes);
    return true;
}

static bool copy_outputs(const char *path, const safetensors *file, const problem *p, void *const data[],
                         unsigned *left_out, complaint *why)
{
    bool good = true;
    *left_out = 0;
    for (int i = 0; good && i < p->tensors; i++) {
        const tensor_info *const t = &p->tensor[i];
        bool const out = t->row->kind == TENSOR_OUT, missing = optional_as(t) && !safetensors_find(file, t->name);
        if (missing) memset(data[i], 0xa5, t->bytes), *left_out |= output_bit(p, i);
        if (out && !missing) good = copy_output(path, file, t, data[i], why);
    }
    return good;
}

bool folder_read_outputs(const char *path, const problem *p, void *const data[], unsigned *left_out, complaint *why)
{
    safetensors file;
    size_t most = SAFETENSORS_MAX_HEADER, size = 0;
    for (int i = 0; i < p->tensors; i++) most += p->tensor[i].row->kind == TENSOR_OUT ? p->tensor[i].bytes : 0;
    char *const content = file_read(&(about_file){path, why}, most, &size);
    bool good = content && safetensors_parse(path, content, size, &file, why);
    if (good) {
        good = copy_outputs(path, &file, p, data, left_out, why);
        safetensors_close(&file);
    }
    free(content);
    return good;
}
