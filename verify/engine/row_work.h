/* One row at its place: what is recorded of it, and what each of its tensors is there. */
#ifndef ROW_WORK_H
#define ROW_WORK_H

#include "judge_rows.h"

/* What becomes of a tensor of a case. */
typedef enum {
    ROLE_ABSENT, /* it isn't recorded */
    ROLE_GIVEN,  /* what is judged is made of it */
    ROLE_JUDGED
} role;

/* An output that a row could not judge; a later row may. */
typedef struct {
    char name[STAGE_NAME], reason[2 * STAGE_NAME];
    bool wrong; /* no later row can: the reason is a fault of the engine */
} postponed;

/* Where the work is. */
typedef struct {
    const engine_run *e;
    complaint *why;
    bool good;
    int judged, later, judged_room, later_room;
    char (*judged_name)[STAGE_NAME]; /* outputs that were judged */
    postponed *to_judge;
} work;

/* One row at its place. */
typedef struct {
    work *w;
    const place *at;
    const stage_row *row;
    int slots;               /* tensors of it */
    int64_t all, from, rows; /* tokens; the piece in work begins at `from` and has `rows` */
    char module[STAGE_NAME];
    char name[MOST_SLOTS][STAGE_NAME];
    shaped first[MOST_SLOTS], second[MOST_SLOTS]; /* what is recorded; two side by side */
    const safetensor *recorded[MOST_SLOTS];       /* the first, if it is there */
    const safetensor *beside[MOST_SLOTS];         /* the second */
    role role[MOST_SLOTS];
    complaint fault[MOST_SLOTS]; /* why what is recorded can't be used; it counts as absent then */
    judged_row told;
} row_work;

bool slot_is_output(const slot *s);

/* The slot of a tensor; -1: it has none. */
int row_slot(const row_work *k, const char *tensor);

/* Looks for its tensors; row_forget when it is done. */
void row_find(row_work *k);
void row_forget(row_work *k);

/* Slot i: is it recorded, and can be used; does the model have it at all? */
bool row_has(const row_work *k, int i);
bool row_wants(const row_work *k, int i);

/* What each tensor is. An output that can't be judged is postponed: a later row may judge it, else it is told at the end. Those that
 * return false have no memory, and a sentence says so. */
bool row_assign_roles(row_work *k);
bool row_has_judged(const row_work *k);                 /* one is */
bool row_postpone_all(row_work *k, const char *reason); /* those that are */
bool row_postpone_faulty(row_work *k);                  /* outputs with a fault, which is the reason */
int row_count_faults(const row_work *k);
void row_name_given(row_work *k); /* into k->told */

/* Outputs by name. */
bool work_has_judged(const work *w, const char *name);
bool work_note_judged(work *w, const char *name);
bool work_postpone(work *w, const char *name, const char *reason);

#endif
