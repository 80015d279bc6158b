/* Every stage of a model, judged on what an engine recorded: each from its nearest recorded ancestors, so that an error is blamed on
 * the stage that makes it. docs/engines.md. */
#ifndef JUDGE_ROWS_H
#define JUDGE_ROWS_H

#include "model/model.h"
#include "name_map.h"
#include "recording.h"
#include "sections.h"
#include "stage_rows.h"

enum { STAGE_WORDS = 600 };

/* A row, judged; or an output that is recorded and isn't judged: then the result is SKIP, and its reason says what is needed. */
typedef struct {
    char module[STAGE_NAME];
    char given[STAGE_WORDS]; /* names of what it was made of, ", " between them */
    const problem *p;        /* NULL: it isn't judged */
    const result *r;
} judged_row;

typedef void on_judged_row(void *context, const judged_row *row);

typedef struct {
    const model_run *m; /* of it weights, config, tokens */
    const recording *recorded;
    const name_map *names;
    const sections *numerics;
    unsigned wanted; /* as in run/case.h */
    on_judged_row *report;
    void *context;
} engine_run;

/* Rows of which nothing is recorded are not reported; what isn't judged comes last. False: one sentence in why, and the rest was not
 * judged. */
bool judge_rows(const engine_run *e, complaint *why);

#endif
