/* What a recording holds of the stages of a model, what it lacks, and what each lack costs. Nothing is judged. */
#ifndef LIST_STAGES_H
#define LIST_STAGES_H

#include "judge_rows.h"

/* A stage of all layers together. */
typedef struct {
    char name[STAGE_NAME];      /* model.layers.{N}.self_attn.q */
    int places, recorded;       /* layers that have it, and of these those in which it is recorded */
    char wider[STAGE_WORDS];    /* stages that are judged from what it is made of, where it is lacking */
    char unjudged[STAGE_WORDS]; /* stages that aren't judged then */
} listed_stage;

typedef void on_listed_stage(void *context, const listed_stage *s);

/* Calls for every stage in the order of computation. False: no memory, and a sentence says so. */
bool list_stages(const engine_run *e, on_listed_stage *call, void *context, complaint *why);

#endif
