/* verify list */
#include "case/expand.h"
#include "case/problem.h"
#include "matrix.h"
#include "options.h"
#include "port/backends.h"

#include <stdio.h>

typedef struct {
    bool ops, quirks, points, backends, cases, matrix;
    option_list results;
} arguments;

static const option options[] = {
    {"--cases", OPTION_FLAG, offsetof(arguments, cases), NULL,
     "ids of @smoke and @ci, or of the cases given, lists and ranges written out"},
    {"--matrix", OPTION_FLAG, offsetof(arguments, matrix), NULL,
     "every op on every port: which have it; with --results, how many of the cases (default @ci) passed, were skipped "
     "and failed"},
    {"--results", OPTION_REPEATED, offsetof(arguments, results), "FILE",
     "what verify run --format=jsonl --out=DIR writes; of several, the later counts"},
    {"--ops", OPTION_FLAG, offsetof(arguments, ops), NULL,
     "ops with their fields, tensors, formats and fills (default)"},
    {"--quirks", OPTION_FLAG, offsetof(arguments, quirks), NULL, "known mistakes, with evidence"},
    {"--points", OPTION_FLAG, offsetof(arguments, points), NULL,
     "named rounding points, which are also the names of dumped stages"},
    {"--backends", OPTION_FLAG, offsetof(arguments, backends), NULL,
     "names that --backend takes; built-in ones say how they run here, or why not"},
    {NULL},
};

static const syntax list_syntax = {"list",
                                   "usage: verify list [--ops | --quirks | --points | --backends]\n"
                                   "       verify list --cases [CASE...]\n"
                                   "       verify list --matrix [CASE...] [--results=FILE...]\n",
                                   options, NULL};

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

/* Built-in ones say how they run here, or why they don't. */
static void list_backends(void)
{
    for (int i = 0; backend_known(i); i++) {
        backend b;
        complaint why;
        char line[256] = "";
        bool const good = backend_resolve(backend_known(i), &b, &why);
        if (good && b.table && b.table->probe) b.table->probe(line, sizeof line);
        if (good && b.emulated) snprintf(line, sizeof line, "%s", b.name);
        if (good && *b.absent) snprintf(line, sizeof line, "%s", b.absent);
        printf(*line ? "%-13s %s\n" : "%s\n", backend_known(i), line);
    }
}

static int list_cases(const operands *rest)
{
    static const char *const both[] = {"@smoke", "@ci"};
    int const count = rest->count ? rest->count : 2;
    complaint why;
    case_list list = {NULL, 0};
    for (int i = 0; i < count; i++)
        if (!cases_add(&list, rest->count ? rest->word[i] : both[i], &why))
            return cases_free(&list), usage_error("%s", why.text);
    for (int i = 0; i < list.count; i++) puts(list.id[i]);
    cases_free(&list);
    return EXIT_GOOD;
}

/* One thing at a time, and cases and results only where they mean something. */
static int check_arguments(const arguments *a, const operands *rest)
{
    int const things = a->ops + a->quirks + a->points + a->backends + a->cases + a->matrix;
    if (things > 1) return usage_error("list prints one thing at a time; see verify list --help");
    if (a->results.count && !a->matrix)
        return usage_error("--results=%s belongs to list --matrix: add --matrix", a->results.item[0]);
    if (rest->count && !a->cases && !a->matrix)
        return usage_error("list takes '%s' with --cases or --matrix only: add one of them", rest->word[0]);
    return EXIT_GOOD;
}

int command_list(int argc, char **argv)
{
    arguments a = {0};
    operands rest;
    int code;
    if (!options_read(&list_syntax, argc, argv, &a, &rest, &code)) return code;
    code = check_arguments(&a, &rest);
    if (code) return code;
    if (a.cases) return list_cases(&rest);
    if (a.matrix) return list_matrix(&rest, &a.results);
    if (a.quirks)
        list_quirks();
    else if (a.points)
        list_points();
    else if (a.backends)
        list_backends();
    else
        list_ops();
    return EXIT_GOOD;
}
