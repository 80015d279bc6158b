/* What a run of a whole model is given. */
#ifndef MODEL_H
#define MODEL_H

#include "files/checkpoint.h"
#include "files/config.h"
#include "files/dump.h"
#include "port/port.h"

/* Called after a stage: `module` is its path in the checkpoint; r: the verdict of a port, NULL for truth. */
typedef void on_stage(void *context, const char *module, const problem *p, const result *r);

typedef struct {
    const checkpoint *weights;
    const dsv3_config *config;
    const int32_t *tokens;
    int64_t n_tokens;
    dump *outputs;     /* of finished stages; one that is there already isn't computed again */
    port *judged;      /* NULL: truth */
    dsv3_dtype format; /* of the hidden states; DSV3_F64 for truth */
    bool diagnose;
    on_stage *report;
    void *context;
} model_run;

#endif
