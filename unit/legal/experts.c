/* experts: docs/components/experts.md. */
#include "network.h"

#include <stdio.h>

static void config(legal *c, legal_network *n, dsv3_experts_prob const *p, dsv3_experts_io const *io)
{
    dsv3_tensor const *w = dsv3_find(&io->weights, "experts.0.gate_proj.weight");
    dsv3_dtype const x = io->hidden_states.dtype;
    bool const fp8 = w && w->dtype == DSV3_F8_E4M3;
    legal_start(c, "experts", p->hidden_size, p->moe_intermediate_size, p->stages, (int)x * 2 + fp8);
    legal_sums(c, false);
    legal_arithmetic(c, x == DSV3_BF16);
    legal_functions(c, "sigmoid");
    legal_network_config(c, n, x, fp8, p->stages);
    legal_output(c, "y", x);
}

void legal_experts_config(legal *c, dsv3_experts_prob const *p, dsv3_experts_io const *io)
{
    legal_network n = {0};
    config(c, &n, p, io);
}

enum { SLOTS = 64 };

dsv3_status legal_experts(dsv3_ctx *ctx, dsv3_experts_prob const *p, dsv3_experts_io const *io)
{
    (void)ctx;
    legal c;
    legal_network n = {0};
    config(&c, &n, p, io);
    bool const cut = c.cut_output;
    int64_t const k = p->num_experts_per_tok, hidden = p->hidden_size, width = p->moe_intermediate_size;
    double *x = legal_room(hidden), *act = legal_room(width), *out = legal_room(k * hidden);
    if (!x || !act || !out || k > SLOTS) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++) {
        double expert[SLOTS], weight[SLOTS], term[SLOTS];
        int64_t slot[SLOTS];
        for (int64_t i = 0; i < hidden; i++)
            x[i] = legal_load(&c, &io->hidden_states, legal_row(&io->hidden_states, t) + i);
        for (int64_t s = 0; s < k; s++) {
            char prefix[32];
            expert[s] = legal_load(&c, &io->topk_idx, legal_row(&io->topk_idx, t) + s);
            weight[s] = legal_load(&c, &io->topk_weight, legal_row(&io->topk_weight, t) + s);
            snprintf(prefix, sizeof prefix, "experts.%d", (int)expert[s]);
            legal_network_act(&c, &n, &io->weights, prefix, hidden, width, x, act);
            c.cut_output = false;
            for (int64_t i = 0; i < width && p->stages; i++) {
                int64_t const at = legal_row(&io->act, t * k + s) + i;
                legal_store(&c, &io->act, at, act[i]);
                act[i] = legal_load(&c, &io->act, at);
            }
            legal_network_out(&c, &n, &io->weights, prefix, hidden, width, act, out + s * hidden);
        }
        c.cut_output = cut;
        legal_order(&c, k, expert, slot);
        for (int64_t i = 0; i < hidden; i++) {
            for (int64_t s = 0; s < k; s++) {
                double const y = legal_op(&c, weight[slot[s]] * out[slot[s] * hidden + i]);
                term[s] = legal_at(&c, n.routed, y);
            }
            legal_store(&c, &io->y, legal_row(&io->y, t) + i, legal_summed(&c, n.routed, k, term));
        }
    }
    return DSV3_OK;
}
