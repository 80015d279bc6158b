/* How balance_loss and its gradient are filled: `scores`, `topk_idx`, `cu_seqlens` of sequences by the list seq_lens, `grad_loss`. */
#ifndef ROUTED_SCORES_H
#define ROUTED_SCORES_H

#include "problem.h"

typedef double routed_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits);
routed_value routed_real, routed_exact, routed_adversarial;

#endif
