/* See resume.h. */
#include "resume.h"

#include "port/content.h"
#include "report/environment.h"
#include "run/case.h"
#include "verdict.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- whose journal it is ---- */

bool resume_port_of(const char *text, const backend *b, const char *hello, const char *absent, resume_port *out,
                    complaint *why)
{
    fingerprint *const f = fingerprint_open();
    *out = (resume_port){.text = text, .lacks = content_lacks(b)};
    fingerprint_add(f, "absent", absent ? absent : "", absent ? strlen(absent) : 0);
    bool const good = absent || content_add(f, b, hello, why);
    fingerprint_close(f, out->content);
    return good;
}

static bool hash_program(char text[FINGERPRINT_TEXT], complaint *why)
{
    size_t const size = sizeof(result);
    fingerprint *const f = fingerprint_open();
    fingerprint_add(f, "result", &size, sizeof size);
    bool const good = fingerprint_add_file(f, "program", "/proc/self/exe", why);
    fingerprint_close(f, text);
    return good;
}

static void hash_cases(const case_list *cases, char text[FINGERPRINT_TEXT])
{
    fingerprint *const f = fingerprint_open();
    for (int i = 0; i < cases->count; i++) fingerprint_add(f, "id", cases->id[i], strlen(cases->id[i]));
    fingerprint_close(f, text);
}

static void hash_environment(char text[FINGERPRINT_TEXT])
{
    environment here;
    environment_here(&here);
    fingerprint *const f = fingerprint_open();
    for (int i = 0; i < here.count; i++) {
        fingerprint_add(f, "name", here.set[i].name, here.set[i].length);
        fingerprint_add(f, "value", here.set[i].value, strlen(here.set[i].value));
    }
    fingerprint_close(f, text);
}

enum { HEAD = 6 + MAX_BACKENDS };

__attribute__((format(printf, 2, 3))) static void put_line(journal_line *line, const char *text, ...)
{
    va_list args;
    va_start(args, text);
    vsnprintf(line->text, sizeof line->text, text, args);
    va_end(args);
}

/* The lines at the head of this run's journal; how many. */
static int write_head(const plan *pl, const resume_port ports[], journal_line head[HEAD], complaint *why)
{
    char hash[FINGERPRINT_TEXT];
    int n = 0;
    if (!hash_program(hash, why)) return 0;
    put_line(&head[n], "program %s", hash);
    snprintf(head[n++].differs, sizeof head->differs, "verify itself is another build");
    hash_cases(&pl->cases, hash);
    put_line(&head[n], "cases %d %s", pl->cases.count, hash);
    snprintf(head[n++].differs, sizeof head->differs, "its cases, or their order, are others");
    put_line(&head[n], "limits %.17g %.17g", pl->limits.timeout, pl->limits.start);
    snprintf(head[n++].differs, sizeof head->differs, "it has another --timeout or --start-timeout");
    put_line(&head[n], "wanted %u", pl->wanted & ~(unsigned)WANT_GLANCE); /* which depends on the format */
    snprintf(head[n++].differs, sizeof head->differs,
             "one of both has --diagnose, --verbose or --profile, and the other hasn't");
    hash_environment(hash);
    put_line(&head[n], "environment %s", hash);
    snprintf(head[n++].differs, sizeof head->differs, "a variable that begins with DSV3_ has another value");
    put_line(&head[n], "ports %d", pl->backends);
    snprintf(head[n++].differs, sizeof head->differs, "it has more ports, or fewer");
    for (int b = 0; b < pl->backends; b++) {
        put_line(&head[n], "port %s", ports[b].content);
        snprintf(head[n++].differs, sizeof head->differs, "its port %d isn't %.300s as it is now", b + 1,
                 ports[b].text);
    }
    return n;
}

/* ---- what it holds ---- */

static bool take_record(plan *pl, int64_t index, const result *stored)
{
    if (index >= pl->cases.count) return false;
    result *const r = pl->earlier[index] ? pl->earlier[index] : malloc((size_t)pl->backends * sizeof *r);
    if (!r) abort();
    pl->earlier[index] = r;
    for (int b = 0; b < pl->backends; b++)
        if (!verdict_read(&stored[b], sizeof stored[b], &r[b])) return false;
    return true;
}

static bool read_records(journal *j, plan *pl, complaint *why)
{
    size_t const bytes = (size_t)pl->backends * sizeof(result);
    result *const stored = malloc(bytes);
    journal_state state = JOURNAL_RECORD;
    int64_t index;
    pl->earlier = calloc((size_t)pl->cases.count, sizeof *pl->earlier);
    if (!stored || !pl->earlier) abort();
    while (state == JOURNAL_RECORD) {
        state = journal_next(j, &index, stored, bytes, why);
        if (state != JOURNAL_RECORD || take_record(pl, index, stored)) continue;
        refuse_file(&(about_file){j->path, why}, "line %lld holds no verdicts: name another file, or remove it",
                    (long long)j->line - 1);
        state = JOURNAL_DAMAGED;
    }
    free(stored);
    return state == JOURNAL_END;
}

bool resume_open(journal *j, const char *path, plan *pl, const resume_port ports[], complaint *why)
{
    journal_line head[HEAD];
    int const lines = write_head(pl, ports, head, why);
    *j = (journal){.fd = -1};
    return lines && journal_open(j, path, head, lines, why) && read_records(j, pl, why);
}

bool resume_add(journal *j, const plan *pl, int index, const result results[], complaint *why)
{
    return journal_add(j, index, results, (size_t)pl->backends * sizeof *results, why);
}

void resume_close(journal *j, plan *pl)
{
    for (int i = 0; pl->earlier && i < pl->cases.count; i++) free(pl->earlier[i]);
    free(pl->earlier);
    pl->earlier = NULL;
    journal_close(j);
}
