/*
 * A pass through a whole model, forward and backward: `batch` windows of a text, `length` tokens each. Depth 0 is the main model;
 * depth k is module k of multi-token prediction, which reads the token k further on and predicts the one behind it.
 */
#ifndef PASS_H
#define PASS_H

#include "block.h"

enum { MOST_MODULES = 4 };

typedef struct {
    dsv3_tensor both, u; /* [enorm | hnorm], and eh_proj of it */
} module_values;

/* Of tensors with all depths, rows k n to (k + 1) n - 1 are those of depth k. */
typedef struct {
    model *m;
    caller call;
    desk d;
    int64_t length;
    int modules;
    int32_t *ids, *labels;
    dsv3_tensor embeds, sum, hidden, logits; /* of all depths; hidden: sum behind the last norm */
    layer_values *layer;                     /* those of the modules last */
    module_values module[MOST_MODULES];
    dsv3_tensor grad_embeds, grad_hidden, grad_logits, grad, grad_both;
    dsv3_tensor token_loss;
    double loss[MOST_MODULES + 1]; /* mean over the tokens of each depth */
    room memory;
} pass;

/* Bytes of a window: those read, and the labels of the last depth. */
static inline int64_t window_bytes(const pass *p)
{
    return p->length + 1 + p->modules;
}

/* False: one sentence in why, which is the pass's from now on. Close either way. */
bool pass_open(pass *p, model *m, const loaded_port *port, int64_t batch, int64_t length, bool backward,
               complaint *why);
void pass_close(pass *p);

/* Window b of the next pass. */
void pass_set(pass *p, int64_t b, const uint8_t *window);

/* Losses, logits and loads. False: one sentence in why. */
bool pass_forward(pass *p);

/* After pass_forward: depths from 2 on once more, all by module 1, as engines do that have one module. */
bool pass_reuse_first_module(pass *p);

/* After pass_forward: the gradient of loss[0] + mtp_loss_weight / modules * (loss[1] + ...) + balance losses. */
bool pass_backward(pass *p, double mtp_loss_weight);

#endif
