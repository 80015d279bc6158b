/* The attention block over rows of balls: what mla is, and what a decoder layer attends with. */
#ifndef MLA_H
#define MLA_H

#include "reading.h"
#include "vectors.h"

/* Attention of the rows x (n_tokens), normalised hidden states; io gives weights, cache and lengths, and of the outputs the
 * formats, in a teacher-forced reading what the port made of them. past[b]: what is cached of sequence b, as balls; NULL: it is in the
 * io's cache. kv (n_tokens, kv_lora_rank + qk_rope_head_dim): what is cached; y
 * (n_tokens, hidden_size): the block's output; NULL: it isn't wanted. out: the outputs of the io as they are handed out, in its order; each may be NULL. */
void attention_block(const ref_reading *rd, const dsv3_mla_prob *p, const dsv3_mla_io *io, vectors x,
                     const ball *const *past, ball *kv, ball *y, ref_value *const out[]);

#endif
