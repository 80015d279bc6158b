/* Feed-forward networks, and the routed experts of a layer. */
#ifndef EXPERTS_H
#define EXPERTS_H

#include "matrix.h"

typedef struct {
    matrix gate, up, down;
} network;

network find_network(const dsv3_weights *weights, const char *name);
int usable_network(const network *f);

/* All experts in one pass over the weights: a search for each would take longer than their products. Of two of a name the
 * first counts. */
void find_experts(const dsv3_weights *weights, int64_t experts, network *expert);

/* The tokens of a layer, its experts, and the sums of what they add. */
typedef struct {
    dsv3_ctx *ctx;
    const dsv3_weights *weights;
    const dsv3_tensor *x;
    int64_t n_tokens, hidden_size, experts, k;
    float *sum;      /* (n_tokens, hidden_size) */
    network *expert; /* (experts) */

    /* W8A8: x is codes that were dequantised, and so becomes act; NULL: it isn't. */
    const dsv3_experts_prob *p;
    const dsv3_experts_io *io;
} layer;

int open_layer(layer *m); /* its sums and experts; 0: no memory */
int usable_experts(const layer *m);

/* Adds a network's output for the tokens, times its weights: token[i] gets weight[i] of it. Activations have the format of x; they go to row
 * slot[i] of act, if that is wanted. 0: no memory.
 * Products as in matrix.h; sigmoid 4; act output must, all else f32 must */
int add_network(const layer *m, const network *f, int64_t n, const int64_t *token, const float *weight,
                const int64_t *slot, const dsv3_tensor *act);

/* Adds every expert, in ascending order, for the tokens that chose it. */
int add_experts(const layer *m, const dsv3_tensor *idx, const dsv3_tensor *weight, const dsv3_tensor *act);
void store_sums(const layer *m, const dsv3_tensor *y);

#endif
