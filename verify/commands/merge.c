/* verify merge */
#include "command_line.h"
#include "one_run.h"
#include "options.h"
#include "reports.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *format, *out;
} arguments;

static const option options[] = {
    {"--format", OPTION_TEXT, offsetof(arguments, format), "F",
     "text (default), jsonl, junit, md, html; several with commas"},
    {"--out", OPTION_TEXT, offsetof(arguments, out), "DIR",
     "where files go: results.jsonl, junit.xml, summary.md, report.html; default: standard output, of one"},
    {NULL},
};

static const syntax merge_syntax = {
    "merge", "usage: verify merge RESULTS.jsonl... [options]\n", options,
    "Puts together what the shards of a run wrote with --format=jsonl --shard=I/N: all of\n"
    "them, each once, in any order. The report is that of the whole run, and the exit code\n"
    "too. The report of a run that was not split is put into another format the same way.\n"};

/* The shards, and what they make together. */
typedef struct {
    int shards;
    reader *shard; /* in the order of their numbers */
    run_about about;
    report_run run;
    char **id;
    reports reports;
    sights sights;
    tally t;
} merge;

static int refuse_by(const complaint *why)
{
    return usage_error("%s", why->text);
}

/* ---- are they of one run? ---- */

static int by_number(const void *a, const void *b)
{
    int const x = ((const reader *)a)->about.shard, y = ((const reader *)b)->about.shard;
    return (x > y) - (x < y);
}

static int check_together(const merge *m)
{
    const reader *const first = m->shard;
    complaint why;
    for (int i = 0; i < m->shards; i++) {
        const reader *const r = &m->shard[i];
        if (!is_one_run(first, r, &why)) return refuse_by(&why);
        if (i && r->about.shard == r[-1].about.shard)
            return usage_error("%s and %s are both shard %d of %d: leave one out", r[-1].path, r->path, r->about.shard,
                               r->about.shards);
    }
    for (int i = 0; i < first->about.shards; i++)
        if (i == m->shards || m->shard[i].about.shard != i + 1)
            return usage_error("shard %d of %d is missing: name its report too", i + 1, first->about.shards);
    return EXIT_GOOD;
}

static int open_shards(merge *m, const operands *files)
{
    complaint why;
    if (!files->count)
        return usage_error("merge needs the reports of all shards, as in: verify merge out/results-*.jsonl");
    m->shard = calloc((size_t)files->count, sizeof *m->shard);
    if (!m->shard) return usage_error("no memory");
    for (int i = 0; i < files->count; i++)
        if (!reader_open(&m->shard[m->shards++], files->word[i], &why)) return refuse_by(&why);
    qsort(m->shard, (size_t)m->shards, sizeof *m->shard, by_number);
    for (int i = 0; i < m->shards; i++) m->shard[i].run.about = &m->shard[i].about;
    return check_together(m);
}

/* ---- are they whole? ---- */

/* Reads the shard to its end; notes ids and seconds. */
static bool read_shard(merge *m, int which, complaint *why)
{
    static result results[MAX_BACKENDS];
    static tally end, counted;
    reader *const r = &m->shard[which];
    counted = (tally){.cases = 0};
    for (int i = 0; i < r->run.cases; i++) {
        if (!reader_next(r, &m->id[which + i * m->shards], results, why)) return false;
        for (int b = 0; b < r->run.backends; b++)
            if (report_counts(&r->run, b, &results[b])) tally_add(&counted, b, &results[b], r->about.strict);
    }
    if (!reader_end(r, &end, why)) return false;
    m->t.seconds += end.seconds;
    if (!sights_join(&m->sights, &r->sights)) return refuse(why, "no memory");
    if (end.passed == counted.passed && end.failed == counted.failed && end.skipped == counted.skipped) return true;
    return refuse_file(&(about_file){r->path, why},
                       "its last line counts other verdicts than it has: judge that shard again");
}

static int read_shards(merge *m)
{
    complaint why;
    run_about all = m->shard[0].about;
    m->id = calloc((size_t)all.whole, sizeof *m->id);
    if (!m->id) return usage_error("no memory");
    for (int i = 0; i < m->shards; i++)
        if (!read_shard(m, i, &why)) return refuse_by(&why);
    about_cases(&all, m->id, all.whole);
    if (!strcmp(all.ids, m->shard[0].about.ids)) return EXIT_GOOD;
    return usage_error(
        "%s: its cases, with those of the other shards, are not those that its first line says: judge the "
        "shards again",
        m->shard[0].path);
}

/* ---- one report ---- */

/* "a, b": hosts and processors of all shards, each once. */
static void add_name(char *names, size_t cap, const char *name)
{
    size_t const used = strlen(names), length = strlen(name);
    for (const char *at = names; (at = strstr(at, name)); at++)
        if ((at == names || at[-1] == ' ') && (!at[length] || at[length] == ',')) return;
    if (used + length + 3 < cap) snprintf(names + used, cap - used, "%s%s", used ? ", " : "", name);
}

static void describe_run(merge *m)
{
    m->about = m->shard[0].about;
    m->run = m->shard[0].run;
    for (int i = 1; i < m->shards; i++) {
        const run_about *const a = &m->shard[i].about;
        add_name(m->about.host, sizeof m->about.host, a->host);
        add_name(m->about.processor, sizeof m->about.processor, a->processor);
        if (strcmp(a->started, m->about.started) < 0) memcpy(m->about.started, a->started, sizeof a->started);
    }
    m->about.shard = m->about.shards = 1;
    m->run.about = &m->about;
    m->run.cases = m->about.whole;
    m->run.id = m->id;
    m->run.told = &m->sights;
    m->run.verbose = m->about.verbose;
}

static int report_all(merge *m)
{
    static result results[MAX_BACKENDS];
    complaint why;
    for (int i = 0; i < m->shards; i++)
        if (!reader_rewind(&m->shard[i], &why)) return refuse_by(&why);
    for (int i = 0; i < m->run.cases; i++) {
        char *id = NULL;
        if (!reader_next(&m->shard[i % m->shards], &id, results, &why)) return refuse_by(&why);
        free(id);
        reports_add(&m->reports, &m->run, i, results, &m->t);
        if (reports_are_unread(&m->reports)) break;
    }
    if (!reports_close(&m->reports, &m->run, &m->t, &why)) return refuse_by(&why);
    return reports_exit_code(&m->run, &m->t);
}

static int merge_all(merge *m, const arguments *a, const operands *files)
{
    m->reports = (reports){.formats = a->format, .out = a->out, .kepts = files->count};
    m->reports.kept = (const char *const *)files->word;
    int code = reports_choose(&m->reports);
    if (!code) code = open_shards(m, files);
    if (!code) code = read_shards(m);
    if (code) return code;
    describe_run(m);
    code = repros_of_run(&m->run) ? reports_open(&m->reports, &m->run) : usage_error("no memory");
    return code ? code : report_all(m);
}

int command_merge(int argc, char **argv)
{
    merge *const m = calloc(1, sizeof *m);
    arguments a = {.format = "text"};
    operands files;
    int code;
    if (!m) return usage_error("no memory");
    if (options_read(&merge_syntax, argc, argv, &a, &files, &code)) code = merge_all(m, &a, &files);
    for (int i = 0; m->id && i < m->shard[0].about.whole; i++) free(m->id[i]);
    repros_free(&m->run);
    for (int i = 0; i < m->shards; i++) reader_close(&m->shard[i]);
    free(m->id);
    free(m->shard);
    sights_free(&m->sights);
    free(m);
    return code;
}
