/* verify compare: judges the tensors that a port wrote to a file. */
#include "case/folder.h"
#include "case/without.h"
#include "judge/judge.h"
#include "command_line.h"
#include "loaded_case.h"
#include "options.h"
#include "report/text.h"

typedef struct {
    const char *id, *numerics;
    bool verbose;
} arguments;

static const option options[] = {
    {"--case", OPTION_TEXT, offsetof(arguments, id), "CASE", "the case whose outputs the file holds"},
    {"--numerics", OPTION_TEXT, offsetof(arguments, numerics), "T",
     "how the port rounds, as text or a file; default: wide assumptions, which the report names"},
    {"--verbose", OPTION_FLAG, offsetof(arguments, verbose), NULL,
     "the declaration and what is assumed of the port, of a good result too"},
    {NULL},
};

static const syntax compare_syntax = {
    "compare",
    "usage: verify compare OUT.safetensors --case=CASE [--numerics=TEXT|FILE] [--verbose]\n"
    "\n"
    "Judges the output tensors in a file, by name, as if a port had just computed them from the\n"
    "inputs of the case (verify bundle make writes those). Exit codes are those of run.\n",
    options, NULL};

/* Reads the outputs; what the file doesn't hold, as declared, is no part of the case from then on. False: the sentence is printed. */
static bool read_outputs(loaded_case *l, const char *path, result *r)
{
    complaint why;
    unsigned left_out, without;
    if (!folder_read_outputs(path, &l->p, l->data, &left_out, &why)) return usage_error("%s", why.text), false;
    if (!without_read(&l->p, left_out, l->numerics.without, &without, &why))
        return usage_error("%s: %s", path, why.text), false;
    without_print(&l->p, without, r->not_made, sizeof r->not_made);
    return loaded_case_leave_out(l, without);
}

static int judge_file(loaded_case *l, const char *path, bool verbose)
{
    readings read;
    result r = {.v = ERROR};
    const char *const name = "file", *const absent = NULL;
    tally t = {0};
    repro again;
    if (!read_outputs(l, path, &r)) return EXIT_USAGE;
    if (!readings_open(&l->p, &l->numerics, l->data, &read))
        return usage_error("no memory for the reference of %s", l->p.id);
    judge(&l->p, &read.truth, &read.legal, &read.own, l->data, &r);
    readings_free(&read);
    snprintf(r.declared, sizeof r.declared, "%s", l->declared);
    ref_numerics_print(l->p.op->name, &l->numerics, true, r.assumed, sizeof r.assumed);
    tally_add(&t, 0, &r, false);
    if (!repro_of_compare(path, l->declared, &again)) return usage_error("no memory");
    report_text(stdout, l->p.id, name, &again, &r, verbose);
    repro_free(&again);
    report_summary(stdout, &name, &absent, 1, &t);
    return t.failed ? EXIT_BAD_VERDICT : t.passed ? EXIT_GOOD : EXIT_NOTHING;
}

int command_compare(int argc, char **argv)
{
    arguments a = {NULL};
    operands rest;
    char declared[REF_NUMERICS_CAP];
    complaint why;
    int code;
    if (!options_read(&compare_syntax, argc, argv, &a, &rest, &code)) return code;
    if (rest.count == 0 || !a.id)
        return usage_error("compare needs a file and a case, as in: verify compare out.safetensors --case=linear@odd");
    if (rest.count > 1) return usage_error("compare takes one file, '%s' is a second", rest.word[1]);
    if (!read_numerics_option(a.numerics, declared, sizeof declared, &why)) return usage_error("%s", why.text);
    loaded_case *const l = loaded_case_open(a.id, declared);
    if (!l) return EXIT_USAGE;
    code = loaded_case_fits_files(l) && loaded_case_fill(l) ? judge_file(l, rest.word[0], a.verbose) : EXIT_USAGE;
    loaded_case_close(l);
    return code;
}
