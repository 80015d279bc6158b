/* verify bundle and verify compare: for ports that have only files. */
#include "case/expand.h"
#include "case/fill.h"
#include "case/folder.h"
#include "files/safetensors.h"
#include "judge/judge.h"
#include "options.h"
#include "report/report.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char compare_help[] =
    "usage: verify compare OUT.safetensors --case=CASE [--numerics=TEXT|FILE] [--verbose]\n"
    "\n"
    "Judges the output tensors in a file, by name, as if a port had just computed them from the\n"
    "inputs of the case (verify bundle make writes those). Exit codes are those of run.\n"
    "\n"
    "  --numerics=T   how the port rounds; default: wide assumptions, which the report names\n";

static const char bundle_help[] = "usage: verify bundle make DIR CASE... [--numerics=TEXT|FILE]\n"
                                  "\n"
                                  "Writes each case as a folder below DIR: case.json, inputs.safetensors, and\n"
                                  "truth.safetensors with centre and radius of every output element, in binary64.\n"
                                  "With --numerics also the ends of what is legal. Formats: docs/formats.md.\n";

/* A problem with its tensors in memory. */
typedef struct {
    problem p;
    void *data[MAX_TENSORS];
    ref_numerics numerics;
    char declared[REF_NUMERICS_CAP];
} loaded;

static int load(loaded *l, const char *id, const char *declared)
{
    complaint why;
    snprintf(l->declared, sizeof l->declared, "%s", declared);
    if (!problem_parse(id, &l->p, &why)) return usage_error("%s", why.text);
    if (!ref_numerics_parse(l->p.op->name, declared, &l->numerics, why.text, sizeof why.text))
        return usage_error("%s", why.text);
    return tensors_open(&l->p, l->data) ? EXIT_GOOD : usage_error("no memory for %s", l->p.id);
}

/* ---- compare ---- */

static int judge_file(loaded *l, const char *path, bool verbose)
{
    complaint why;
    enclosures truth, legal, own;
    result r = {.v = ERROR};
    const char *const name = "file";
    tally t = {0};
    if (!folder_read_outputs(path, &l->p, l->data, &why)) return usage_error("%s", why.text);
    if (!enclose_both(&l->p, &l->numerics, l->data, &truth, &legal))
        return usage_error("no memory for the reference of %s", l->p.id);
    if (!enclose_own(&l->p, l->data, &own)) return usage_error("no memory for the reference of %s", l->p.id);
    judge(&l->p, &truth, &legal, &own, l->data, &r);
    enclosures_free(&own);
    enclosures_free(&truth);
    enclosures_free(&legal);
    snprintf(r.declared, sizeof r.declared, "%s", l->declared);
    ref_numerics_print(l->p.op->name, &l->numerics, true, r.assumed, sizeof r.assumed);
    tally_add(&t, 0, &r, false);
    report_text(stdout, l->p.id, name, path, &r, verbose);
    report_summary(stdout, &name, 1, &t);
    return t.failed ? EXIT_BAD_VERDICT : t.passed ? EXIT_GOOD : EXIT_NOTHING;
}

int command_compare(int argc, char **argv)
{
    const char *path = NULL, *id = NULL, *v;
    char declared[REF_NUMERICS_CAP] = "";
    complaint why;
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help")) return fputs(compare_help, stdout), EXIT_GOOD;
        if ((v = option_value(argv[i], "--case")))
            id = v;
        else if ((v = option_value(argv[i], "--numerics"))) {
            if (!read_numerics_option(v, declared, sizeof declared, &why)) return usage_error("%s", why.text);
        } else if (!strcmp(argv[i], "--verbose"))
            verbose = true;
        else if (argv[i][0] == '-' || path)
            return usage_error("'%s' is one argument too many or an unknown option; see verify compare --help",
                               argv[i]);
        else
            path = argv[i];
    }
    if (!path || !id)
        return usage_error("compare needs a file and a case, as in: verify compare out.safetensors --case=linear@odd");
    loaded *const l = calloc(1, sizeof *l);
    if (!l) return usage_error("no memory");
    int code = load(l, id, declared);
    if (!code) code = judge_file(l, path, verbose);
    tensors_close(l->data);
    free(l);
    return code;
}

/* ---- bundle ---- */

/* One output's worth of doubles under NAME.suffix. */
static bool add_doubles(safetensor *item, int64_t *count, const tensor_info *t, const char *suffix, double *values)
{
    if (!values) return false;
    safetensor *const s = &item[(*count)++];
    *s = (safetensor){.dtype = DSV3_F64, .ndim = t->ndim, .data = values, .bytes = (size_t)t->count * sizeof *values};
    snprintf(s->name, sizeof s->name, "%s.%s", t->name, suffix);
    memcpy(s->shape, t->shape, sizeof s->shape);
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

static bool write_truth(const loaded *l, const char *path, bool declared, complaint *why)
{
    enclosures truth, legal;
    safetensor item[4 * MAX_TENSORS];
    int64_t count = 0;
    if (!decide_own(&l->p, 0, l->data) || !enclose_both(&l->p, &l->numerics, l->data, &truth, &legal))
        return refuse(why, "no memory for the reference");
    bool good = true;
    for (int i = 0; i < l->p.tensors && good; i++) {
        const tensor_info *const t = &l->p.tensor[i];
        if (!truth.value[i]) continue;
        good = add_doubles(item, &count, t, "centre", map_values(truth.value[i], t->count, centre_of)) &&
               add_doubles(item, &count, t, "radius", map_values(truth.value[i], t->count, radius_of));
        if (good && declared)
            good = add_doubles(item, &count, t, "lower", map_values(legal.value[i], t->count, ref_lower)) &&
                   add_doubles(item, &count, t, "upper", map_values(legal.value[i], t->count, ref_upper));
    }
    good = good ? safetensors_write(path, item, count, why) : refuse(why, "no memory for the truth");
    for (int64_t i = 0; i < count; i++) free((void *)(uintptr_t)item[i].data);
    enclosures_free(&truth);
    enclosures_free(&legal);
    return good;
}

/* An id as the name of a folder: what shells and file systems dislike becomes '_'. */
static void folder_name(const char *dir, const char *id, char *path, size_t cap)
{
    size_t const start = (size_t)snprintf(path, cap, "%s/", dir);
    snprintf(path + start, cap - start, "%s", id);
    for (char *s = path + start; *s; s++)
        if (strchr(":;,=@/", *s)) *s = '_';
}

static int make_bundle(const char *dir, const char *id, const char *declared)
{
    char path[1300], file[1400];
    complaint why;
    loaded *const l = calloc(1, sizeof *l);
    if (!l) return usage_error("no memory");
    int code = load(l, id, declared);
    if (!code) {
        folder_name(dir, l->p.id, path, sizeof path);
        snprintf(file, sizeof file, "%s/truth.safetensors", path);
        bool const made = !mkdir(path, 0777) || errno == EEXIST;
        if (!made) refuse(&why, "cannot make %.500s: %s", path, strerror(errno));
        bool const good =
            made && folder_write(path, &l->p, l->data, &why) && write_truth(l, file, *declared != 0, &why);
        code = good ? EXIT_GOOD : usage_error("%s", why.text);
        if (good) printf("%s\n", path);
    }
    tensors_close(l->data);
    free(l);
    return code;
}

int command_bundle(int argc, char **argv)
{
    case_list list = {NULL, 0};
    char declared[REF_NUMERICS_CAP] = "";
    complaint why;
    const char *dir = NULL, *v;
    int code = EXIT_GOOD;
    if (argc > 1 && !strcmp(argv[1], "--help")) return fputs(bundle_help, stdout), EXIT_GOOD;
    if (argc < 2 || strcmp(argv[1], "make")) return usage_error("bundle takes: bundle make DIR CASE...");
    for (int i = 2; i < argc && !code; i++) {
        if ((v = option_value(argv[i], "--numerics"))) {
            if (!read_numerics_option(v, declared, sizeof declared, &why)) code = usage_error("%s", why.text);
        } else if (argv[i][0] == '-') {
            code = usage_error("unknown option '%s' of bundle make", argv[i]);
        } else if (!dir) {
            dir = argv[i];
        } else if (!cases_add(&list, argv[i], &why)) {
            code = usage_error("%s", why.text);
        }
    }
    if (!code && list.count == 0)
        code = usage_error("bundle make needs a folder and a case, as in: verify bundle make out linear@odd");
    if (!code && mkdir(dir, 0777) && errno != EEXIST)
        code = usage_error("cannot make the folder %s: %s", dir, strerror(errno));
    for (int i = 0; i < list.count && !code; i++) code = make_bundle(dir, list.id[i], declared);
    cases_free(&list);
    return code;
}
