/* quant: docs/components/quant.md. */
#include "legal.h"

#include <math.h>

void legal_quant_config(legal *c, dsv3_quant_prob const *p, dsv3_quant_io const *io)
{
    static char const *const how[] = {"exact", "div", "recip"};
    legal_start(c, "quant", p->n_tokens, p->in_features, p->scale_fmt, (int)io->x.dtype);
    legal_arithmetic(c, false);
    c->arith = IN_F32;
    legal_division(c);
    legal_say(c, "; quotient %s", how[legal_draw(c, "quotient", 3)]);
    c->reciprocal = false;
}

static double scale_of(legal const *c, dsv3_quant_prob const *p, double amax)
{
    amax = fmax(amax, number_round(number_f32, p->amax_floor));
    if (amax == 0) return 1;
    double scale = legal_div(c, amax, 448);
    int exponent = 0;
    if (p->scale_fmt) scale = ldexp(1, frexp(scale, &exponent) == 0.5 ? exponent - 1 : exponent);
    return scale;
}

dsv3_status legal_quant(dsv3_ctx *ctx, dsv3_quant_prob const *p, dsv3_quant_io const *io)
{
    (void)ctx;
    legal c;
    legal_quant_config(&c, p, io);
    int const quotient = legal_draw(&c, "quotient", 3);
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t first = 0; first < p->in_features; first += 128) {
            int64_t const n = first + 128 < p->in_features ? 128 : p->in_features - first;
            double x[128], amax = 0;
            for (int64_t i = 0; i < n; i++) {
                x[i] = legal_load(&c, &io->x, legal_row(&io->x, t) + first + i);
                amax = fmax(amax, fabs(x[i]));
            }
            legal_store(&c, &io->scale, legal_row(&io->scale, t) + first / 128, scale_of(&c, p, amax));
            double const scale = legal_load(&c, &io->scale, legal_row(&io->scale, t) + first / 128);
            double const recip = quotient == 2 ? legal_div(&c, 1, scale) : 0;
            uint8_t *code = (uint8_t *)io->q.data + legal_row(&io->q, t) + first;
            for (int64_t i = 0; i < n; i++)
                code[i] = number_to_e4m3(quotient == 0   ? x[i] / scale
                                         : quotient == 1 ? legal_div(&c, x[i], scale)
                                                         : legal_op(&c, x[i] * recip));
        }
    return DSV3_OK;
}
