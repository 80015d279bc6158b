/* Multi-head latent attention of a layer, forward and backward. */
#ifndef ATTENTION_H
#define ATTENTION_H

#include "block.h"

attention_values attention_values_open(room *r, const dsv3_config *c, dsv3_dtype format, int64_t n);

/* y = self_attn(x) */
void attention_forward(const desk *d, const dsv3_config *c, const attention_weights *w, dsv3_tensor x,
                       const attention_values *v, dsv3_tensor y);
void attention_backward(const desk *d, const dsv3_config *c, const attention_weights *w, dsv3_tensor x,
                        const attention_values *v, dsv3_tensor grad_y, dsv3_tensor grad_x);

#endif
