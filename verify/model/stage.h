/* One stage of a chain: a case of an op on the weights of a module, computed as truth or run by the port and
 * judged. */
#ifndef STAGE_H
#define STAGE_H

#include "model.h"

enum { NAME = 160 }; /* bytes of a name in a checkpoint or a dump */

typedef struct stage stage;

/* An output of a stage, and the name that dumps have for it. */
typedef struct {
    const char *tensor;
    char name[NAME];
} named_output;

/* Reads the case id and finds the module's weights. Outputs get memory, inputs are given by stage_bind. NULL:
 * one sentence in why, and nothing to close. */
stage *stage_open(const model_run *m, const char *module, const char *id, complaint *why);

/* An input; its memory stays the caller's. */
void stage_bind(stage *s, const char *tensor, const void *data);
size_t stage_bytes(const stage *s, const char *tensor);

/* The outputs of a stage that somebody else has computed; the data stay the caller's. One is taken, and judged by stage_judge; or
 * it is given (NULL: as zeros, which nothing follows from): what follows is made of it, and nobody judges it; or it is left out: it is
 * nobody's, an intermediate of what follows. */
void stage_take(stage *s, const char *tensor, const void *data);
void stage_round(stage *s, const char *tensor, dsv3_dtype format); /* an output's format; before it is taken */
bool stage_give(stage *s, const char *tensor, const void *data);   /* false: no memory, and a sentence */
void stage_leave_out(stage *s, const char *tensor);

/* Judges the outputs that were taken, under a declaration; the format of others is m->format. wanted: see run/case.h. False: one
 * sentence in the why of stage_open: a weight is not finite, or the checkpoint changed. */
bool stage_judge(stage *s, const char *declared, unsigned wanted, result *r);

/* Its case. */
const problem *stage_problem(const stage *s);

/* Computes the outputs and stores the named ones in m->outputs; the list ends with a row whose tensor is NULL.
 * If all of them are there from an earlier run they are read instead. False: one sentence in the why of
 * stage_open. */
bool stage_run(stage *s, const named_output *names);

/* Does a chain go on behind this verdict on a port? It gave an answer, or it is there and doesn't do this stage: then the
 * truth, in the port's formats, goes on in its place. */
bool stage_answered(const result *r);
bool stage_left_out(const result *r);

/* An output, which becomes the caller's. */
void *stage_release(stage *s, const char *tensor);

/* Closes it; output y becomes the caller's if all went well. Returns good. */
bool stage_close(stage *s, bool good, void **y);

#endif
