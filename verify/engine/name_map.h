/*
 * Names that an engine has for our stages, as a text: a rule a line, STAGE = NAME [; OPERATION]*, and # comments. {N} in both is a
 * layer, {K} an MTP module; a name may have {N+1} or {N-1}. Where a stage has several rules the first counts whose name is recorded;
 * one without a rule has its own name. docs/engines.md.
 */
#ifndef NAME_MAP_H
#define NAME_MAP_H

#include "reshape.h"

enum { MAP_NAME = 128, MOST_RESHAPES = 6, MOST_RULES = 200 };

typedef struct {
    reshape_kind kind;
    int64_t from, to;
    char other[MAP_NAME];
} map_operation;

typedef struct {
    char stage[MAP_NAME], name[MAP_NAME];
    int count;
    map_operation operation[MOST_RESHAPES];
} map_rule;

typedef struct {
    int count;
    map_rule *rule;
} name_map;

/* value: a map that is part of the program, or a file; NULL: no rules. False: one sentence in why. Close either way. */
bool name_map_open(const char *value, name_map *m, complaint *why);
void name_map_close(name_map *m);

/* The same of a text; from: what the sentence calls it. */
bool name_map_parse(const char *from, const char *text, name_map *m, complaint *why);

/* Names of those that are part of the program; NULL ends them. */
extern const char *const name_map_names[];

/* The tensor of a stage. False: it isn't recorded, or (then a sentence is in fault) can't be shaped; out is empty then. rotated:
 * columns that are rotated. */
bool name_map_find(const name_map *m, const recording *r, const char *stage, int64_t rotated, shaped *out,
                   complaint *fault);

#endif
