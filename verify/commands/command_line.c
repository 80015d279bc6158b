/* See command_line.h. */
#include "command_line.h"

#include "shell_word.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const port_limits usual_limits = {.timeout = 60};

/* A file's name as it is from any folder; the caller frees it. NULL: no memory. */
static char *whole_path(const char *path)
{
    char folder[4200], *whole = NULL;
    while (!strncmp(path, "./", 2)) path += 2;
    if (*path == '/' || !getcwd(folder, sizeof folder)) return strdup(path);
    return asprintf(&whole, "%s/%s", folder, path) < 0 ? NULL : whole;
}

static char *own_path(void)
{
    char path[4200];
    ssize_t const n = readlink("/proc/self/exe", path, sizeof path - 1);
    return strdup((path[n > 0 ? n : 0] = 0, n > 0 ? path : "verify"));
}

static void put_path(FILE *f, const char *before, const char *path)
{
    char *const whole = whole_path(path);
    char *word = NULL;
    if (whole && asprintf(&word, "%s%s", before, whole) >= 0) shell_word_put(f, word, true);
    free(word);
    free(whole);
}

static void put_environment(FILE *f, const environment *e)
{
    for (int i = 0; i < e->count; i++) {
        fprintf(f, "%.*s=", (int)e->set[i].length, e->set[i].name);
        shell_word_put(f, e->set[i].value, false);
        fputc(' ', f);
    }
}

static void put_program(FILE *f)
{
    char *const program = own_path();
    shell_word_put(f, program ? program : "verify", false);
    free(program);
}

static void put_backend(FILE *f, const char *text)
{
    bool const cuda = !strncmp(text, "cuda:", 5), file = strncmp(text, "exec:", 5) && strchr(text, '/');
    fputs(" --backend=", f);
    if (cuda || file)
        put_path(f, cuda ? "cuda:" : "", cuda ? text + 5 : text);
    else
        shell_word_put(f, text, true);
}

static void put_folder(FILE *f)
{
    char folder[4200];
    if (!getcwd(folder, sizeof folder)) return;
    fputs("cd ", f);
    shell_word_put(f, folder, false);
    fputs(" && ", f);
}

/* Limits that a run would have by itself aren't said. */
static void put_options(FILE *f, const report_run *run, int b)
{
    const run_about *const a = run->about;
    double const start = run->start_timeout[b];
    double const usual = start_seconds(backend_is_program(run->text[b]), (port_limits){.timeout = a->timeout});
    if (a->timeout != usual_limits.timeout) fprintf(f, " --timeout=%.10g", a->timeout);
    if (start > 0 && start != usual) fprintf(f, " --start-timeout=%.10g", start);
    if (a->strict) fputs(" --strict", f);
    if (a->profile) fprintf(f, " --profile=%s", a->profile);
    if (a->proofs) fputs(" --proofs", f);
    if (a->diagnose) fputs(" --diagnose", f);
}

/* ---- lines ---- */

/* Streams into the parts of a line. */
typedef struct {
    FILE *before, *behind;
    size_t sizes[2];
} parts;

static bool open_parts(parts *p, repro *out)
{
    *out = (repro){.program = NULL};
    p->before = open_memstream(&out->before, &p->sizes[0]);
    p->behind = open_memstream(&out->behind, &p->sizes[1]);
    return p->before && p->behind;
}

static bool close_parts(parts *p, bool good, repro *out)
{
    size_t size;
    FILE *const program = open_memstream(&out->program, &size);
    if (program) put_program(program);
    good = good && program && !ferror(p->before) && !ferror(p->behind);
    if (p->before) good &= !fclose(p->before);
    if (p->behind) good &= !fclose(p->behind);
    if (program) good &= !fclose(program);
    if (!good) repro_free(out);
    return good;
}

static bool repro_of_run(const report_run *run, int b, repro *out)
{
    const char *const text = run->text[b];
    parts p;
    bool const good = open_parts(&p, out);
    if (good) {
        if (!strncmp(text, "exec:", 5)) put_folder(p.before);
        put_environment(p.before, &run->about->environment);
        put_program(p.before);
        fputs(" run ", p.before);
        put_backend(p.behind, text);
        put_options(p.behind, run, b);
    }
    return close_parts(&p, good, out);
}

bool repros_of_run(report_run *run)
{
    bool good = true;
    for (int b = 0; b < run->backends && good; b++) good = repro_of_run(run, b, &run->again[b]);
    return good;
}

bool repro_of_compare(const char *path, const char *declared, repro *out)
{
    parts p;
    bool const good = open_parts(&p, out);
    if (good) {
        put_program(p.before);
        fputs(" compare ", p.before);
        put_path(p.before, "", path);
        fputs(" --case=", p.before);
        if (*declared) {
            fputs(" --numerics=", p.behind);
            shell_word_put(p.behind, declared, true);
        }
    }
    return close_parts(&p, good, out);
}

void repro_free(repro *r)
{
    free(r->before);
    free(r->behind);
    free(r->program);
    *r = (repro){.program = NULL};
}

void repros_free(report_run *run)
{
    for (int b = 0; b < run->backends; b++) repro_free(&run->again[b]);
}
