/* See reports.h. */
#include "reports.h"

#include "files/file_map.h"
#include "files/unknown_word.h"
#include "options.h"
#include "standard.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* ---- formats ---- */

static const report_format *format_named(const char *name)
{
    for (int i = 0; report_formats[i]; i++)
        if (!strcmp(report_formats[i]->name, name)) return report_formats[i];
    return NULL;
}

static bool has_format(const reports *r, const report_format *format)
{
    for (int i = 0; i < r->count; i++)
        if (r->report[i].format == format) return true;
    return false;
}

static int refuse_format(const char *value, const char *name)
{
    complaint why;
    unknown_word u = {.word = name};
    refuse(&why, "--format=%.200s is unknown", value);
    for (int i = 0; report_formats[i]; i++) unknown_word_offer(&u, report_formats[i]->name);
    if (format_named(name)) u.nearest = NULL; /* it is there twice */
    unknown_word_refuse(&u, "it takes", &why);
    return usage_error(u.nearest ? "%s" : "%s, or several with commas, each once", why.text);
}

static bool any_file(const reports *r)
{
    for (int i = 0; i < r->count; i++)
        if (r->report[i].format->file) return true;
    return false;
}

static int read_formats(reports *r)
{
    char name[32];
    for (const char *from = r->formats;; from++) {
        size_t const length = strcspn(from, ",");
        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), from);
        const report_format *const format = format_named(name);
        if (!format || has_format(r, format) || r->count == MAX_FORMATS) return refuse_format(r->formats, name);
        r->report[r->count++].format = format;
        r->people |= !format->file;
        from += length;
        if (!*from) return EXIT_GOOD;
    }
}

int reports_choose(reports *r)
{
    int const code = read_formats(r);
    if (code || !r->out || any_file(r)) return code;
    return usage_error("--out=%s would stay empty: text goes to standard output; add a format that has a file, as in "
                       "--format=text,jsonl",
                       r->out);
}

/* ---- files ---- */

/* What is read, or a journal. */
static const char *kept_that_is(const reports *r, const char *path)
{
    file_identity here, kept;
    if (!file_identify(path, &here)) return NULL;
    for (int i = 0; i < r->kepts; i++)
        if (file_identify(r->kept[i], &kept) && file_is_one(&here, &kept)) return r->kept[i];
    return NULL;
}

/* "results-1-of-3.jsonl" in the folder. */
static void name_file(const reports *r, const report_run *run, const char *file, char *path, size_t cap)
{
    char shard[64] = "";
    int const stem = (int)strcspn(file, ".");
    const run_about *const a = run->about;
    if (a && a->shards > 1) snprintf(shard, sizeof shard, "-%d-of-%d", a->shard, a->shards);
    snprintf(path, cap, "%s/%.*s%s%s", r->out, stem, file, shard, file + stem);
}

static int open_file(reports *r, report_run *run, report *o)
{
    char path[1200];
    o->f = stdout;
    if (!o->format->file) return EXIT_GOOD;
    if (!r->out && r->count == 1) return EXIT_GOOD;
    if (!r->out) return usage_error("--format=%s needs --out=DIR for the %s", r->formats, o->format->name);
    if (mkdir(r->out, 0777) && errno != EEXIST)
        return usage_error("cannot make the folder %s: %s", r->out, strerror(errno));
    name_file(r, run, o->format->file, path, sizeof path);
    const char *const kept = kept_that_is(r, path);
    if (kept) return usage_error("%s is the report's own file; name another, or another --out", kept);
    o->f = fopen(path, "w");
    if (!run->kept) run->kept = strcpy(r->whole, path);
    return o->f ? EXIT_GOOD : usage_error("cannot write %s: %s", path, strerror(errno));
}

int reports_open(reports *r, report_run *run)
{
    int code = EXIT_GOOD;
    for (int i = 0; i < r->count && !code; i++) code = open_file(r, run, &r->report[i]);
    for (int i = 0; i < r->count && !code; i++) {
        report *const o = &r->report[i];
        o->own = o->format->open(o->f, run);
        if (!o->own) code = usage_error("no memory for the report");
    }
    return code;
}

/* ---- results ---- */

void reports_add(const reports *r, const report_run *run, int index, const result results[], tally *t)
{
    bool const strict = run->about && run->about->strict;
    t->cases++;
    for (int b = 0; b < run->backends; b++)
        if (report_counts(run, b, &results[b])) tally_add(t, b, &results[b], strict);
    for (int i = 0; i < r->count; i++) {
        r->report[i].format->result(r->report[i].own, index, results);
        fflush(r->report[i].f);
    }
}

bool reports_are_unread(const reports *r)
{
    return r->count == 1 && r->report[0].f == stdout && standard_is_unread();
}

bool reports_close(reports *r, const report_run *run, const tally *t)
{
    bool good = true;
    for (int i = 0; i < r->count; i++) {
        report *const o = &r->report[i];
        o->format->close(o->own, t);
        if (o->f == stdout) continue;
        good &= !fflush(o->f) && !ferror(o->f);
        good &= !fclose(o->f);
    }
    if (!r->people && !reports_are_unread(r)) report_summary(stderr, run->name, run->absent, run->backends, t);
    return good;
}

/* ---- the exit code ---- */

static bool is_judged(const report_run *run, const tally *t, const char *backend)
{
    for (int b = 0; b < run->backends; b++) {
        if (strcmp(run->text[b], backend) != 0 || t->by_backend[b][PASS]) continue;
        fprintf(stderr, "verify: required backend %s was not judged: %s\n", backend,
                run->absent[b] ? run->absent[b] : t->skip_why[b]);
        return false;
    }
    return true;
}

int reports_exit_code(const report_run *run, const tally *t)
{
    if (t->failed) return EXIT_BAD_VERDICT;
    for (int i = 0; run->about && i < run->about->requires; i++)
        if (!is_judged(run, t, run->about->require[i])) return EXIT_NOTHING;
    return t->passed ? EXIT_GOOD : EXIT_NOTHING;
}
