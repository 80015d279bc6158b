/* verify model --stages: what an engine recorded, judged stage by stage. */
#ifndef ENGINE_H
#define ENGINE_H

#include "engine/judge_rows.h"

typedef struct {
    const char *numerics; /* as --numerics has it; NULL: nothing is declared */
    const char *map;      /* as --map has it, which nothing may be written over; NULL: names are ours */
    const char *jsonl;    /* the file of --jsonl; NULL: none */
    bool list;            /* say what is recorded and judge nothing */
    bool diagnose, verbose;
    bool strict; /* SUSPECT is a failure, and so is what isn't judged */
} engine_options;

/* The declaration of --numerics for this model, as text or a file; NULL: nothing is declared. False: one sentence in why. */
bool read_sections(const char *value, const dsv3_config *c, sections *s, complaint *why);

/* Judges and reports; names: sequences are judged one after the other, and it says which. Returns the exit code. */
int judge_recording(const engine_options *o, const model_run *m, const recording *r, name_map *names);

#endif
