/*
 * The stages of a model that an engine can be judged by, one row each: a case of an op, and the name that dumps have for each of its
 * tensors (docs/formats.md, "Dumps of a model").
 */
#ifndef STAGE_ROWS_H
#define STAGE_ROWS_H

#include "files/config.h"

#include <stdbool.h>

enum { MOST_SLOTS = 8, STAGE_NAME = 200 };

typedef enum { CASE_EMBED, CASE_NORM, CASE_NORM_ADDS, CASE_LINEAR, CASE_SWIGLU, CASE_ATTENTION, CASE_MOE } case_kind;

/* A tensor of the case. */
typedef struct {
    const char *tensor; /* of the op; NULL ends a list */
    const char *name;   /* in dumps; two with " | " between them: side by side */
    const char *of;     /* of an output: the tensors that it is made of; NULL: an input */
} slot;

typedef struct {
    case_kind kind;
    const char *module; /* whose weights it has */
    slot slots[MOST_SLOTS];
} stage_row;

/* Where in a model rows stand: what the words in braces of their names mean there. */
typedef struct {
    const dsv3_config *config;
    int64_t layer;  /* {L}: model.layers.N, {P}: the one before */
    int64_t module; /* {K}: mtp.K; -1: in none */
} place;

typedef void on_row(void *context, const place *at, const stage_row *row);

/* Calls for every row of a model, in the order of its computation; where several rows have the same output the first that can be
 * judged counts. n_tokens: modules that have no token are left out. */
void for_each_row(const dsv3_config *c, int64_t n_tokens, on_row *call, void *context);

/* A name of a row at a place. {S}: the residual stream that comes into the layer, {T}: what comes out, {H}: the state that a
 * module is given. */
void stage_name(const place *at, const char *pattern, char name[STAGE_NAME]);

/* The stream that comes out of the layer before a module's. */
void stage_name_before(const place *at, char name[STAGE_NAME]);

/* Is this the name of a stage, or one with {N} for a layer and {K} for a module? */
bool is_stage(const char *name);

/* How many tensors a row has. */
int slots_in(const stage_row *row);

/* A name of a row that may be two side by side: the first of them, and the second; NULL: it is one. */
const char *name_parts(const char *pattern, char first[STAGE_NAME]);

/* Does a model have this tensor? Without a query latent or shared experts some are missing. */
bool slot_exists(const dsv3_config *c, const slot *s);

/* How many tokens a row has: module K has K + 1 fewer. */
int64_t rows_at(const place *at, int64_t n_tokens);

#endif
