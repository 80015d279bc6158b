/* A MoE layer over rows of balls: what moe is, and what a decoder layer has. */
#ifndef MOE_H
#define MOE_H

#include "reading.h"

/* y (n_tokens, hidden_size) of the rows x (n_tokens). io gives weights and the outputs' formats, in a teacher-forced reading what the port
 * made of them; out: the outputs of the io as they are handed out, in its order, each may be NULL. False: out of memory. */
bool moe_block(const ref_reading *rd, const dsv3_moe_prob *p, const dsv3_moe_io *io, const operand *x, ball *y,
               ref_value *const out[]);

#endif
