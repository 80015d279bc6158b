/* The routing of one token from balls: what gate is, and what moe routes with. */
#ifndef GATE_H
#define GATE_H

#include "reading.h"

typedef struct {
    const ref_reading *rd;
    const dsv3_gate_prob *prob;  /* n_tokens is not read */
    const dsv3_tensor *bias;     /* (n_routed_experts); NULL: there is none */
    const dsv3_tensor *topk_idx; /* in a teacher-forced reading the port's choice is read from it */
    int point_scores, point_weight;
    dsv3_dtype format; /* of both, unless declared otherwise */
    /* set by gate_open */
    int64_t groups, groups_kept; /* 1 and 1 where groups don't count */
    ball *s, *t;                 /* of the token in work */
    double *low, *high;          /* the ends of t */
    double *favoured;            /* t where the choice is most likely to be legal */
    bool *chosen;
    int64_t *order; /* the choice, the port's or the reference's; -1: no expert */
} gate;

/* Members above the comment are set by the caller. False: out of memory; close either way. */
bool gate_open(gate *g);
void gate_close(gate *g);

/* Routes one token by its logits (n_routed_experts): g->order, and the weights, which are any when the port's choice can't be read.
 * False: the port's choice is no legal one. */
bool gate_route(const gate *g, int64_t token, const ball *logits, ball *weight);

#endif
