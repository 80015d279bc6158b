/* verify compare: judges the tensors that a port wrote to a file. */
#include "case/folder.h"
#include "case/without.h"
#include "judge/way_out.h"
#include "judge/judge.h"
#include "bundles.h"
#include "command_line.h"
#include "loaded_case.h"
#include "options.h"
#include "report/text.h"
#include "reports.h"
#include "waiting.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    const char *id, *numerics, *format, *out;
    bool verbose;
} arguments;

static const option options[] = {
    {"--case", OPTION_TEXT, offsetof(arguments, id), "CASE", "the case whose outputs the file holds"},
    {"--numerics", OPTION_TEXT, offsetof(arguments, numerics), "T",
     "how the port rounds, as text or a file; default: wide assumptions, which the report names"},
    {"--format", OPTION_TEXT, offsetof(arguments, format), "F",
     "of a folder: text (default), jsonl, junit, md, html; several with commas"},
    {"--out", OPTION_TEXT, offsetof(arguments, out), "DIR",
     "of a folder: where files go: results.jsonl, junit.xml, summary.md, report.html; default: standard output, of "
     "one"},
    {"--verbose", OPTION_FLAG, offsetof(arguments, verbose), NULL,
     "the declaration and what is assumed of the port, of a good result too"},
    {NULL},
};

static const syntax compare_syntax = {
    "compare",
    "usage: verify compare FILE --case=CASE [--numerics=TEXT|FILE] [--verbose]\n"
    "       verify compare FOLDER [--numerics=TEXT|FILE] [--format=F] [--out=DIR]\n"
    "                      [--verbose]\n"
    "\n"
    "Judges the output tensors in a file, by name, as if a port had just computed them from the\n"
    "inputs of the case (verify bundle make writes those). FOLDER is a bundle or a folder of\n"
    "bundles; outputs.safetensors in each is judged, under --numerics or else under what\n"
    "numerics.txt beside it says, and a bundle without one is skipped. Where a folder in FOLDER is\n"
    "no bundle, or a case.json or numerics.txt is wrong, each fault is named and nothing is\n"
    "judged. F32 may stand for BF16 and FP8 where each value is one of that format. Exit codes\n"
    "are those of run.\n",
    options, NULL};

/* The verdict on outputs that were read. False: no memory. */
static bool judge_outputs(loaded_case *l, result *r)
{
    readings read;
    if (!readings_open(&l->p, &l->numerics, l->data, &read)) return false;
    judge(&l->p, &read.truth, &read.legal, &read.own, l->data, r);
    snprintf(r->declared, sizeof r->declared, "%s", l->declared);
    ref_numerics_print(l->p.op->name, &l->numerics, true, r->assumed, sizeof r->assumed);
    bool const good = r->v != VACUOUS || find_way_out(&l->p, &read.truth, &read.own, l->data, !*r->not_made, r);
    readings_free(&read);
    return good;
}

/* ---- one file ---- */

/* Reads the outputs; what the file doesn't hold, as declared, is no part of the case from then on. False: the sentence is printed. */
static bool read_outputs(loaded_case *l, const char *path, result *r)
{
    complaint why;
    unsigned left_out, without;
    if (!folder_read_outputs(path, &l->p, l->data, true, &left_out, &why)) return usage_error("%s", why.text), false;
    if (!without_read(&l->p, left_out, l->numerics.without, &without, &why))
        return usage_error("%s: %s", path, why.text), false;
    without_print(&l->p, without, r->not_made, sizeof r->not_made);
    return loaded_case_leave_out(l, without);
}

static int judge_file(loaded_case *l, const char *path, bool verbose)
{
    result r = {.v = ERROR};
    const char *const name = "file", *const absent = NULL;
    tally t = {0};
    repro again;
    if (!read_outputs(l, path, &r)) return EXIT_USAGE;
    if (!judge_outputs(l, &r)) return usage_error("no memory for the reference of %s", l->p.id);
    tally_add(&t, 0, &r, false);
    if (!repro_of_compare(path, l->declared, &again)) return usage_error("no memory");
    report_text(stdout, l->p.id, name, &again, &r, verbose);
    repro_free(&again);
    report_summary(stdout, &name, &absent, 1, &t);
    return t.failed ? EXIT_BAD_VERDICT : t.passed ? EXIT_GOOD : EXIT_NOTHING;
}

static int compare_file(const arguments *a, const char *path, const given_numerics *d)
{
    complaint why;
    loaded_case *const l = loaded_case_open(a->id, d);
    if (!l) return EXIT_USAGE;
    waiting_announce("verify", &l->p, 3);
    int code = loaded_case_fits_files(l, &why) ? EXIT_GOOD : usage_error("%s", why.text);
    if (!code) code = loaded_case_fill(l) ? judge_file(l, path, a->verbose) : EXIT_USAGE;
    loaded_case_close(l);
    return code;
}

/* ---- bundles ---- */

/* The verdict on what a port wrote into a bundle. False: no memory. */
static bool judge_bundle(loaded_case *l, const char *path, result *r)
{
    complaint why;
    unsigned left_out, without;
    struct stat st;
    *r = (result){.v = SKIP, .skip = SKIP_SAID};
    snprintf(r->why, sizeof r->why, "there is no outputs.safetensors");
    if (stat(path, &st) && errno == ENOENT) return true;
    r->v = REJECTED, r->skip = SKIP_NOT;
    if (!folder_read_outputs(path, &l->p, l->data, true, &left_out, &why))
        return snprintf(r->why, sizeof r->why, "%.500s", why.text), true;
    r->v = UNWRITTEN;
    if (!without_read(&l->p, left_out, l->numerics.without, &without, &why))
        return snprintf(r->why, sizeof r->why, "%.500s", why.text), true;
    without_print(&l->p, without, r->not_made, sizeof r->not_made);
    *r->why = 0;
    return loaded_case_leave_out(l, without) && judge_outputs(l, r);
}

/* What the port says of one bundle: numerics.txt beside its outputs, where there is one. */
static loaded_case *open_bundle(const bundle_list *b, int i, const char *given, complaint *why)
{
    char path[4400], id_path[4400];
    struct stat st;
    given_numerics d;
    bundle_file(b, i, "numerics.txt", path, sizeof path);
    bundle_file(b, i, "case.json", id_path, sizeof id_path);
    if (!read_numerics_option(given || stat(path, &st) ? given : path, &d, why)) return NULL;
    return loaded_case_read(b->id[i], id_path, &d, why);
}

/* Judges bundle i into r. */
static int compare_bundle(const bundle_list *b, int i, const arguments *a, repro *again, result *r)
{
    char path[4400];
    complaint why;
    loaded_case *const l = open_bundle(b, i, a->numerics, &why);
    if (!l) return usage_error("%s", why.text);
    bundle_file(b, i, "outputs.safetensors", path, sizeof path);
    waiting_announce("verify", &l->p, 3);
    int code = loaded_case_fill(l) ? EXIT_GOOD : EXIT_USAGE;
    if (!code && !(judge_bundle(l, path, r) && repro_of_compare(path, l->declared, again)))
        code = usage_error("no memory for %s", b->id[i]);
    loaded_case_close(l);
    return code;
}

/* Is bundle i one that can be judged? False: one sentence in why. */
static bool check_bundle(const bundle_list *b, int i, const char *given, complaint *why)
{
    if (!bundle_read_id(b, i, why)) return false;
    loaded_case *const l = open_bundle(b, i, given, why);
    bool const good = l && loaded_case_fits_files(l, why) && bundle_agrees(b, i, &l->p, why);
    if (l) loaded_case_close(l);
    return good;
}

/* Before the first is judged, all are looked at: one sentence of each that is broken; none is repeated. */
static int check_bundles(const bundle_list *b, const char *path, const char *given)
{
    complaint why, last = {""};
    int broken = 0;
    for (int i = 0; i < b->count; i++) {
        if (check_bundle(b, i, given, &why)) continue;
        if (strcmp(why.text, last.text)) usage_error("%s", why.text);
        last = why;
        broken++;
    }
    if (broken && b->count > 1)
        usage_error("%d of %d folders in %s can't be judged, and none was", broken, b->count, path);
    return broken ? EXIT_USAGE : EXIT_GOOD;
}

/* Judges each and reports it. */
static int report_bundles(const bundle_list *b, const arguments *a, report_run *run, reports *r, tally *t)
{
    static result one;
    waiting w = waiting_begin();
    int code = EXIT_GOOD;
    for (int i = 0; i < b->count && !code && !reports_are_unread(r); i++) {
        waiting_say(&w, i, b->count, b->id[i]);
        code = compare_bundle(b, i, a, &run->again[0], &one);
        waiting_hide(&w);
        if (!code) reports_add(r, run, i, &one, t);
        repros_free(run);
    }
    return code;
}

static int compare_all(const bundle_list *b, const char *path, const arguments *a, reports *r)
{
    report_run run = {
        .cases = b->count, .id = b->id, .backends = 1, .name = {"files"}, .text = {path}, .verbose = a->verbose};
    tally t = {0};
    complaint why;
    int code = reports_open(r, &run);
    if (code) return code;
    code = report_bundles(b, a, &run, r, &t);
    if (!reports_close(r, &run, &t, &why)) return usage_error("%s", why.text);
    return code ? code : reports_exit_code(&run, &t);
}

static int compare_bundles(const arguments *a, const char *path)
{
    bundle_list b = {0};
    complaint why;
    reports r = {.formats = a->format ? a->format : "text", .out = a->out};
    int code = reports_choose(&r);
    if (code) return code;
    code = bundles_find(path, &b, &why) ? check_bundles(&b, path, a->numerics) : usage_error("%s", why.text);
    if (!code) code = compare_all(&b, path, a, &r);
    bundles_free(&b);
    return code;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

int command_compare(int argc, char **argv)
{
    arguments a = {NULL};
    operands rest;
    given_numerics d;
    complaint why;
    int code;
    if (!options_read(&compare_syntax, argc, argv, &a, &rest, &code)) return code;
    if (rest.count > 1) return usage_error("compare takes one file or one folder, '%s' is a second", rest.word[1]);
    if (rest.count == 1 && a.id && is_folder(rest.word[0]))
        return usage_error("%s is a folder, and --case is of a file: a folder of bundles needs none", rest.word[0]);
    if (rest.count == 1 && !a.id && is_folder(rest.word[0])) return compare_bundles(&a, rest.word[0]);
    if (rest.count == 1 && !a.id && access(rest.word[0], F_OK))
        return usage_error("%s: %s: compare takes a file and its --case=CASE, or a folder of bundles", rest.word[0],
                           strerror(errno));
    if (rest.count == 0 || !a.id)
        return usage_error("compare needs a file and a case, as in: verify compare out.safetensors --case=linear@odd, "
                           "or a folder of bundles");
    if (a.format || a.out)
        return usage_error("--%s=%.200s is for a folder of bundles", a.format ? "format" : "out",
                           a.format ? a.format : a.out);
    if (!read_numerics_option(a.numerics, &d, &why)) return usage_error("%s", why.text);
    return compare_file(&a, rest.word[0], &d);
}
