/* See reports.h. */
#include "reports.h"

#include "files/file_map.h"
#include "files/output_file.h"
#include "files/unknown_word.h"
#include "options.h"
#include "standard.h"

#include <errno.h>
#include <string.h>

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
        if (!format) return refuse_format(r->formats, name);
        if (has_format(r, format))
            return usage_error("--format=%.200s names %s twice: leave one out", r->formats, name);
        r->report[r->count++].format = format;
        r->people |= !format->file;
        r->sees |= format->sees;
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

/* "results-1-of-3.jsonl" in the folder. False: that is too long. */
static bool name_file(const reports *r, const report_run *run, const char *file, char *path, size_t cap)
{
    char shard[64] = "";
    int const stem = (int)strcspn(file, ".");
    const run_about *const a = run->about;
    if (a && a->shards > 1) snprintf(shard, sizeof shard, "-%d-of-%d", a->shard, a->shards);
    return snprintf(path, cap, "%s/%.*s%s%s", r->out, stem, file, shard, file + stem) < (int)cap;
}

/* What is in it stays until all are open. */
static int open_file(const reports *r, const report_run *run, report *o)
{
    complaint why;
    o->f = stdout;
    if (!o->format->file) return EXIT_GOOD;
    if (!r->out && r->count == 1) return EXIT_GOOD;
    if (!r->out) return usage_error("--format=%s needs --out=DIR for the %s", r->formats, o->format->name);
    if (!name_file(r, run, o->format->file, o->path, sizeof o->path))
        return usage_error("--out=%.100s... is too long a name", r->out);
    if (!output_folder(r->out, &why)) return usage_error("%s", why.text);
    const char *const kept = kept_that_is(r, o->path);
    if (kept) return usage_error("%s is the report's own file; name another, or another --out", kept);
    o->f = output_open(o->path, &why);
    return o->f ? EXIT_GOOD : usage_error("%s", why.text);
}

/* What was printed so far reaches the file, or the first cause is kept. */
static void flush(report *o)
{
    int const cause = output_cause(o->f);
    if (!o->cause) o->cause = cause;
}

static int begin_report(const report_run *run, report *o)
{
    if (o->f != stdout && !output_clear(o->f)) return usage_error("cannot write %s: %s", o->path, strerror(errno));
    errno = 0;
    o->own = o->format->open(o->f, run);
    flush(o);
    return o->own ? EXIT_GOOD : usage_error("no memory for the report");
}

int reports_open(reports *r, const report_run *run)
{
    int code = EXIT_GOOD;
    for (int i = 0; i < r->count && !code; i++) code = open_file(r, run, &r->report[i]);
    for (int i = 0; i < r->count && !code; i++) code = begin_report(run, &r->report[i]);
    return code;
}

/* ---- results ---- */

void reports_add(reports *r, const report_run *run, int index, const result results[], tally *t)
{
    bool const strict = run->about && run->about->strict;
    t->cases++;
    for (int b = 0; b < run->backends; b++)
        if (report_counts(run, b, &results[b])) tally_add(t, b, &results[b], strict);
    for (int i = 0; i < r->count; i++) {
        errno = 0;
        r->report[i].format->result(r->report[i].own, index, results);
        flush(&r->report[i]);
    }
}

bool reports_are_unread(const reports *r)
{
    return r->count == 1 && r->report[0].f == stdout && standard_is_unread();
}

static void close_file(report *o, const tally *t)
{
    errno = 0;
    o->format->close(o->own, t);
    int const cause = output_end(o->f);
    if (!o->cause) o->cause = cause;
}

/* Of the files that are whole, the one that a person reads best; NULL: there is none. */
static const char *best_of(const reports *r)
{
    const report *best = NULL;
    for (int i = 0; i < r->count; i++) {
        const report *const o = &r->report[i];
        if (!*o->path || o->cause) continue;
        if (!best || o->format->readable > best->format->readable) best = o;
    }
    return best ? best->path : NULL;
}

/* Those that aren't whole. False: there is one. */
static bool are_whole(const reports *r, complaint *why)
{
    bool whole = true;
    for (int i = 0; i < r->count; i++) {
        const report *const o = &r->report[i];
        if (!*o->path || !o->cause) continue;
        if (whole)
            refuse(why, "%s could not be written whole: %s", o->path, strerror(o->cause));
        else
            refuse_more(why, "; nor is %s: %s", o->path, strerror(o->cause));
        whole = false;
    }
    return whole;
}

bool reports_close(reports *r, report_run *run, const tally *t, complaint *why)
{
    for (int i = 0; i < r->count; i++)
        if (r->report[i].f != stdout) close_file(&r->report[i], t);
    run->kept = best_of(r);
    for (int i = 0; i < r->count; i++)
        if (r->report[i].f == stdout) r->report[i].format->close(r->report[i].own, t);
    if (!r->people && !reports_are_unread(r)) report_summary(stderr, run->name, run->absent, run->backends, t);
    return are_whole(r, why);
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
