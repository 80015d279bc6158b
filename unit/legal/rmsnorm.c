/* rmsnorm: docs/components/rmsnorm.md. */
#include "legal.h"

#include <math.h>

void legal_rmsnorm_config(legal *c, dsv3_rmsnorm_prob const *p, dsv3_rmsnorm_io const *io)
{
    legal_start(c, "rmsnorm", p->n_tokens, p->hidden_size, p->residual, (int)io->x.dtype);
    legal_sums(c, false);
    legal_arithmetic(c, io->x.dtype == DSV3_BF16);
    legal_division(c);
    legal_functions(c, "rsqrt");
    c->point[0] = legal_round_at(c, "z", p->residual ? io->x.dtype : DSV3_F32);
    c->point[1] = legal_round_at(c, "x_norm", io->x.dtype);
    legal_output(c, "y", io->y.dtype);
}

dsv3_status legal_rmsnorm(dsv3_ctx *ctx, dsv3_rmsnorm_prob const *p, dsv3_rmsnorm_io const *io)
{
    (void)ctx;
    legal c;
    legal_rmsnorm_config(&c, p, io);
    bool const y_cut = c.cut_output;
    dsv3_tensor const *w = dsv3_find(&io->weights, "weight");
    int64_t const n = p->hidden_size;
    double *z = legal_room(n);
    bool const exact = c.acc.bits == 53 && !legal_habit(&c, "eps", 2);
    double const eps = exact ? p->rms_norm_eps : legal_constant(&c, p->rms_norm_eps);
    bool const roots = c.rsqrt == 0 && c.div == 0 && legal_habit(&c, "root", 2);
    for (int64_t t = 0; t < p->n_tokens; t++) {
        for (int64_t i = 0; i < n; i++) {
            z[i] = legal_load(&c, &io->x, legal_row(&io->x, t) + i);
            if (!p->residual) continue;
            z[i] = legal_op(&c, z[i] + legal_load(&c, &io->residual, legal_row(&io->residual, t) + i));
            c.cut_output = false;
            legal_store(&c, &io->residual_out, legal_row(&io->residual_out, t) + i, z[i]);
            z[i] = legal_at(&c, c.point[0], z[i]);
        }
        c.cut_output = y_cut;
        double const sum = legal_cast(&c, legal_dot(&c, n, z, z));
        bool const wide = c.acc.bits == 53 && c.div == 0 && !legal_draw(&c, "cast", 2);
        double const mean = wide ? sum / (double)n : legal_div(&c, sum, (double)n);
        double const square = legal_cast(&c, mean + eps);
        double const scale = roots ? legal_op(&c, sqrt(square)) : legal_rsqrt(&c, square);
        for (int64_t i = 0; i < n; i++) {
            double const weight = legal_load(&c, w, i);
            double const x = legal_at(&c, c.point[1], roots ? legal_div(&c, z[i], scale) : legal_op(&c, z[i] * scale));
            legal_store(&c, &io->y, legal_row(&io->y, t) + i, legal_op(&c, weight * x));
        }
    }
    return DSV3_OK;
}
