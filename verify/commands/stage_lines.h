/* The verdicts on a recording as programs read them: results.jsonl's line for each stage (docs/formats.md, "Results"), and an end. */
#ifndef STAGE_LINES_H
#define STAGE_LINES_H

#include "engine/recording.h"
#include "files/checkpoint.h"
#include "report/report.h"

typedef struct {
    const char *path;
    FILE *f;
    void *own; /* of the format */
    report_run run;
    char *id[1];
    int cause; /* errno of the first write that failed, or 0 */
} stage_lines;

/* What is read meanwhile, and may not be written over: files of the first two, and a path that isn't NULL. */
typedef struct {
    const recording *recorded;
    const checkpoint *weights;
    const char *path[2];
} files_in_use;

/* path: the file, or NULL: there is none, and nothing is written. Returns the exit code. */
int stage_lines_open(stage_lines *l, const char *path, const files_in_use *in_use);

/* A stage; given: what it was made of. */
void stage_lines_add(stage_lines *l, char *stage, const char *given, const result *r);

/* Their number. False: the file could not be written whole, and one sentence in why says so. */
bool stage_lines_close(stage_lines *l, int passed, int failed, int skipped, complaint *why);

#endif
