/* verify list */
#include "case/expand.h"
#include "case/problem.h"
#include "matrix.h"
#include "options.h"
#include "port/backends.h"

#include <stdio.h>

static const char help[] =
    "usage: verify list [--ops | --quirks | --points | --backends]\n"
    "       verify list --cases [CASE...]\n"
    "       verify list --matrix [CASE...] [--results=FILE...]\n"
    "\n"
    "  --cases      ids of @smoke and @ci, or of the cases given, lists and ranges written out\n"
    "  --matrix     every op on every port: which have it; with --results, how many of the cases\n"
    "               (default @ci) passed, were skipped and failed. FILE is what verify run\n"
    "               --format=jsonl --out=DIR writes; of several, the later counts\n"
    "  --ops        ops with their fields, tensors, formats and fills (default)\n"
    "  --quirks     known mistakes, with evidence\n"
    "  --points     named rounding points, which are also the names of dumped stages\n"
    "  --backends   names that --backend= takes\n";

static void list_op(const op *o)
{
    printf("%s\n  %s\n  source: %s\n  keys\n", o->name, o->summary, o->source);
    for (const field_row *f = o->fields; f->name; f++)
        printf("    %-18s %g..%.10g; v3 %g tiny %g odd %g edge %g: %s\n", f->name, f->least, f->most, f->preset[0],
               f->preset[1], f->preset[2], f->preset[3], f->help);
    for (const list_row *l = o->lists; l && l->name; l++) {
        printf("    %-18s a+b+...; sets %s", l->name, l->count);
        if (l->most) printf(" and %s", l->most);
        if (l->total) printf(" and %s", l->total);
        printf(": %s\n", l->help);
    }
    printf("  tensors\n");
    for (const tensor_row *t = o->tensors; t->name; t++)
        printf("    %-18s %-20s (%s)%s%s: %s\n", t->name, t->dtypes, t->shape, t->present ? ", present when " : "",
               t->present ? t->present : "", t->help);
    printf("  fills\n");
    for (const fill_row *f = o->fills; f->name; f++) printf("    %-18s %s\n", f->name, f->help);
}

static void list_ops(void)
{
    for (int i = 0; ops[i]; i++) list_op(ops[i]);
}

static void list_quirks(void)
{
    for (int i = 0; ref_quirk(i); i++) {
        const ref_quirk_row *const q = ref_quirk(i);
        printf("%-24s %-8s %s\n%34s%s\n", q->name, q->op, q->summary, "", q->evidence);
    }
}

static void list_points(void)
{
    for (int i = 0; ref_point(i); i++) {
        const ref_point_row *const r = ref_point(i);
        printf("%-8s %-14s %-7s %s\n", r->op, r->name, r->output ? "output" : r->stage ? "stage" : "may", r->meaning);
    }
}

static void list_backends(void)
{
    for (int i = 0; backend_known(i); i++) puts(backend_known(i));
}

static int list_cases(int argc, char **argv)
{
    static char smoke[] = "@smoke", ci[] = "@ci";
    char *both[] = {smoke, ci};
    complaint why;
    case_list list = {NULL, 0};
    for (int i = 0; i < (argc ? argc : 2); i++)
        if (!cases_add(&list, argc ? argv[i] : both[i], &why)) return cases_free(&list), usage_error("%s", why.text);
    for (int i = 0; i < list.count; i++) puts(list.id[i]);
    cases_free(&list);
    return EXIT_GOOD;
}

int command_list(int argc, char **argv)
{
    const char *const what = argc > 1 ? argv[1] : "--ops";
    bool const asked = !strcmp(what, "--help") || (argc > 2 && !strcmp(argv[2], "--help"));
    if (asked) return fputs(help, stdout), EXIT_GOOD;
    if (!strcmp(what, "--cases")) return list_cases(argc - 2, argv + 2);
    if (!strcmp(what, "--matrix")) return list_matrix(argc - 2, argv + 2);
    if (argc > 2) return usage_error("list takes one option; see verify list --help");
    if (!strcmp(what, "--ops"))
        list_ops();
    else if (!strcmp(what, "--quirks"))
        list_quirks();
    else if (!strcmp(what, "--points"))
        list_points();
    else if (!strcmp(what, "--backends"))
        list_backends();
    else
        return usage_error("unknown option '%s' of list; it takes --cases --matrix --ops --quirks --points --backends",
                           what);
    return EXIT_GOOD;
}
