/* Attention of one query over its keys, wherever those are stored: what mla_decode and mla_prefill share. */
#include "plain.h"

enum { COLUMNS = 512 };

/* softmax_scale q . k for the query at q and key j. */
static float score(const heads *s, int64_t q, int64_t j)
{
    float dot = 0;
    for (int64_t c = 0; c < s->width; c++) dot += load_at(s->q, q + c) * s->key(s, j, c);
    return dot * s->scale;
}

/* The sums are in binary32, the largest score is found first. */
float attend(const heads *s, int64_t n, int64_t q, int64_t o)
{
    float max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) max = fmaxf(max, score(s, q, j));
    for (int64_t from = 0; from < s->columns; from += COLUMNS) {
        int64_t const columns = s->columns - from < COLUMNS ? s->columns - from : COLUMNS;
        float total[COLUMNS] = {0};
        sum = 0;
        for (int64_t j = 0; j < n; j++) {
            float const weight = expf(score(s, q, j) - max);
            sum += weight;
            for (int64_t c = 0; c < columns; c++) total[c] += weight * s->value(s, j, from + c);
        }
        for (int64_t c = 0; c < columns; c++) store_at(s->o, o + from + c, n ? total[c] / sum : 0);
    }
    return n ? max + logf(sum) : -INFINITY;
}
