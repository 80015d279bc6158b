/* network: a feed-forward network, and what of it is rounded to what. */
#ifndef LEGAL_NETWORK_H
#define LEGAL_NETWORK_H

#include "legal.h"

enum { LEGAL_WEIGHT = 0, LEGAL_ACT = 4, LEGAL_OUT = 5 };
typedef struct {
    legal_point point[6], routed;
} legal_network;

/* Draws and declares the points: weight only with FP8 weights, act only where it isn't a stage. */
void legal_network_config(legal *c, legal_network *n, dsv3_dtype dtype, bool fp8, bool stages);

/* y = W x, W found as name.weight, dequantised. */
void legal_project(legal const *c, legal_network const *n, dsv3_weights const *weights, char const *name, int64_t rows,
                   int64_t width, double const *x, double *y);

/* act = silu(gate_proj x) * up_proj x of the network with that prefix; y = down_proj act. */
void legal_network_act(legal const *c, legal_network const *n, dsv3_weights const *weights, char const *prefix,
                       int64_t hidden, int64_t width, double const *x, double *act);
void legal_network_out(legal const *c, legal_network const *n, dsv3_weights const *weights, char const *prefix,
                       int64_t hidden, int64_t width, double const *act, double *y);

/* act becomes silu(act) * up, each at its point. */
void legal_network_gated(legal const *c, legal_network const *n, int64_t width, double *act, double const *up);

/* Slots of a token in the order in which their outputs are added: as they come, backward, or by expert. */
void legal_order(legal const *c, int64_t k, double const *expert, int64_t *slot);
/* x[0] + ... + x[n - 1], one after the other or in a tree, each partial sum at the point. x is used up. */
double legal_summed(legal const *c, legal_point at, int64_t n, double *x);

#endif
