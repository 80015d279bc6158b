/* swiglu_backward: docs/components/swiglu_backward.md. */
#include "legal.h"

#include <math.h>

enum { SILU, GRAD_SILU };
enum { FACTORS, SUM_FROM_S, SUM_FROM_SILU, ONE_NUMBER, FORMS };
enum { SUBTRACTED, OPPOSITE };

/* grad_y up is formed, and rounded at its point; else other products come first and nothing is said of it. */
static bool forms_grad_silu(legal const *c)
{
    return c->arith == IN_BF16 || legal_draw(c, "forms_grad_silu", 2);
}

void legal_swiglu_backward_config(legal *c, dsv3_swiglu_backward_prob const *p, dsv3_swiglu_backward_io const *io)
{
    dsv3_dtype const dtype = io->gate.dtype;
    legal_start(c, "swiglu_backward", p->n_tokens, p->intermediate_size, 0, (int)dtype);
    c->acc = number_accumulator(53, false);
    legal_arithmetic(c, dtype == DSV3_BF16);
    legal_functions(c, "sigmoid");
    legal_silu_config(c, dtype);
    c->point[SILU] = legal_round_at(c, "silu", dtype);
    if (forms_grad_silu(c)) c->point[GRAD_SILU] = legal_round_at(c, "grad_silu", dtype);
    legal_output(c, "grad_gate", dtype);
    legal_output(c, "grad_up", dtype);
}

/* a + b c with one rounding, or with two. */
static double plus_product(legal const *c, double a, double b, double d)
{
    return legal_op(c, a + (legal_draw(c, "fused", 2) ? b * d : legal_op(c, b * d)));
}

/* sigmoid(-z), rounded as that of the gate is or left alone; or a difference. */
static double one_minus(legal const *c, double z, double s)
{
    if (legal_habit(c, "one_minus", 2) == SUBTRACTED) return legal_op(c, 1 - s);
    double const opposite = legal_sigmoid(c, -z);
    return c->rounds_sigmoid && legal_habit(c, "rounds_opposite", 2) ? legal_at(c, c->gate_sigmoid, opposite)
                                                                     : opposite;
}

int legal_slope(legal const *c, double z, double s, double silu, double *f)
{
    int const form = legal_habit(c, "form", FORMS);
    if (form == SUM_FROM_S) f[0] = plus_product(c, s, silu, one_minus(c, z, s));
    if (form == SUM_FROM_SILU) f[0] = plus_product(c, silu, s, legal_op(c, 1 - silu));
    if (form == SUM_FROM_S || form == SUM_FROM_SILU) return 1;
    f[0] = s;
    f[1] = plus_product(c, 1, z, one_minus(c, z, s));
    if (form == FACTORS) return 2;
    f[0] = legal_op(c, f[0] * f[1]);
    return 1;
}

dsv3_status legal_swiglu_backward(dsv3_ctx *ctx, dsv3_swiglu_backward_prob const *p, dsv3_swiglu_backward_io const *io)
{
    (void)ctx;
    legal c;
    legal_swiglu_backward_config(&c, p, io);
    bool const up_cut = c.cut_output, forms = forms_grad_silu(&c);
    bool const gate_cut = legal_cuts(&c, "grad_gate");
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t i = 0; i < p->intermediate_size; i++) {
            double const z = legal_load(&c, &io->gate, legal_row(&io->gate, t) + i);
            double const up = legal_load(&c, &io->up, legal_row(&io->up, t) + i);
            double const grad = legal_load(&c, &io->grad_y, legal_row(&io->grad_y, t) + i);
            double const raw = legal_sigmoid(&c, z), s = c.rounds_sigmoid ? legal_at(&c, c.gate_sigmoid, raw) : raw;
            double const silu = legal_at(&c, c.point[SILU], legal_op(&c, z * s));
            double f[4];
            int n = 0;
            if (forms) f[n++] = legal_at(&c, c.point[GRAD_SILU], legal_op(&c, grad * up));
            if (!forms) f[n++] = grad, f[n++] = up;
            n += legal_slope(&c, z, s, silu, f + n);
            c.cut_output = gate_cut;
            legal_store(&c, &io->grad_gate, legal_row(&io->grad_gate, t) + i, legal_product(&c, "product", n, f));
            c.cut_output = up_cut;
            legal_store(&c, &io->grad_up, legal_row(&io->grad_up, t) + i, legal_op(&c, grad * silu));
        }
    return DSV3_OK;
}
