/* linear: docs/components/linear.md. */
#include "legal.h"

#include <math.h>

enum { BLOCK = 128 };

/* W8A8: what is dequantised; where something isn't, a block's sum is multiplied by the scales that are left. */
enum scaled { BOTH_FIRST, WEIGHT_FIRST, X_FIRST, X_SCALE_THEN_WEIGHT, WEIGHT_THEN_X_SCALE, BY_PRODUCT, WAYS };

static bool coded(dsv3_linear_io const *io)
{
    return io->x.dtype == DSV3_F8_E4M3;
}

static enum scaled way_of(legal const *c, dsv3_linear_io const *io)
{
    return coded(io) ? (enum scaled)legal_draw(c, "scaled", WAYS) : BOTH_FIRST;
}

/* A side that stays codes says that it isn't rounded. */
static legal_point dequantised_at(legal *c, char const *name, bool here)
{
    static char const *const how[] = {"f32 must", "bf16 must", "f32 may"};
    int const drawn = here ? legal_draw(c, name, 3) : 2;
    legal_say(c, "; %s %s", name, how[drawn]);
    return (legal_point){drawn < 2, drawn == 1 ? number_bf16 : number_f32};
}

void legal_linear_config(legal *c, dsv3_linear_prob const *p, dsv3_linear_io const *io)
{
    dsv3_dtype const dtype = dsv3_find(&io->weights, "weight")->dtype;
    legal_start(c, "linear", p->n_tokens, p->in_features, p->out_features, (int)(io->x.dtype * 8 + dtype));
    bool const narrow = io->x.dtype == DSV3_BF16 && dtype == DSV3_BF16;
    enum scaled const way = way_of(c, io);
    bool const promoted = way != BOTH_FIRST;
    if (!narrow || !legal_unit_sums(c)) legal_sums(c, promoted);
    if (promoted) legal_say(c, " promote=%d bits2=24", BLOCK);
    legal_arithmetic(c, false);
    if (dtype == DSV3_F8_E4M3) c->point[0] = dequantised_at(c, "weight", way == BOTH_FIRST || way == WEIGHT_FIRST);
    c->point[1] = (legal_point){0};
    if (coded(io)) c->point[1] = dequantised_at(c, "x", way == BOTH_FIRST || way == X_FIRST);
    if (io->x.dtype == DSV3_F32 && legal_draw(c, "x", 2)) {
        c->point[1] = (legal_point){true, number_bf16};
        legal_say(c, "; x bf16 must");
    }
    legal_output(c, "y", io->y.dtype);
}

/* Scale b of row i. */
static double scale_at(legal const *c, dsv3_tensor const *scale, int64_t i, int64_t b)
{
    int64_t const at = legal_row(scale, i) + b;
    if (scale->dtype != DSV3_U8) return legal_load(c, scale, at);
    double const power = ldexp(1, ((uint8_t const *)scale->data)[at] - 127);
    return c->daz && power < 0x1p-126 ? 0 : power;
}

/* Row i of codes, or dequantised at the point. */
static void load_codes(legal const *c, dsv3_tensor const *t, dsv3_tensor const *scale, int64_t i, int64_t rows,
                       bool first, legal_point point, double *row)
{
    for (int64_t k = 0; k < t->shape[1]; k++) {
        row[k] = legal_load(c, t, legal_row(t, i) + k);
        if (first) row[k] = legal_at(c, point, row[k] * scale_at(c, scale, i / rows, k / BLOCK));
    }
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

static double coded_dot(legal const *c, dsv3_linear_io const *io, enum scaled way, int64_t t, int64_t o,
                        double const *x, double const *row)
{
    dsv3_tensor const *const of_weight = dsv3_find(&io->weights, "weight_scale_inv");
    int64_t const n = io->x.shape[1], blocks = (n + BLOCK - 1) / BLOCK;
    bool const backward = legal_habit(c, "last_block_first", 2);
    double sum = 0;
    for (int64_t i = 0; i < blocks; i++) {
        int64_t const b = backward ? blocks - 1 - i : i, k = b * BLOCK;
        double const p = legal_dot(c, n - k < BLOCK ? n - k : BLOCK, x + k, row + k);
        sum = promoted(c, way, sum, p, scale_at(c, &io->x_scale, t, b), scale_at(c, of_weight, o / BLOCK, b));
    }
    return sum;
}

dsv3_status legal_linear(dsv3_ctx *ctx, dsv3_linear_prob const *p, dsv3_linear_io const *io)
{
    (void)ctx;
    legal c;
    legal_linear_config(&c, p, io);
    dsv3_tensor const *w = dsv3_find(&io->weights, "weight"), *scale = dsv3_find(&io->weights, "weight_scale_inv");
    enum scaled const way = way_of(&c, io);
    int64_t const n = p->in_features;
    double *x = legal_room(p->n_tokens * n), *row = legal_room(n);
    if (!x || !row) return DSV3_UNSUPPORTED;
    bool const x_first = way == BOTH_FIRST || way == X_FIRST, weight_first = way == BOTH_FIRST || way == WEIGHT_FIRST;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        load_codes(&c, &io->x, &io->x_scale, t, 1, x_first && coded(io), c.point[1], x + t * n);
        for (int64_t i = 0; !coded(io) && i < n; i++) x[t * n + i] = legal_at(&c, c.point[1], x[t * n + i]);
    }
    for (int64_t o = 0; o < p->out_features; o++) {
        load_codes(&c, w, scale, o, BLOCK, weight_first && scale, c.point[0], row);
        for (int64_t t = 0; t < p->n_tokens; t++)
            legal_store(&c, &io->y, legal_row(&io->y, t) + o,
                        way == BOTH_FIRST ? legal_dot(&c, n, x + t * n, row)
                                          : coded_dot(&c, io, way, t, o, x + t * n, row));
    }
    return DSV3_OK;
}
