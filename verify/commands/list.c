/* verify list */
#include "case/expand.h"
#include "case/id.h"
#include "matrix.h"
#include "options.h"
#include "port/backends.h"
#include "power_table.h"
#include "profile.h"
#include "report/wrap.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

typedef struct {
    bool ops, quirks, points, backends, cases, matrix, power, profiles;
    option_list results;
    const char *numerics, *format;
    double work;
} arguments;

static const char *const formats[] = {"text", "jsonl", NULL};

static const option options[] = {
    {"--cases", OPTION_FLAG, offsetof(arguments, cases), NULL,
     "ids of @smoke and @ci, or of the cases given, lists and ranges written out"},
    {"--matrix", OPTION_FLAG, offsetof(arguments, matrix), NULL,
     "every op on every port: which have it; with --results, how many of the cases (default @ci) passed, were skipped "
     "and failed"},
    {"--results", OPTION_REPEATED, offsetof(arguments, results), "FILE",
     "what verify run --format=jsonl --out=DIR writes; of several, the later counts"},
    {"--power", OPTION_FLAG, offsetof(arguments, power), NULL,
     "what would be said of a port that makes a known mistake, by op and mistake: proved, so many sigmas, blind, "
     "equal; "
     "cases: @smoke unless given"},
    {"--numerics", OPTION_TEXT, offsetof(arguments, numerics), "T",
     "with --power: that port's arithmetic, text such as 'acc 24 rn' or a file with it; unless given, what plain "
     "declares"},
    {"--format", OPTION_WORD, offsetof(arguments, format), "F",
     "with --power: text, a table (default), or jsonl, a line a case and mistake", .words = formats},
    {"--work", OPTION_NUMBER, offsetof(arguments, work), "M",
     "with --power: leave out cases of more than so many million multiply-adds", 1e-6, 1e9},
    {"--ops", OPTION_FLAG, offsetof(arguments, ops), NULL,
     "ops with their fields, tensors, formats and fills (default)"},
    {"--quirks", OPTION_FLAG, offsetof(arguments, quirks), NULL, "known mistakes, with evidence"},
    {"--profiles", OPTION_FLAG, offsetof(arguments, profiles), NULL,
     "public references, and what each does by convention, with its source: see run --profile"},
    {"--points", OPTION_FLAG, offsetof(arguments, points), NULL,
     "named rounding points, which are also the names of dumped stages"},
    {"--backends", OPTION_FLAG, offsetof(arguments, backends), NULL,
     "names that --backend takes; built-in ones say how they run here, or why not"},
    {NULL},
};

static const syntax list_syntax = {
    "list",
    "usage: verify list OP...\n"
    "       verify list [--ops | --quirks | --profiles | --points | --backends]\n"
    "       verify list --cases [CASE...]\n"
    "       verify list --matrix [CASE...] [--results=FILE...]\n"
    "       verify list --power [CASE...] [--numerics=TEXT|FILE] [--format=F] [--work=M]\n",
    options,
    "Of an OP it prints all: keys with ranges and presets, tensors with formats and\n"
    "shapes, fills, known mistakes (quirks), rounding points.\n"};

/* A line of the listing; what is wide goes on below its text. */
__attribute__((format(printf, 3, 4))) static void item(const char *name, int indent, const char *format, ...)
{
    char label[100], text[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(label, sizeof label, "    %s%s", name, (int)strlen(name) + 4 >= indent ? "  " : "");
    print_wrapped(stdout, label, text, indent, 100);
}

static void list_keys(const op *o)
{
    puts("  keys");
    for (const field_row *f = o->fields; f->name; f++)
        item(f->name, 23, "%g..%.10g; v3 %g tiny %g odd %g edge %g: %s", f->least, f->most, f->preset[0], f->preset[1],
             f->preset[2], f->preset[3], f->help);
    for (const list_row *l = o->lists; l && l->name; l++)
        item(l->name, 23, "a+b+...; sets %s%s%s%s%s: %s", l->count, l->most ? " and " : "", l->most ? l->most : "",
             l->total ? " and " : "", l->total ? l->total : "", l->help);
}

static void list_tensors(const op *o)
{
    puts("  tensors");
    for (const tensor_row *t = o->tensors; t->name; t++)
        item(t->name, 23, "%-20s (%s)%s%s: %s", t->dtypes, t->shape, t->present ? ", present when " : "",
             t->present ? t->present : "", t->help);
}

static void list_op(const op *o)
{
    printf("%s\n  %s\n  source: %s\n", o->name, o->summary, o->source);
    list_keys(o);
    list_tensors(o);
    puts("  fills");
    for (const fill_row *f = o->fills; f->name; f++) item(f->name, 23, "%s", f->help);
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

static void list_profiles(void)
{
    char what[300];
    for (int i = 0; profile_at(i); i++) {
        const profile *const p = profile_at(i);
        printf("%s: %s, %s\n", p->name, p->repository, p->as_of);
        for (const convention *c = p->conventions; c->source; c++) {
            if (c->key)
                snprintf(what, sizeof what, "has %s of %s: %.10g", c->key, c->op, c->value);
            else
                snprintf(what, sizeof what, "%s of %s: %s", ref_quirk(c->quirk)->name, ref_quirk(c->quirk)->op,
                         ref_quirk(c->quirk)->summary);
            print_wrapped(stdout, "    ", what, 6, 100);
            print_wrapped(stdout, "        ", c->source, 10, 100);
        }
    }
}

static const char *kind_of(const ref_point_row *r)
{
    return r->output ? "output" : r->stage ? "stage" : "may";
}

static void list_points(void)
{
    for (int i = 0; ref_point(i); i++) {
        const ref_point_row *const r = ref_point(i);
        printf("%-8s %-14s %-7s %s\n", r->op, r->name, kind_of(r), r->meaning);
    }
}

static void list_quirks_of(const op *o)
{
    puts("  quirks");
    for (int i = 0; ref_quirk(i); i++)
        if (!strcmp(ref_quirk(i)->op, o->name)) item(ref_quirk(i)->name, 31, "%s", ref_quirk(i)->summary);
}

/* As the op's declarations name them. */
static void list_points_of(const op *o)
{
    char name[80];
    puts("  points");
    for (int i = 0; ref_point(i); i++) {
        const ref_point_row *const r = ref_point(i);
        const char *const prefix = ref_point_prefix(o->name, i);
        if (!prefix) continue;
        snprintf(name, sizeof name, "%s%s", prefix, r->name);
        item(name, 31, "%-7s %s", kind_of(r), r->meaning);
    }
}

/* All that there is of the ops named. */
static int list_named(const operands *names)
{
    complaint why;
    for (int i = 0; i < names->count; i++)
        if (!op_find(names->word[i])) return op_refuse(names->word[i], &why), usage_error("%s", why.text);
    for (int i = 0; i < names->count; i++) {
        const op *const o = op_find(names->word[i]);
        list_op(o);
        list_quirks_of(o);
        list_points_of(o);
    }
    return EXIT_GOOD;
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
    int const things = a->ops + a->quirks + a->points + a->backends + a->cases + a->matrix + a->power + a->profiles;
    if (things > 1) return usage_error("list prints one thing at a time; see verify list --help");
    if (a->results.count && !a->matrix)
        return usage_error("--results=%s belongs to list --matrix: add --matrix", a->results.item[0]);
    const char *const of_power = a->numerics ? "numerics" : a->format ? "format" : a->work > 0 ? "work" : NULL;
    if (of_power && !a->power) return usage_error("--%s belongs to list --power: add --power", of_power);
    const char *const thing = a->quirks     ? "quirks"
                              : a->profiles ? "profiles"
                              : a->points   ? "points"
                              : a->backends ? "backends"
                                            : NULL;
    if (rest->count && thing)
        return usage_error("list --%s takes no '%.200s': leave one of them out; verify list OP prints all of an op",
                           thing, rest->word[0]);
    if (rest->count && !a->cases && !a->matrix && !a->power && strpbrk(rest->word[0], "@:;=*?["))
        return usage_error("list takes the case '%.200s' with --cases, --matrix or --power only: add one of them",
                           rest->word[0]);
    return EXIT_GOOD;
}

static int list_power_as(const arguments *a, const operands *rest)
{
    power_options const how = {a->numerics, a->work > 0 ? a->work : HUGE_VAL, a->format && !strcmp(a->format, "jsonl")};
    return list_power(rest, &how);
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
    if (a.power) return list_power_as(&a, &rest);
    if (rest.count) return list_named(&rest);
    if (a.quirks)
        list_quirks();
    else if (a.profiles)
        list_profiles();
    else if (a.points)
        list_points();
    else if (a.backends)
        list_backends();
    else
        list_ops();
    return EXIT_GOOD;
}
