/* parts: attention module and MoE layer, alone or inside mtp. */
#ifndef LEGAL_PARTS_H
#define LEGAL_PARTS_H

#include "network.h"

/* The points of an attention module but those of attention itself. */
typedef struct {
    bool absorbed, y_cut;
    legal_network weights; /* its first point is `weight` */
    legal_point q_a, norm, q_a_normed, q_b, cos_sin, q, kv_a, kv_b, q_absorbed, o_latent, attn;
    legal_point kv, y; /* of a part without stages, where they are no outputs */
} legal_mla_parts;

/* What a configuration of moe holds besides: its networks, and which outputs are cut. */
typedef struct {
    legal_network net;
    legal_point logits, shared_act;
    legal_point y; /* of a part without stages, where it is no output */
    bool weight_cut, y_cut;
} legal_moe_parts;

/* Draw and declare the points of a part; run it as drawn. Points that it shares with other ops lie in c. */
void legal_mla_points(legal *c, legal_mla_parts *m, dsv3_mla_prob const *p, dsv3_dtype x, bool fp8);
dsv3_status legal_mla_run(legal *c, legal_mla_parts const *m, dsv3_mla_prob const *p, dsv3_mla_io const *io);
void legal_moe_points(legal *c, legal_moe_parts *m, dsv3_moe_prob const *p, dsv3_dtype x, bool fp8);
dsv3_status legal_moe_run(legal *c, legal_moe_parts const *m, dsv3_moe_prob const *p, dsv3_moe_io const *io);

/* A row x divided by its root mean square, rounded at the point, times weight. */
void legal_normalise(legal const *c, legal_point point, dsv3_tensor const *weight, double eps, int64_t n, double *x);

#endif
