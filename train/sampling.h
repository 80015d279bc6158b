/* Tokens drawn from distributions, and drafts kept so that the text has the distribution of the main model alone. Source: Leviathan et
 * al. (arXiv 2211.17192), 2.3 and appendix A.1. */
#ifndef SAMPLING_H
#define SAMPLING_H

#include <stdbool.h>
#include <stdint.h>

/* out = softmax(logits / temperature), n entries. temperature > 0. */
void softmax_at(const float *logits, int64_t n, double temperature, double *out);

/* The token at u of the cumulated p, 0 <= u < 1. */
int32_t draw(const double *p, int64_t n, double u);

/* May a draft that was drawn from q stay, p being the main model's? With the probability min(1, p / q); u as above. */
bool stays(double p, double q, double u);

/* out: what a token in the place of a draft that didn't stay is drawn from, max(p - q, 0) over its sum. */
void rest_of(const double *p, const double *q, int64_t n, double *out);

#endif
