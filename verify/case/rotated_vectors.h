/* How rope and its gradient are filled: vectors, the first tensor of the problem, and `positions`. */
#ifndef ROTATED_VECTORS_H
#define ROTATED_VECTORS_H

#include "problem.h"

typedef double rotated_value(const struct problem *p, const tensor_row *row, int64_t i, uint64_t bits);
rotated_value rotated_real, rotated_exact, rotated_far, rotated_onehot, rotated_adversarial;

#endif
