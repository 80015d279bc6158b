/* Scratch memory, matrices and rows: what the ops made of several steps share. */
#include "plain.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- scratch ---- */

float *scratch(dsv3_ctx *ctx, int64_t n)
{
    if ((size_t)n > ctx->size) {
        float *const more = realloc(ctx->scratch, (size_t)n * sizeof *more);
        if (!more) return NULL;
        ctx->scratch = more;
        ctx->size = (size_t)n;
    }
    return ctx->scratch;
}

/* ---- matrices ---- */

matrix find_matrix(const dsv3_weights *weights, const char *name)
{
    char full[128];
    matrix m;
    snprintf(full, sizeof full, "%s.weight", name);
    m.weight = dsv3_find(weights, full);
    snprintf(full, sizeof full, "%s.weight_scale_inv", name);
    m.scale = dsv3_find(weights, full);
    return m;
}

int usable(const matrix *m)
{
    return m->weight && (m->weight->dtype == DSV3_F8_E4M3 ? m->scale != NULL : is_float(m->weight));
}

/* The sum of x[k] W[o][k] over first <= k < last, in LANES partial sums; weights as they are stored. */
static float dot(const matrix *m, int64_t o, const float *x, int64_t first, int64_t last)
{
    float lane[LANES] = {0}, sum = 0;
    for (int64_t k = first; k < last; k++)
        lane[(k - first) % LANES] += x[k] * load_at(m->weight, o * m->weight->stride[0] + k);
    for (int l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

/* The codes of the block of 128 that begins at k are summed, then scaled. */
static float block_times(const matrix *m, int64_t o, const float *x, int64_t k)
{
    int64_t const n = m->weight->shape[1], end = k + BLOCK < n ? k + BLOCK : n;
    return dot(m, o, x, k, end) * scale_at(m->scale, o / BLOCK * m->scale->stride[0] + k / BLOCK);
}

float row_times(const matrix *m, int64_t o, const float *x)
{
    int64_t const n = m->weight->shape[1];
    float sum = 0;
    if (!m->scale) return dot(m, o, x, 0, n);
    for (int64_t k = 0; k < n; k += BLOCK) sum += block_times(m, o, x, k);
    return sum;
}

float coded_row_times(const matrix *m, int64_t o, const float *x, const dsv3_tensor *x_scale, int64_t from)
{
    int64_t const n = m->weight->shape[1];
    float sum = 0;
    for (int64_t k = 0; k < n; k += BLOCK) sum += block_times(m, o, x, k) * scale_at(x_scale, from + k / BLOCK);
    return sum;
}

void multiply(const matrix *m, const float *x, float *y)
{
    for (int64_t o = 0; o < m->weight->shape[0]; o++) y[o] = row_times(m, o, x);
}

/* ---- rows ---- */

void load_row(const dsv3_tensor *x, int64_t from, float *row, int64_t n)
{
    for (int64_t i = 0; i < n; i++) row[i] = load_at(x, from + i);
}

void round_trip(const dsv3_tensor *y, int64_t from, float *row, int64_t n)
{
    if (!y->data) return;
    for (int64_t i = 0; i < n; i++) store_at(y, from + i, row[i]);
    load_row(y, from, row, n);
}

float product(const float *a, const float *b, int64_t stride, int64_t n)
{
    float lane[LANES] = {0}, sum = 0;
    for (int64_t i = 0; i < n; i++) lane[i % LANES] += a[i] * b[i * stride];
    for (int l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

void normalise(const dsv3_tensor *weight, double eps, float *x, int64_t n)
{
    float const r = 1 / sqrtf(product(x, x, 1, n) / (float)n + (float)eps);
    for (int64_t i = 0; i < n; i++) x[i] = load_at(weight, i) * (x[i] * r);
}
