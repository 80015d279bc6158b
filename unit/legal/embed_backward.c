/* embed_backward: docs/components/embed_backward.md. */
#include "legal.h"

void legal_embed_backward_config(legal *c, dsv3_embed_backward_prob const *p, dsv3_embed_backward_io const *io)
{
    legal_start(c, "embed_backward", p->n_tokens, p->vocab_size, p->hidden_size,
                (int)(io->grad_y.dtype * 8 + io->grad_weight.dtype));
    static struct {
        int bits;
        bool cut;
    } const adders[] = {{24, false}, {24, false}, {53, false}, {11, false}, {24, true}, {14, true}, {8, false}};
    int const adder = legal_draw(c, "adder", sizeof adders / sizeof *adders);
    c->acc = number_accumulator(adders[adder].bits, adders[adder].cut);
    legal_say(c, "acc %d %s fused guard=255", adders[adder].bits, adders[adder].cut ? "rz" : "rn");
    legal_arithmetic(c, false);
    c->point[0] = legal_round_at(c, "partial", io->grad_weight.dtype);
    legal_output(c, "grad_weight", io->grad_weight.dtype);
}

/* Added one to one or in a tree, every partial sum rounded at the point, the first term too or not. */
static double total(legal const *c, int64_t n, double *x)
{
    bool const copies = legal_habit(c, "copies_first", 2), tree = legal_habit(c, "in_tree", 2);
    if (n == 0) return 0;
    for (int64_t i = 0; i < n && !copies; i++) x[i] = legal_at(c, c->point[0], legal_add(c, 0, x[i]));
    for (int64_t i = 1; i < n && !tree; i++) x[0] = legal_at(c, c->point[0], legal_add(c, x[0], x[i]));
    for (; n > 1 && tree; n = (n + 1) / 2)
        for (int64_t i = 0; i < (n + 1) / 2; i++)
            x[i] = 2 * i + 1 < n ? legal_at(c, c->point[0], legal_add(c, x[2 * i], x[2 * i + 1])) : x[2 * i];
    return x[0];
}

dsv3_status legal_embed_backward(dsv3_ctx *ctx, dsv3_embed_backward_prob const *p, dsv3_embed_backward_io const *io)
{
    (void)ctx;
    legal c;
    legal_embed_backward_config(&c, p, io);
    double *term = legal_room(p->n_tokens);
    if (!term) return DSV3_UNSUPPORTED;
    for (int64_t v = 0; v < p->vocab_size; v++)
        for (int64_t i = 0; i < p->hidden_size; i++) {
            int64_t n = 0;
            for (int64_t t = 0; t < p->n_tokens; t++)
                if ((int64_t)legal_load(&c, &io->input_ids, t) == v)
                    term[n++] = legal_load(&c, &io->grad_y, legal_row(&io->grad_y, t) + i);
            legal_store(&c, &io->grad_weight, legal_row(&io->grad_weight, v) + i, total(&c, n, term));
        }
    return DSV3_OK;
}
