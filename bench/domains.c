/* See domains.h. */
#include "domains.h"

#include "json_lines.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char writer[] = "bench evaluate --format=jsonl";

/* No layer is without a load: every token is one somewhere. */
static bool read_layer(const json_t *layer, int experts, double *load)
{
    double sum = 0;
    if (json_array_size(layer) != (size_t)experts) return false;
    for (int e = 0; e < experts; e++) {
        const json_t *const n = json_array_get(layer, (size_t)e);
        if (!json_is_integer(n) || json_integer_value(n) < 0) return false;
        sum += load[e] = (double)json_integer_value(n);
    }
    return sum > 0;
}

static bool read_loads(const json_t *load, domain *to)
{
    to->layers = (int)json_array_size(load);
    to->experts = (int)json_array_size(json_array_get(load, 0));
    if (!to->layers || !to->experts || to->layers > 1000 || to->experts > 10000) return false;
    to->load = calloc((size_t)(to->layers * to->experts), sizeof *to->load);
    bool good = to->load;
    for (int l = 0; good && l < to->layers; l++)
        good = read_layer(json_array_get(load, (size_t)l), to->experts, to->load + l * to->experts);
    return good;
}

static bool read_domain(const json_t *line, domain *to, const char **lacks)
{
    double const windows = json_amount(line, "windows"), length = json_amount(line, "length");
    to->tokens = windows * length;
    const char *const missing = !json_text(line, "model", to->model, sizeof to->model) ? "model"
                                : !json_text(line, "text", to->text, sizeof to->text)  ? "text"
                                : !(windows > 0)                                       ? "windows"
                                : !(length > 0)                                        ? "length"
                                : !read_loads(json_object_get(line, "load"), to)       ? "load"
                                                                                       : NULL;
    *lacks = missing;
    return !missing;
}

static bool take_line(void *own, const json_t *line, const char **lacks)
{
    domains *const d = own;
    const char *const study = json_string_value(json_object_get(line, "study")), *const format = json_string_value(
                                                                                     json_object_get(line, "format"));
    if (!study || strcmp(study, "evaluate")) return *lacks = "study", false;
    if (!format) return *lacks = "format", false;
    if (strcmp(format, "f32") != 0) return true;
    domain *const more = realloc(d->line, (size_t)(d->count + 1) * sizeof *more);
    if (!more) return *lacks = "memory", false;
    d->line = more;
    d->line[d->count] = (domain){.load = NULL};
    return read_domain(line, &d->line[d->count++], lacks);
}

static bool are_alike(const domains *d, complaint *why)
{
    for (int i = 1; i < d->count; i++) {
        const domain *const a = &d->line[0], *const b = &d->line[i];
        if (strcmp(a->model, b->model) != 0)
            return refuse(why, "%s is of two models, %s and %s: a figure shows one", d->file, a->model, b->model);
        if (a->layers != b->layers || a->experts != b->experts)
            return refuse(why, "%s: %s has %d layers of %d experts on %s, and %d of %d on %s", d->file, a->model,
                          a->layers, a->experts, a->text, b->layers, b->experts, b->text);
    }
    return d->count > 1 || refuse(why, "%s has no two texts in binary32 to compare", d->file);
}

bool domains_read(domains *d, const char *file, complaint *why)
{
    *d = (domains){.file = file};
    return json_lines_read(file, writer, take_line, d, why) && are_alike(d, why);
}

void domains_close(domains *d)
{
    for (int i = 0; i < d->count; i++) free(d->line[i].load);
    free(d->line);
}
