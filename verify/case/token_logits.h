/* How ops of the losses are filled: `logits` (n_tokens, vocab_size), `labels`, and the gradient by the mean, `grad_mean`. */
#ifndef TOKEN_LOGITS_H
#define TOKEN_LOGITS_H

#include "problem.h"

typedef double token_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits);
token_value token_real, token_exact, token_equal, token_adversarial, token_large;

#endif
