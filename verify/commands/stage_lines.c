/* See stage_lines.h. */
#include "stage_lines.h"

#include "files/file_map.h"
#include "files/output_file.h"
#include "options.h"
#include "report/jsonl.h"

#include <errno.h>
#include <string.h>

static bool is_same_file(const char *a, const char *b)
{
    file_identity here, there;
    return file_identify(a, &here) && file_identify(b, &there) && file_is_one(&here, &there);
}

int stage_lines_open(stage_lines *l, const char *path, const char *engine)
{
    complaint why;
    *l = (stage_lines){.path = path,
                       .run = {.cases = 1, .id = l->id, .backends = 1, .name = {"engine"}, .text = {engine}}};
    if (!path) return EXIT_GOOD;
    if (is_same_file(path, engine)) return usage_error("--jsonl=%s is the recording: name another file", path);
    l->f = output_open(path, &why);
    if (!l->f) return usage_error("%s", why.text);
    if (!output_clear(l->f)) return usage_error("cannot write %s: %s", path, strerror(errno));
    l->own = report_as_jsonl.open(l->f, &l->run);
    return l->own ? EXIT_GOOD : usage_error("no memory for the report");
}

static void flush(stage_lines *l)
{
    int const cause = output_cause(l->f);
    if (!l->cause) l->cause = cause;
}

void stage_lines_add(stage_lines *l, char *stage, const char *given, const result *r)
{
    if (!l->own) return;
    l->id[0] = stage;
    l->run.given = given;
    errno = 0;
    report_as_jsonl.result(l->own, 0, r);
    flush(l);
}

bool stage_lines_close(stage_lines *l, int passed, int failed, int skipped, complaint *why)
{
    if (!l->f) return true;
    if (l->own) {
        errno = 0;
        report_as_jsonl.close(l->own, NULL);
        fprintf(l->f, "{\"end\":{\"passed\":%d,\"failed\":%d,\"skipped\":%d}}\n", passed, failed, skipped);
        flush(l);
    }
    int const cause = output_end(l->f);
    if (!l->cause) l->cause = cause;
    return !l->cause || refuse(why, "%s could not be written whole: %s", l->path, strerror(l->cause));
}
