/* Routing of one token, as gate and moe need it. */
#ifndef GATE_H
#define GATE_H

#include "dsv3.h"

enum { MOST_EXPERTS = 1024, MOST_GROUPS = 128 };

int can_route(const dsv3_gate_prob *p);

/* Experts and weights of a token from its logits, which become scores. bias: NULL unless noaux_tc.
 * sums of sixteen lanes; sigmoid 4; exp 2; div ieee; scores f32 must */
void route(const dsv3_gate_prob *p, const dsv3_tensor *bias, float *logits, int32_t *idx, float *weight);

#endif
