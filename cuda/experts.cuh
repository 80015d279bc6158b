/* Networks of experts, as experts, moe and mtp need them: down (silu(gate x) up x). */
#ifndef EXPERTS_CUH
#define EXPERTS_CUH

#include "products.cuh"

enum { MOST_EXPERTS = 256 };

struct network {
    matrix gate, up, down;
};

network find_network(const dsv3_weights *weights, const char *name);
bool usable(const network *f);

/* What routed experts, and shared ones, make of rows of x. */
struct layer {
    const dsv3_weights *weights;
    const dsv3_tensor *x, *topk_idx, *topk_weight;
    const dsv3_tensor *act, *shared_act; /* stages; data NULL: not wanted */
    const dsv3_tensor *y;
    int64_t n_tokens, hidden_size, width, experts, k, shared_width; /* shared_width 0: none */
};

bool usable_layer(const layer *l);

/* Sums over a token's experts, and what the shared ones make, are rounded once, to y. */
dsv3_status run_layer(dsv3_ctx *ctx, const layer *l);

/* acc and steps of a layer. others: are there products by the matrix unit besides, where its own go in binary32? */
const char *layer_numerics(const layer *l, bool others);

#endif
