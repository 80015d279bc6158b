/* One training: its plan, and its steps. */
#ifndef TRAINING_H
#define TRAINING_H

#include "adamw.h"
#include "evaluation.h"

typedef enum { BALANCE_NONE, BALANCE_AUX, BALANCE_BIAS } balance_method;

/* Everything that decides what comes out, besides config, text and the port's arithmetic. */
typedef struct {
    uint64_t seed;
    int64_t steps, batch, length;     /* a step has `batch` windows of `length` tokens */
    double learning_rate, last_share; /* a cosine from the first to last_share of it */
    int64_t warmup_steps;
    double mtp_loss_weight; /* the report's lambda */
    balance_method balance;
    double bias_update_speed, aux_loss_alpha;
    adamw optimizer;
} training_plan;

extern const training_plan usual_plan;

typedef struct {
    training_plan plan;
    model m;
    pass learn, look; /* with gradients; without, for evaluations */
    training_text t;
    int64_t step; /* done so far */
    double grad_norm;
} training;

/* False: one sentence in why, which the training keeps. Close either way. */
bool training_open(training *g, const training_plan *plan, const dsv3_config *config, const char *text_path,
                   const loaded_port *port, complaint *why);
void training_close(training *g);

/* The next step: losses are in learn.loss, loads in the layers. False: one sentence in why. */
bool training_step(training *g);

/* Additions and multiplications of a step's matrix products, forward and backward: three times the forward ones. */
double training_operations(const training *g);

/* Of step `step`, counted from 0. */
double learning_rate_at(const training_plan *plan, int64_t step);

#endif
