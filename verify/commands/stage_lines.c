/* See stage_lines.h. */
#include "stage_lines.h"

#include "files/file_map.h"
#include "files/output_file.h"
#include "options.h"
#include "report/jsonl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_in_use(const char *path, const files_in_use *in_use)
{
    file_identity here, there;
    if (!file_identify(path, &here)) return false;
    if (recording_has_file(in_use->recorded, &here) || checkpoint_has_file(in_use->weights, &here)) return true;
    for (int i = 0; i < 2; i++)
        if (in_use->path[i] && file_identify(in_use->path[i], &there) && file_is_one(&here, &there)) return true;
    return false;
}

/* A new file of a recording's folder would be one of the recording. */
static bool is_among(const char *path, const recording *r)
{
    char folder[4200];
    const char *const slash = strrchr(path, '/');
    file_identity here, there;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    return file_identify(folder, &here) && file_identify(r->path, &there) && file_is_one(&here, &there);
}

int stage_lines_open(stage_lines *l, const char *path, const files_in_use *in_use)
{
    complaint why;
    *l = (stage_lines){.path = path};
    l->run = (report_run){
        .cases = 1, .id = l->id, .backends = 1, .name = {"engine"}, .text = {in_use->recorded->path}, .given = ""};
    if (!path) return EXIT_GOOD;
    if (is_in_use(path, in_use)) return usage_error("--jsonl=%s is a file that is read: name another", path);
    if (is_among(path, in_use->recorded))
        return usage_error("--jsonl=%s is in the recording's folder, whose files are read: name another folder", path);
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
