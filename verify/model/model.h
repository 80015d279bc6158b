/* What a run of a whole model is given. */
#ifndef MODEL_H
#define MODEL_H

#include "files/checkpoint.h"
#include "files/config.h"
#include "files/dump.h"
#include "port/port.h"
#include "ref.h"

/* Called after a stage: `module` is its path in the checkpoint; r: the verdict of a port, NULL for truth. */
typedef void on_stage(void *context, const char *module, const problem *p, const result *r);

/* The declaration of an op on a module, as text. False: one sentence in why. */
typedef bool declare_op(const void *context, const char *op, const char *module, char declared[REF_NUMERICS_CAP],
                        complaint *why);

/* A port that keeps to declarations and is drawn otherwise: it computes the model in the sampled tier. */
typedef struct {
    ref_sample port;
    declare_op *declares;
    const void *context;
} drawn_port;

typedef struct {
    const checkpoint *weights;
    const dsv3_config *config;
    const int32_t *tokens;
    int64_t n_tokens;
    dump *outputs;           /* of finished stages; one that is there already isn't computed again */
    port *judged;            /* NULL: truth */
    const drawn_port *drawn; /* then the chain is this port's, and nobody judges it; NULL: none */
    dsv3_dtype format;       /* of the hidden states; DSV3_F64 for truth */
    bool diagnose;
    on_stage *report;
    void *context;
} model_run;

#endif
