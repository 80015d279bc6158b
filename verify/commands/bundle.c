/* verify bundle: writes cases as files, for ports that have only files. */
#include "case/expand.h"
#include "case/folder.h"
#include "files/fingerprint.h"
#include "files/output_file.h"
#include "files/safetensors.h"
#include "judge/judge.h"
#include "loaded_case.h"
#include "options.h"
#include "waiting.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    const char *numerics, *tensors;
} arguments;

static const option options[] = {
    {"--numerics", OPTION_TEXT, offsetof(arguments, numerics), "T",
     "how a port rounds, as text or a file: truth.safetensors gets the ends of what is legal too"},
    {"--tensors", OPTION_TEXT, offsetof(arguments, tensors), "F",
     "f32: BF16 and FP8 tensors are written as F32, the same values, for readers such as numpy that lack these "
     "formats"},
    {NULL},
};

static const syntax bundle_syntax = {"bundle make",
                                     "usage: verify bundle make DIR CASE... [--numerics=TEXT|FILE] [--tensors=f32]\n"
                                     "\n"
                                     "Writes each case as a folder below DIR: case.json, inputs.safetensors, and\n"
                                     "truth.safetensors with centre and radius of every output element, in binary64.\n"
                                     "Formats: docs/formats.md.\n",
                                     options, NULL};

/* One output's worth of doubles under NAME.suffix. */
static bool add_doubles(safetensor *item, int64_t *count, const tensor_info *t, const char *suffix, double *values)
{
    if (!values) return false;
    safetensor *const s = &item[(*count)++];
    *s = (safetensor){.dtype = DSV3_F64, .ndim = t->ndim, .data = values, .bytes = (size_t)t->count * sizeof *values};
    snprintf(s->name, sizeof s->name, "%s.%s", t->name, suffix);
    memcpy(s->shape, t->shape, sizeof t->shape);
    return true;
}

/* The double nearest to the truth, and a radius that covers what it leaves out. */
static double centre_of(ref_value v)
{
    return v.hi;
}

static double radius_of(ref_value v)
{
    return v.lo == 0 ? v.radius : nextafter(v.radius + fabs(v.lo), HUGE_VAL);
}

static double *map_values(const ref_value *v, int64_t count, double (*of)(ref_value))
{
    double *const d = malloc((size_t)count * sizeof *d);
    for (int64_t i = 0; d && i < count; i++) d[i] = of(v[i]);
    return d;
}

/* Up to four tensors an output; false: no memory. */
static bool collect_truth(const loaded_case *l, const enclosures *truth, const enclosures *legal, safetensor *item,
                          int64_t *count)
{
    bool good = true;
    for (int i = 0; i < l->p.tensors && good; i++) {
        const tensor_info *const t = &l->p.tensor[i];
        if (!truth->value[i]) continue;
        good = add_doubles(item, count, t, "centre", map_values(truth->value[i], t->count, centre_of)) &&
               add_doubles(item, count, t, "radius", map_values(truth->value[i], t->count, radius_of));
        if (good && *l->declared)
            good = add_doubles(item, count, t, "lower", map_values(legal->value[i], t->count, ref_lower)) &&
                   add_doubles(item, count, t, "upper", map_values(legal->value[i], t->count, ref_upper));
    }
    return good;
}

static bool write_truth(const loaded_case *l, const char *path, complaint *why)
{
    enclosures truth, legal;
    int64_t count = 0;
    if (!decide_own(&l->p, ref_none(), l->data) || !enclose_both(&l->p, &l->numerics, l->data, &truth, &legal))
        return refuse(why, "no memory for the reference");
    safetensor *const item = calloc(4 * (size_t)l->p.tensors, sizeof *item);
    bool const good = item && collect_truth(l, &truth, &legal, item, &count) ? safetensors_write(path, item, count, why)
                                                                             : refuse(why, "no memory for the truth");
    for (int64_t i = 0; i < count; i++) free((void *)(uintptr_t)item[i].data);
    free(item);
    enclosures_free(&truth);
    enclosures_free(&legal);
    return good;
}

enum { LONGEST_NAME = 255 }; /* of a file: NAME_MAX */

/* An id as the name of a folder: what shells and file systems dislike becomes '_', and what is too long ends in its fingerprint. */
static void folder_name(const char *dir, const char *id, char *path, size_t cap)
{
    size_t const start = (size_t)snprintf(path, cap, "%s/", dir), length = strlen(id);
    char end[FINGERPRINT_TEXT] = "";
    if (length > LONGEST_NAME) {
        fingerprint *const f = fingerprint_open();
        fingerprint_add(f, "id", id, length);
        fingerprint_close(f, end);
    }
    int const kept = *end ? LONGEST_NAME - FINGERPRINT_TEXT : (int)length;
    snprintf(path + start, cap - start, "%.*s%s%s", kept, id, *end ? "_" : "", end);
    for (char *s = path + start; *s; s++)
        if (strchr(":;,=@/", *s)) *s = '_';
}

static bool write_bundle(const char *dir, const loaded_case *l, bool widened, waiting *w, complaint *why)
{
    char path[1300], file[1400];
    folder_name(dir, l->p.id, path, sizeof path);
    snprintf(file, sizeof file, "%s/truth.safetensors", path);
    if (!output_folder(path, why) || !folder_write(path, &l->p, l->data, widened, why) || !write_truth(l, file, why))
        return false;
    waiting_hide(w);
    printf("%s\n", path);
    return true;
}

static int make_bundle(const char *dir, const char *id, const given_numerics *d, bool widened, waiting *w)
{
    complaint why;
    loaded_case *const l = loaded_case_open(id, d);
    if (!l) return EXIT_USAGE;
    waiting_announce("verify", &l->p, 3);
    int code = loaded_case_fill(l) ? EXIT_GOOD : EXIT_USAGE;
    if (!code && !write_bundle(dir, l, widened, w, &why)) code = usage_error("%s", why.text);
    loaded_case_close(l);
    return code;
}

/* Can all of them be made? False: one sentence in why. */
static bool check_bundles(const case_list *list, const given_numerics *d, complaint *why)
{
    bool good = true;
    for (int i = 0; i < list->count && good; i++) {
        loaded_case *const l = loaded_case_read(list->id[i], NULL, d, why);
        good = l && loaded_case_fits_files(l, why);
        if (l) loaded_case_close(l);
    }
    return good;
}

/* Two patterns may name the same case: its bundle is written once. */
static bool is_made(const case_list *list, int i)
{
    for (int k = 0; k < i; k++)
        if (!strcmp(list->id[k], list->id[i])) return true;
    return false;
}

static int make_bundles(const char *dir, const case_list *list, const given_numerics *d, bool widened)
{
    int code = EXIT_GOOD;
    complaint why;
    waiting w = waiting_begin();
    if (!output_folder(dir, &why)) return usage_error("%s", why.text);
    for (int i = 0; i < list->count && !code; i++) {
        if (is_made(list, i)) continue;
        waiting_say(&w, i, list->count, list->id[i]);
        code = make_bundle(dir, list->id[i], d, widened, &w);
    }
    waiting_hide(&w);
    return code;
}

int command_bundle(int argc, char **argv)
{
    case_list list = {NULL, 0};
    arguments a = {.numerics = NULL};
    operands rest;
    given_numerics d;
    complaint why;
    int code;
    if (!options_read(&bundle_syntax, argc, argv, &a, &rest, &code)) return code;
    if (rest.count == 0) return usage_error("bundle needs words behind it: bundle make DIR CASE...");
    if (strcmp(rest.word[0], "make"))
        return usage_error("bundle takes no '%.200s': it is bundle make DIR CASE...", rest.word[0]);
    if (rest.count < 3)
        return usage_error("bundle make needs a folder and a case, as in: verify bundle make out linear@odd");
    if (a.tensors && strcmp(a.tensors, "f32"))
        return usage_error("--tensors=%.200s: it is f32, or left out for the formats of the case", a.tensors);
    if (!read_numerics_option(a.numerics, &d, &why)) return usage_error("%s", why.text);
    for (int i = 2; i < rest.count && !code; i++)
        if (!cases_add(&list, rest.word[i], &why)) code = usage_error("%s", why.text);
    if (!code && !check_bundles(&list, &d, &why)) code = usage_error("%s", why.text);
    if (!code) code = make_bundles(rest.word[1], &list, &d, a.tensors != NULL);
    cases_free(&list);
    return code;
}
