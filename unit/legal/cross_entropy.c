/* cross_entropy: docs/components/cross_entropy.md. */
#include "legal.h"

#include <math.h>

void legal_cross_entropy_config(legal *c, dsv3_cross_entropy_prob const *p, dsv3_cross_entropy_io const *io)
{
    legal_start(c, "cross_entropy", p->n_tokens, p->vocab_size, p->divisor, (int)io->logits.dtype);
    legal_sums(c, false);
    legal_arithmetic(c, false);
    legal_division(c);
    legal_functions(c, "exp log");
    legal_say(c, "; rescales 0; terms f32 must");
    legal_output(c, "loss", DSV3_F32);
}

/* ln sum e^z less the label's logit, in three orders. */
static double loss_of(legal const *c, int64_t n, double const *z, double label, double *e)
{
    double largest = z[0];
    for (int64_t i = 1; i < n; i++) largest = fmax(largest, z[i]);
    for (int64_t i = 0; i < n; i++) e[i] = legal_exp(c, legal_op(c, z[i] - largest));
    double const ln = legal_log(c, legal_cast(c, legal_dot(c, n, e, NULL)));
    int const order = legal_habit(c, "loss_order", 3);
    if (order == 0) return legal_op(c, legal_op(c, largest + ln) - label);
    if (order == 1) return legal_op(c, ln + legal_op(c, largest - label));
    return legal_op(c, ln - legal_op(c, label - largest));
}

dsv3_status legal_cross_entropy(dsv3_ctx *ctx, dsv3_cross_entropy_prob const *p, dsv3_cross_entropy_io const *io)
{
    (void)ctx;
    legal c;
    legal_cross_entropy_config(&c, p, io);
    bool const cut = c.cut_output;
    double *z = legal_room(p->vocab_size), *e = legal_room(p->vocab_size), *loss = legal_room(p->n_tokens);
    if (!z || !e || !loss) return DSV3_UNSUPPORTED;
    int64_t counted = 0;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        int64_t const label = (int64_t)legal_load(&c, &io->labels, t);
        double value = 0;
        if (label != DSV3_IGNORED) {
            for (int64_t i = 0; i < p->vocab_size; i++)
                z[i] = legal_load(&c, &io->logits, legal_row(&io->logits, t) + i);
            value = loss_of(&c, p->vocab_size, z, z[label], e);
            counted++;
        }
        c.cut_output = cut;
        legal_store(&c, &io->loss, t, value);
        loss[t] = legal_load(&c, &io->loss, t);
    }
    c.cut_output = false;
    double const sum = legal_cast(&c, legal_dot(&c, p->n_tokens, loss, NULL));
    legal_store(&c, &io->mean, 0, legal_div(&c, sum, (double)(p->divisor ? counted : p->n_tokens)));
    return DSV3_OK;
}
