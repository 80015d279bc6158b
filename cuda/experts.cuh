/* Networks of experts, as experts, moe and mtp need them: down (silu(gate x) up x). */
#ifndef EXPERTS_CUH
#define EXPERTS_CUH

#include "products.cuh"

enum { MOST_EXPERTS = 256 };

struct network {
    matrix gate, up, down;
};

struct expert_matrices {
    matrix gate[MOST_EXPERTS], up[MOST_EXPERTS], down[MOST_EXPERTS];
};

/* experts.E.gate_proj and so on, in one pass over the weights. False: there are too many, or one isn't usable. */
bool find_experts(const dsv3_weights *weights, int64_t experts, expert_matrices *m);

/* Slots: a token and one of its experts, those of expert 0 first. */
struct slots {
    int64_t *first;        /* (experts + 1): of each expert */
    int64_t *token, *pair; /* (n_tokens k): of a slot, and token k + place */
    int64_t *slot;         /* (n_tokens, k) */
};

/* Taken from the context. False: no memory. */
bool list_slots(dsv3_ctx *ctx, const dsv3_tensor *topk_idx, int64_t n_tokens, int64_t k, int64_t experts, slots *s);

/* What routed experts, and shared ones, make of rows of x. */
struct layer {
    const dsv3_weights *weights;
    const dsv3_tensor *x, *topk_idx, *topk_weight;
    const dsv3_tensor *act, *shared_act; /* stages; data NULL: not wanted */
    const dsv3_tensor *y;
    int64_t n_tokens, hidden_size, width, experts, k, shared_width; /* shared_width 0: none */
};

/* Sums over a token's experts, and what the shared ones make, are rounded once, to y. UNSUPPORTED: formats, or a matrix missing. */
dsv3_status run_layer(dsv3_ctx *ctx, const layer *l);

/* acc and steps of a layer. others: are there products by the matrix unit besides, where its own go in binary32? */
const char *layer_numerics(const layer *l, bool others);

#endif
