/* quant: docs/components/quant.md. */
#include "quantiser.h"

#include <math.h>

enum { TILE = 128 };

int legal_quotient_config(legal *c)
{
    static char const *const how[] = {"exact", "div", "recip"};
    int const drawn = legal_draw(c, "quotient", 3);
    legal_division(c);
    legal_say(c, "; quotient %s", how[drawn]);
    c->reciprocal = false;
    return drawn;
}

static int config(legal *c, dsv3_quant_prob const *p, dsv3_quant_io const *io)
{
    legal_start(c, "quant", p->n_tokens, p->in_features, p->scale_fmt, (int)io->x.dtype);
    legal_arithmetic(c, false);
    c->arith = IN_F32;
    return legal_quotient_config(c);
}

void legal_quant_config(legal *c, dsv3_quant_prob const *p, dsv3_quant_io const *io)
{
    config(c, p, io);
}

double legal_tile_scale(legal const *c, double floor, bool ue8m0, int64_t n, double const *x)
{
    double amax = number_round(number_f32, floor);
    for (int64_t i = 0; i < n; i++) amax = fmax(amax, fabs(x[i]));
    if (amax == 0) return 1;
    double scale = legal_div(c, amax, 448);
    int exponent = 0;
    if (ue8m0) scale = ldexp(1, frexp(scale, &exponent) == 0.5 ? exponent - 1 : exponent);
    return scale;
}

void legal_tile_codes(legal const *c, int quotient, double scale, int64_t n, double const *x, uint8_t *code)
{
    double const recip = quotient == 2 ? legal_div(c, 1, scale) : 0;
    for (int64_t i = 0; i < n; i++)
        code[i] = number_to_e4m3(quotient == 0   ? x[i] / scale
                                 : quotient == 1 ? legal_div(c, x[i], scale)
                                                 : legal_op(c, x[i] * recip));
}

dsv3_status legal_quant(dsv3_ctx *ctx, dsv3_quant_prob const *p, dsv3_quant_io const *io)
{
    (void)ctx;
    legal c;
    int const quotient = config(&c, p, io);
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t first = 0; first < p->in_features; first += TILE) {
            int64_t const n = first + TILE < p->in_features ? TILE : p->in_features - first;
            int64_t const at = legal_row(&io->scale, t) + first / TILE;
            double x[TILE];
            for (int64_t i = 0; i < n; i++) x[i] = legal_load(&c, &io->x, legal_row(&io->x, t) + first + i);
            legal_store(&c, &io->scale, at, legal_tile_scale(&c, p->amax_floor, p->scale_fmt, n, x));
            legal_tile_codes(&c, quotient, legal_load(&c, &io->scale, at), n, x,
                             (uint8_t *)io->q.data + legal_row(&io->q, t) + first);
        }
    return DSV3_OK;
}
