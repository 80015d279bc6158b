/* A row of logits: its largest, and the sum of its exponentials. */
#ifndef LOGITS_H
#define LOGITS_H

#include "dsv3.h"
#include "elementwise.h"

/* The sum of e^(logit - shift) over n logits, in binary64. */
static inline double sum_of_exponentials(const dsv3_tensor *x, int64_t from, int64_t n, float shift)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i += WIDTH) {
        float e[WIDTH];
        lanes const of = first_lanes(n - i);
        vec_store(e, vec_exp(vec_sub(load_lanes(x->data, x->dtype, from + i, of), vec_of(shift))));
        for (int64_t l = 0; l < WIDTH && i + l < n; l++) sum += (double)e[l];
    }
    return sum;
}

/* Of n logits from `from` on. */
static inline float largest_logit(const dsv3_tensor *x, int64_t from, int64_t n)
{
    vec most = vec_of(-INFINITY);
    for (int64_t i = 0; i < n; i += WIDTH) {
        lanes const of = first_lanes(n - i);
        most = vec_max(vec_choose(of, load_lanes(x->data, x->dtype, from + i, of), most), most);
    }
    return vec_largest(most);
}

#endif
