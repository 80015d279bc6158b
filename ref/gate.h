/* The routing of one token from balls: what gate is, and what moe routes with. */
#ifndef GATE_H
#define GATE_H

#include "reading.h"

/* The rounding points of the scores and of the weights. */
typedef struct {
    int scores, weight;
} gate_points;

typedef struct {
    const ref_reading *rd;
    const dsv3_gate_prob *prob;  /* n_tokens is not read */
    const dsv3_tensor *bias;     /* (n_routed_experts); NULL: there is none */
    const dsv3_tensor *topk_idx; /* in a teacher-forced reading the port's choice is read from it */
    gate_points point;
    dsv3_dtype format;           /* of both, unless declared otherwise */
    int64_t groups, groups_kept; /* 1 and 1 where groups don't count */
    /* of the token in work */
    ball *s, *t;        /* scores, without and with the bias */
    ball *ranked;       /* what the reference's own choice compares: t, or 0 for an expert that is masked so */
    double *low, *high; /* the ends of t */
    double *favoured;   /* t where the choice is most likely to be legal */
    bool *chosen;
    int64_t *choice; /* (num_experts_per_tok): the port's or the reference's; all -1: the port's is none */
} gate;

/* n logits become scores. A logit of any value has a sigmoid of any value, and makes every share of a softmax so. */
void score_by_sigmoid(const ref_reading *rd, ball *s, int64_t n);
void score_by_softmax(const ref_reading *rd, ball *s, int64_t n);

/* A gate with room for one token, in the reading's scratch. */
gate gate_take(const ref_reading *rd, const dsv3_gate_prob *prob, const dsv3_tensor *bias, const dsv3_tensor *topk_idx,
               gate_points point, dsv3_dtype format);

/* Routes one token by its logits (n_routed_experts): g->choice, and its weights; unbounded if the port's indices are invalid.
 * False: the port's choice isn't legal. */
bool gate_route(const gate *g, int64_t token, const ball *logits, ball *weight);

/* The choice as the caller of the reference gets it: once, right after its token was routed. */
void choice_values(const gate *g, bool legal, ref_value *idx);

#endif
