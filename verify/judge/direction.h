/*
 * Directions: what results change by when the formula makes a mistake, a constant is off, a key is left out. Nothing is stated anew
 * for any of them: each is one reading less another, in the sampled tier.
 */
#ifndef DIRECTION_H
#define DIRECTION_H

#include "alteration.h"
#include "filter.h"

enum { MOST_DIRECTIONS = 160 };

/* What a direction is of. */
typedef enum { MISTAKE, LEFT_OUT, CONSTANT, SCALE, BIAS, OFFSET, SLOT } kind;

typedef struct {
    kind kind;
    char name[64]; /* of the mistake, the constant, the output, the expert */
    int quirk;     /* of a mistake; else -1 */
    int output;    /* of a scale: which of the null's; else -1 */
    double *d;     /* (n) */
} direction;

/* Those of a problem with these tensors. They outlive both, which may lie elsewhere for another port. */
typedef struct {
    const problem *p;
    void *const *data;
    bool excerpt;  /* p is one */
    double *truth; /* (n); NULL: none was sought yet */
    direction of[MOST_DIRECTIONS];
    int count;
} directions;

/* All of p and data. null: how long they are. False: no memory; they are to be forgotten all the same. */
bool directions_find(directions *all, const null_ports *null);
void directions_forget(directions *all);

/* Into d (n): what results change by when inputs are other ones. False: no memory. */
bool direction_alter(const directions *all, const null_ports *null, const alteration *a, double *d);

/* What the direction is called, alone and with how much of it was found. */
void direction_name(const direction *way, char *text, size_t cap);
void direction_describe(const direction *way, double size, double sd, char *text, size_t cap);

/* Of two names for nearly the same: a mistake that is there is there once; a little of one is rather something else. */
double direction_oddness(const problem *p, const direction *way, const filtered *f);

#endif
