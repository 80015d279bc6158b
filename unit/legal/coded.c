/* coded: docs/components/linear.md, W8A8. */
#include "coded.h"

#include <math.h>

enum scaled { BOTH_FIRST, WEIGHT_FIRST, X_FIRST, X_SCALE_THEN_WEIGHT, WEIGHT_THEN_X_SCALE, BY_PRODUCT, WAYS };

static bool weight_first(legal_coded const *k)
{
    return k->way == BOTH_FIRST || k->way == WEIGHT_FIRST;
}

static bool x_first(legal_coded const *k)
{
    return k->way == BOTH_FIRST || k->way == X_FIRST;
}

legal_point legal_dequantised_at(legal *c, char const *name, bool here)
{
    static char const *const how[] = {"f32 must", "bf16 must", "f32 may"};
    int const drawn = here ? legal_draw(c, name, 3) : 2;
    legal_say(c, "; %s %s", name, how[drawn]);
    return (legal_point){drawn < 2, drawn == 1 ? number_bf16 : number_f32};
}

void legal_coded_sums(legal *c, legal_coded *k)
{
    k->way = legal_draw(c, "scaled", WAYS);
    legal_sums(c, k->way != BOTH_FIRST);
    if (k->way != BOTH_FIRST) legal_say(c, " promote=%d bits2=24", LEGAL_BLOCK);
}

void legal_coded_points(legal *c, legal_coded *k)
{
    k->weight = legal_dequantised_at(c, "weight", weight_first(k));
    k->x = legal_dequantised_at(c, "x", x_first(k));
}

double legal_scale(legal const *c, dsv3_tensor const *scale, int64_t i, int64_t b)
{
    int64_t const at = legal_row(scale, i) + b;
    if (scale->dtype != DSV3_U8) return legal_load(c, scale, at);
    double const power = ldexp(1, ((uint8_t const *)scale->data)[at] - 127);
    return c->daz && power < 0x1p-126 ? 0 : power;
}

void legal_coded_weight(legal const *c, legal_coded const *k, dsv3_tensor const *t, dsv3_tensor const *scale, int64_t i,
                        double *row)
{
    for (int64_t j = 0; j < t->shape[1]; j++) {
        row[j] = legal_load(c, t, legal_row(t, i) + j);
        if (weight_first(k))
            row[j] = legal_at(c, k->weight, row[j] * legal_scale(c, scale, i / LEGAL_BLOCK, j / LEGAL_BLOCK));
    }
}

void legal_coded_x(legal const *c, legal_coded const *k, int64_t n, double const *of_x, double *x)
{
    for (int64_t i = 0; x_first(k) && i < n; i++) x[i] = legal_at(c, k->x, x[i] * of_x[i / LEGAL_BLOCK]);
}

/* Adds a block's sum p, times the scales that are left, to what is there; the last product may be fused with the addition. */
static double promoted(legal const *c, enum scaled way, double sum, double p, double of_x, double of_weight)
{
    double const first = way == WEIGHT_FIRST || way == BY_PRODUCT || way == WEIGHT_THEN_X_SCALE ? of_x : of_weight;
    double factor = first;
    if (way == BY_PRODUCT) factor = legal_op(c, of_x * of_weight);
    if (way == X_SCALE_THEN_WEIGHT) p = legal_op(c, p * of_x);
    if (way == WEIGHT_THEN_X_SCALE) p = legal_op(c, p * of_weight);
    bool const fused = legal_habit(c, "fma", 2);
    return legal_promoted(c, sum, fused ? p * factor : legal_op(c, p * factor));
}

double legal_coded_dot(legal const *c, legal_coded const *k, int64_t n, double const *x, double const *of_x,
                       double const *row, dsv3_tensor const *of_weight, int64_t o)
{
    int64_t const blocks = (n + LEGAL_BLOCK - 1) / LEGAL_BLOCK;
    bool const backward = legal_habit(c, "last_block_first", 2);
    double sum = 0;
    if (k->way == BOTH_FIRST) return legal_dot(c, n, x, row);
    for (int64_t i = 0; i < blocks; i++) {
        int64_t const b = backward ? blocks - 1 - i : i, j = b * LEGAL_BLOCK;
        double const p = legal_dot(c, n - j < LEGAL_BLOCK ? n - j : LEGAL_BLOCK, x + j, row + j);
        sum = promoted(c, (enum scaled)k->way, sum, p, of_x[b], legal_scale(c, of_weight, o / LEGAL_BLOCK, b));
    }
    return sum;
}
