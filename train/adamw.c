/* See adamw.h. Loops over independent entries: the compiler makes vectors of them, and every machine the same numbers. */
#include "adamw.h"

#include <math.h>

/* A sum of squares in an order of its own: eight chains. */
static double norm_of(const float *v, int64_t n)
{
    double chain[8] = {0}, sum = 0;
    for (int64_t i = 0; i < n; i += 8) /* n is a multiple of 16 */
        for (int j = 0; j < 8; j++) chain[j] += (double)v[i + j] * (double)v[i + j];
    for (int j = 0; j < 8; j++) sum += chain[j];
    return sqrt(sum);
}

/* What is the same for all entries. */
typedef struct {
    float clip, beta1, rest1, beta2, rest2, keep, rate, root, eps; /* keep: 1 - learning rate times decay */
} factors;

static void update(const factors *f, int64_t n, const float *grad, float *first, float *second, float *value)
{
    for (int64_t i = 0; i < n; i++) {
        float const g = grad[i] * f->clip;
        first[i] = f->beta1 * first[i] + f->rest1 * g;
        second[i] = f->beta2 * second[i] + f->rest2 * g * g;
        value[i] = f->keep * value[i] - f->rate * first[i] / (sqrtf(second[i]) * f->root + f->eps);
    }
}

double adamw_step(const adamw *a, model *m, int64_t step, double learning_rate)
{
    double const norm = norm_of(m->grad, m->count);
    double const whole1 = 1 - pow(a->beta1, (double)step), whole2 = 1 - pow(a->beta2, (double)step);
    factors f = {.clip = (float)(norm > a->max_norm ? a->max_norm / norm : 1),
                 .beta1 = (float)a->beta1,
                 .rest1 = (float)(1 - a->beta1),
                 .beta2 = (float)a->beta2,
                 .rest2 = (float)(1 - a->beta2),
                 .rate = (float)(learning_rate / whole1),
                 .root = (float)(1 / sqrt(whole2)),
                 .eps = (float)a->eps};
    for (int i = 0; i < m->parameters; i++) {
        const parameter *const p = &m->parameter[i];
        int64_t const at = p->value - m->value;
        f.keep = p->ndim > 1 ? (float)(1 - learning_rate * a->weight_decay) : 1;
        update(&f, p->count, p->grad, m->first + at, m->second + at, p->value);
    }
    return norm;
}
