/* verify model --stages: what an engine recorded, judged stage by stage. */
#ifndef ENGINE_H
#define ENGINE_H

#include "engine/judge_rows.h"

typedef struct {
    const char *numerics; /* as --numerics has it; NULL: nothing is declared */
    const char *map;      /* as --map has it; NULL: names are ours */
    const char *jsonl;    /* the file of --jsonl; NULL: none */
    bool list;            /* say what is recorded and judge nothing */
    bool diagnose, verbose;
} engine_options;

/* The ids of a recording, for whoever gives none. NULL, and a sentence on stderr: it has none, or one that is no id. */
int32_t *recorded_tokens(const recording *r, int64_t vocabulary, int64_t *count);

/* Tokens of the command line are those of the recording, if it has any; of names' sequence, which learns how many there are in all, or
 * (NULL) all of them. False: one sentence on stderr. */
bool check_tokens(const model_run *m, const recording *r, name_map *names);

/* The declaration of --numerics, as text or a file; NULL: nothing is declared. False: one sentence in why. */
bool read_sections(const char *value, sections *s, complaint *why);

/* Judges and reports. Returns the exit code. */
int judge_recording(const engine_options *o, const model_run *m, const recording *r);

#endif
