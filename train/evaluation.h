/* What a model makes of text that it never saw: losses, loads, and how often a draft of each depth would be accepted. */
#ifndef EVALUATION_H
#define EVALUATION_H

#include "pass.h"
#include "text.h"

enum { TEMPERATURES = 5 };

/* Depth k drafts the token k further on. Rates are over all places where both models speak. */
typedef struct {
    int64_t windows;
    double loss[MOST_MODULES + 1];          /* nats a byte, by depth */
    double top1[MOST_MODULES + 1];          /* the largest logit is the byte that comes */
    double agree[MOST_MODULES + 1];         /* from depth 1 on: it is that of the main model, one depth ago each */
    double agree_in_turn[MOST_MODULES + 1]; /* this depth and all before it do */
    double accept[MOST_MODULES + 1][TEMPERATURES]; /* sum over bytes of min(p, q) at evaluation_temperature */
    double greedy_draft[TEMPERATURES];             /* of depth 1: p at the largest logit of q, p at that temperature */
    double reused;                                 /* depth 2 by module 1, where depth 1 agrees */
    double shifted;                                /* depth 1 against the place behind: a control */
    double frequent; /* the most frequent byte of the text against the main model: another */
    int64_t *load;   /* (MoE layers, n_routed_experts), to be freed */
} evaluation;

extern double const evaluation_temperature[TEMPERATURES];

/* Bytes of held-out text that an evaluation wants at least: a batch of windows. */
int64_t evaluation_bytes(int64_t batch, int64_t length, int64_t modules);

/* How many windows of so many there is text for, in whole batches; and a batch of them, from window `first` on. */
int64_t held_out_windows(const pass *p, const training_text *t, int64_t windows);
void held_out_set(pass *p, const training_text *t, int64_t first);

/* Windows at every third of their length in the held-out text, about `windows` of them, a whole number of batches. The pass is
 * forward only. False: one sentence, nothing to close. */
bool evaluate(evaluation *e, pass *p, const training_text *t, int64_t windows, complaint *why);
void evaluation_close(evaluation *e);

/* The largest load over the mean, less 1. */
double max_violation(const int64_t *load, int64_t n_routed_experts);

#endif
