/*
 * A problem is a case id made concrete: an op, the numbers of its prob struct, and the list of its tensors.
 */
#ifndef PROBLEM_H
#define PROBLEM_H

#include "files/complaint.h"
#include "op.h"
#include "steps.h"

typedef struct tensor_info {
    const tensor_row *row;
    char name[64];
    int64_t index; /* of a repeated row: which */
    dsv3_dtype dtype;
    int32_t ndim;
    int64_t shape[DSV3_MAX_NDIM];
    int64_t count; /* elements */
    size_t bytes;
    int64_t first, wide; /* a view: rows begin in column `first` of rows so `wide`; wide 0: it is compact */
} tensor_info;

/* A fill asks it of every element: first letters are compared at once. */
static inline bool same_name(const char *a, const char *b)
{
    return *a == *b && !strcmp(a, b);
}

enum { MAX_LIST = 16 };

typedef struct problem {
    char id[512]; /* canonical: defaults left out */
    const op *op;
    int preset;
    const fill_row *fill;
    uint64_t seed;
    union {
        char bytes[512];
        int64_t align;
        double align2;
    } prob;
    int lists[MAX_LISTS]; /* numbers in each of the op's lists; 0: not given */
    int64_t list[MAX_LISTS][MAX_LIST];
    weight_law law[MAX_ROWS]; /* of the row's tensors, where the op has laws */
    int tensors;
    tensor_info *tensor; /* those that are present, in the order of the rows; the problem owns them */
    /* A sequence of calls: its steps, each a problem of one call with as many tensors; those of the sequence are theirs
     * in order, and all the rest is that of the first step. steps 0: one call. */
    int steps;
    struct problem *step;
    /* Every reading of it says what it has used of its weights, as in ref.h; NULL: nobody asks. */
    void (*used)(void *user, const void *data, size_t bytes);
    void *user;
} problem;

/* Reads one id without lists or ranges; equal ids make equal problems. On an error returns false and one sentence
 * in why, and there is nothing to close. */
bool problem_parse(const char *id, problem *p, complaint *why);
void problem_close(problem *p);

int64_t problem_size(const problem *p, const char *name);              /* a field or derived size by name */
double problem_field(const problem *p, const field_row *f);            /* the value of a field */
const tensor_info *problem_tensor(const problem *p, const char *name); /* NULL: absent */

/* The format of a row's tensors when the id names none: that of another tensor ("=x"), or the first of the list. */
dsv3_dtype problem_default_format(const problem *p, const tensor_row *row);

/* How many calls it is: a problem of one call is its own only step. */
int problem_calls(const problem *p);
const problem *problem_step(const problem *p, int step);

/* Is it one of many alike that take a GiB together, of a single call? Tokens choose a few of them: the memory of the others is
 * not filled. */
bool tensor_is_lazy(const problem *p, int i);

/* A tensor over its memory, compact: how the harness keeps it. */
dsv3_tensor problem_view(const tensor_info *t, void *data);

/* Rows along its last axis. */
int64_t tensor_rows(const tensor_info *t);

/* What a port gets: bytes of the memory that a tensor lies in, its wide rows if it is a view; and that view. */
size_t tensor_room(const tensor_info *t);
dsv3_tensor tensor_in_room(const tensor_info *t, void *room);

/* The io struct over the given memory: data[i] belongs to tensor[i], NULL allowed; data NULL: all NULL. One block
 * with the list of weights behind the struct: the caller frees it. NULL: no memory. */
void *problem_bind(const problem *p, void *const data[]);

/* A port finds an output that lies over an input in one place with it: that of the output. To readers they are before and after. */
void problem_lay_over(const problem *p, void *io);

/* The same for a port: room[i] is the memory that tensor[i] lies in; outputs lie over their inputs. */
void *problem_bind_rooms(const problem *p, void *const room[]);

/* Bytes that judging it needs, about, in this process and in the port's; whole: for ports that are given all tensors, others
 * are given those that are touched. */
double problem_memory(const problem *p, bool whole);

#endif
