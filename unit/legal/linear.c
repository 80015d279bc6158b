/* linear: docs/components/linear.md. */
#include "legal.h"

void legal_linear_config(legal *c, dsv3_linear_prob const *p, dsv3_linear_io const *io)
{
    dsv3_dtype const dtype = dsv3_find(&io->weights, "weight")->dtype;
    legal_start(c, "linear", p->n_tokens, p->in_features, p->out_features, (int)(io->x.dtype * 8 + dtype));
    bool const narrow = io->x.dtype == DSV3_BF16 && dtype == DSV3_BF16;
    if (!narrow || !legal_unit_sums(c)) legal_sums(c, false);
    legal_arithmetic(c, false);
    static char const *const how[] = {"f32 must", "bf16 must", "f32 may"};
    int const weight = legal_draw(c, "weight", 3);
    if (dtype == DSV3_F8_E4M3) legal_say(c, "; weight %s", how[weight]);
    c->point[0] = (legal_point){weight < 2, weight == 1 ? number_bf16 : number_f32};
    c->point[1] = (legal_point){0};
    if (io->x.dtype == DSV3_F32 && legal_draw(c, "x", 2)) {
        c->point[1] = (legal_point){true, number_bf16};
        legal_say(c, "; x bf16 must");
    }
    legal_output(c, "y", io->y.dtype);
}

dsv3_status legal_linear(dsv3_ctx *ctx, dsv3_linear_prob const *p, dsv3_linear_io const *io)
{
    (void)ctx;
    legal c;
    legal_linear_config(&c, p, io);
    dsv3_tensor const *w = dsv3_find(&io->weights, "weight"), *scale = dsv3_find(&io->weights, "weight_scale_inv");
    int64_t const n = p->in_features;
    double *x = legal_room(p->n_tokens * n), *row = legal_room(n);
    if (!x || !row) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t i = 0; i < n; i++)
            x[t * n + i] = legal_at(&c, c.point[1], legal_load(&c, &io->x, legal_row(&io->x, t) + i));
    for (int64_t o = 0; o < p->out_features; o++) {
        for (int64_t i = 0; i < n; i++) {
            row[i] = legal_load(&c, w, legal_row(w, o) + i);
            if (w->dtype == DSV3_F8_E4M3)
                row[i] = legal_at(&c, c.point[0], row[i] * legal_load(&c, scale, legal_row(scale, o / 128) + i / 128));
        }
        for (int64_t t = 0; t < p->n_tokens; t++)
            legal_store(&c, &io->y, legal_row(&io->y, t) + o, legal_dot(&c, n, x + t * n, row));
    }
    return DSV3_OK;
}
