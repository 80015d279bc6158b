/* A MoE layer over rows of balls: what moe is, and what a decoder layer has. */
#ifndef MOE_H
#define MOE_H

#include "experts.h"

/* Points of a network that every token goes through: of the shared experts, and of a layer that has no others. */
extern const mlp_points shared_points;

/* y (n_tokens, hidden_size) of the rows x (n_tokens). io gives the weights and the outputs' formats, in a teacher-forced reading also what
 * the port wrote to them; out: the outputs in the order of the io, each may be NULL. y
 * NULL: the choice and its weights alone, and those outputs. */
void moe_block(const ref_reading *rd, const dsv3_moe_prob *p, const dsv3_moe_io *io, const operand *x, ball *y,
               ref_value *const out[]);

#endif
