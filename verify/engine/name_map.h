/*
 * Names that an engine has for our stages, as a text: a rule a line, STAGE = NAME [; OPERATION]*, and # comments. {N} in both is a
 * layer, {K} an MTP module; a name may have {N+1} or {N-1}, and {R}, a rank. Where a stage has several rules the first counts whose
 * name is recorded; one without a rule has its own name. A rule may have a weight's name for a stage, without operations, and in
 * it {E}, an expert: --weights asks for these. Lines `set KEY = VALUE` say what no name does. docs/engines.md.
 */
#ifndef NAME_MAP_H
#define NAME_MAP_H

#include "files/checkpoint.h"
#include "files/config.h"
#include "reshape.h"

enum { MAP_NAME = 128, MOST_RESHAPES = 6, MOST_RULES = 200, MOST_RANKS = 1024 };

typedef enum {
    MAP_ROWS,
    MAP_COLS,
    MAP_HALF,
    MAP_TURN,
    MAP_FLAT,
    MAP_BESIDE,
    MAP_RANKS_CAT, /* what stands before it is made of each rank */
    MAP_RANKS_SAME,
    MAP_RANKS_SUM,
    MAP_NORMED, /* of two, the norm's output */
    MAP_STREAM, /* the other one */
    MAP_CHOSEN, /* of a column for every expert, which aren't 0 */
    MAP_KEPT,   /* and their values */
    MAP_TIMES
} map_word;

/* One end of a range: a number, or a size of the model, or half of what there is, or all. */
typedef struct {
    enum { END_NUMBER, END_SIZE, END_HALF, END_ALL } kind;
    int64_t number; /* or the offset of a size in dsv3_config */
} map_end;

typedef struct {
    map_word word;
    map_end from, to;
    char other[MAP_NAME];
} map_operation;

typedef struct {
    bool weight; /* the stage is one of the checkpoint's weights */
    char stage[MAP_NAME], name[MAP_NAME];
    int count;
    map_operation operation[MOST_RESHAPES];
} map_rule;

/* The state that an MTP module is given: behind the norm of the model, or of the module before; the stream in front of it; or that of
 * modules, and what is behind the norm of the model. */
typedef enum { MTP_NORM, MTP_STREAM, MTP_NORM_THEN_STREAM } mtp_input;

typedef struct {
    int count;
    map_rule *rule;
    int64_t ranks;                  /* set: so many; 0: as many as are recorded */
    int64_t first_token, end_token; /* set rows: of all tokens, those of the sequence that is judged; end 0: all */
    int64_t tokens;                 /* all of them; 0: nobody says, and a tensor's first axis that isn't 1 is of them */
    int64_t each;                   /* a batch: so many tokens are a sequence each; 0: it is none */
    bool latent_eps;                /* set: the norms of latents have the model's rms_norm_eps */
    mtp_input mtp;                  /* set: what modules are given */
    char seqlens[MAP_NAME];         /* set: as sequences_read takes them; "": there is one sequence */
} name_map;

/* value: a map that is part of the program, or a file; NULL: no rules. False: one sentence in why. Close either way. */
bool name_map_open(const char *value, name_map *m, complaint *why);
void name_map_close(name_map *m);

/* Is it of all tokens, one sequence? False: a sentence says that whole models are judged so. */
bool name_map_is_whole(const name_map *m, complaint *why);

/* The same of a text; from: what the sentence calls it. */
bool name_map_parse(const char *from, const char *text, name_map *m, complaint *why);

/* Names of those that are part of the program; NULL ends them. */
extern const char *const name_map_names[];

/* What names are looked up in. */
typedef struct {
    const recording *recorded;
    const dsv3_config *config;
    const checkpoint *weights;
} map_scene;

/* Counts the ranks that are recorded, unless the map says how many there are. */
void name_map_count_ranks(name_map *m, const recording *r);

/* Our name of a weight that the engine calls so, whatever stands in front. False: no rule has it. */
bool name_map_weight(const name_map *m, const char *name, char ours[MAP_NAME]);

/* The tensor of a stage, of the rows that are judged. False: it isn't recorded, or (then a sentence is in fault) can't be shaped; out is empty then,
 * but for `unlike`. */
bool name_map_find(const name_map *m, const map_scene *at, const char *stage, shaped *out, complaint *fault);

/* The same, of all rows. */
bool name_map_find_whole(const name_map *m, const map_scene *at, const char *stage, shaped *out, complaint *fault);

#endif
