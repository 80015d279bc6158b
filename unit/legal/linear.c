/* linear: docs/components/linear.md. */
#include "coded.h"

static bool is_coded(dsv3_linear_io const *io)
{
    return io->x.dtype == DSV3_F8_E4M3;
}

static void config(legal *c, legal_coded *k, dsv3_linear_prob const *p, dsv3_linear_io const *io)
{
    dsv3_dtype const dtype = dsv3_find(&io->weights, "weight")->dtype;
    legal_start(c, "linear", p->n_tokens, p->in_features, p->out_features, (int)(io->x.dtype * 8 + dtype));
    bool const narrow = io->x.dtype == DSV3_BF16 && dtype == DSV3_BF16;
    if (is_coded(io))
        legal_coded_sums(c, k);
    else if (!narrow || !legal_unit_sums(c))
        legal_sums(c, false);
    legal_arithmetic(c, false);
    if (is_coded(io))
        legal_coded_points(c, k);
    else if (dtype == DSV3_F8_E4M3)
        k->weight = legal_dequantised_at(c, "weight", true);
    if (io->x.dtype == DSV3_F32 && legal_draw(c, "x", 2)) {
        k->x = (legal_point){true, number_bf16};
        legal_say(c, "; x bf16 must");
    }
    legal_output(c, "y", io->y.dtype);
}

void legal_linear_config(legal *c, dsv3_linear_prob const *p, dsv3_linear_io const *io)
{
    legal_coded k = {0};
    config(c, &k, p, io);
}

static void load_x(legal const *c, legal_coded const *k, dsv3_linear_io const *io, int64_t t, double *x, double *of_x)
{
    int64_t const n = io->x.shape[1];
    for (int64_t b = 0; is_coded(io) && b * LEGAL_BLOCK < n; b++) of_x[b] = legal_scale(c, &io->x_scale, t, b);
    for (int64_t i = 0; i < n; i++) {
        x[i] = legal_load(c, &io->x, legal_row(&io->x, t) + i);
        if (!is_coded(io)) x[i] = legal_at(c, k->x, x[i]);
    }
    if (is_coded(io)) legal_coded_x(c, k, n, of_x, x);
}

dsv3_status legal_linear(dsv3_ctx *ctx, dsv3_linear_prob const *p, dsv3_linear_io const *io)
{
    (void)ctx;
    legal c;
    legal_coded k = {0};
    config(&c, &k, p, io);
    dsv3_tensor const *w = dsv3_find(&io->weights, "weight"), *scale = dsv3_find(&io->weights, "weight_scale_inv");
    int64_t const n = p->in_features, blocks = (n + LEGAL_BLOCK - 1) / LEGAL_BLOCK;
    double *x = legal_room(p->n_tokens * n), *row = legal_room(n), *of_x = legal_room(p->n_tokens * blocks);
    if (!x || !row || !of_x) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++) load_x(&c, &k, io, t, x + t * n, of_x + t * blocks);
    for (int64_t o = 0; o < p->out_features; o++) {
        for (int64_t i = 0; !scale && i < n; i++) row[i] = legal_load(&c, w, legal_row(w, o) + i);
        if (scale) legal_coded_weight(&c, &k, w, scale, o, row);
        for (int64_t t = 0; t < p->n_tokens; t++)
            legal_store(&c, &io->y, legal_row(&io->y, t) + o,
                        legal_coded_dot(&c, &k, n, x + t * n, of_x + t * blocks, row, scale, o));
    }
    return DSV3_OK;
}
