/* experts: docs/components/experts.md. */
#include "coded.h"
#include "network.h"
#include "quantiser.h"

#include <stdio.h>
#include <string.h>

/* W8A8: how codes are multiplied, and what is done to quantise act. */
typedef struct {
    bool here;
    legal_coded codes;
    int quotient;
    legal_point act_scale;
} w8a8;

static void config_coded(legal *c, legal_network *n, w8a8 *k, dsv3_experts_prob const *p, dsv3_experts_io const *io)
{
    dsv3_dtype const y = io->y.dtype;
    legal_start(c, "experts", p->hidden_size, p->moe_intermediate_size, p->stages * 2 + p->scale_fmt, (int)y + 64);
    legal_coded_sums(c, &k->codes);
    legal_arithmetic(c, false);
    legal_functions(c, "sigmoid");
    k->quotient = legal_quotient_config(c);
    legal_coded_points(c, &k->codes);
    legal_network_config(c, n, y, false, p->stages);
    if (!p->stages) k->act_scale = legal_round_at(c, "act_scale", DSV3_F32);
    legal_output(c, "y", y);
}

static void config(legal *c, legal_network *n, w8a8 *k, dsv3_experts_prob const *p, dsv3_experts_io const *io)
{
    dsv3_tensor const *w = dsv3_find(&io->weights, "experts.0.gate_proj.weight");
    dsv3_dtype const x = io->hidden_states.dtype;
    bool const fp8 = w && w->dtype == DSV3_F8_E4M3;
    k->here = x == DSV3_F8_E4M3;
    if (k->here) {
        config_coded(c, n, k, p, io);
        return;
    }
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
    w8a8 k = {0};
    config(c, &n, &k, p, io);
}

/* ---- W8A8 ---- */

enum { WIDEST = 1 << 16, BLOCKS = WIDEST / LEGAL_BLOCK };

/* y = W x of codes x whose scales are of_x. */
static void project(legal const *c, w8a8 const *k, dsv3_weights const *weights, char const *prefix, char const *leaf,
                    double const *x, double const *of_x, double *y)
{
    static double row[WIDEST];
    char full[128];
    snprintf(full, sizeof full, "%s.%s.weight", prefix, leaf);
    dsv3_tensor const *w = dsv3_find(weights, full);
    snprintf(full, sizeof full, "%s.%s.weight_scale_inv", prefix, leaf);
    dsv3_tensor const *scale = dsv3_find(weights, full);
    for (int64_t o = 0; o < w->shape[0]; o++) {
        legal_coded_weight(c, &k->codes, w, scale, o, row);
        y[o] = legal_coded_dot(c, &k->codes, w->shape[1], x, of_x, row, scale, o);
    }
}

/* act becomes codes, and of_act their scales; slot i of token t. */
static void quantise(legal const *c, w8a8 const *k, dsv3_experts_prob const *p, dsv3_experts_io const *io, int64_t slot,
                     double *act, double *of_act)
{
    int64_t const width = p->moe_intermediate_size;
    for (int64_t b = 0; b * LEGAL_BLOCK < width; b++) {
        uint8_t code[LEGAL_BLOCK];
        double *const x = act + b * LEGAL_BLOCK;
        int64_t const left = width - b * LEGAL_BLOCK, n = left < LEGAL_BLOCK ? left : LEGAL_BLOCK;
        double scale = legal_tile_scale(c, p->amax_floor, p->scale_fmt, n, x);
        scale = legal_at(c, k->act_scale, scale);
        if (p->stages) {
            legal_store(c, &io->act_scale, legal_row(&io->act_scale, slot) + b, scale);
            scale = legal_load(c, &io->act_scale, legal_row(&io->act_scale, slot) + b);
        }
        legal_tile_codes(c, k->quotient, scale, n, x, code);
        if (p->stages)
            memcpy((uint8_t *)io->act_q.data + legal_row(&io->act_q, slot) + b * LEGAL_BLOCK, code, (size_t)n);
        for (int64_t i = 0; i < n; i++) x[i] = number_from_e4m3(code[i]);
        of_act[b] = scale;
    }
}

static void store_act(legal const *c, dsv3_experts_prob const *p, dsv3_experts_io const *io, int64_t slot, double *act)
{
    for (int64_t i = 0; i < p->moe_intermediate_size && p->stages; i++) {
        int64_t const at = legal_row(&io->act, slot) + i;
        legal_store(c, &io->act, at, act[i]);
        act[i] = legal_load(c, &io->act, at);
    }
}

static void coded_network(legal *c, legal_network const *n, w8a8 const *k, dsv3_experts_prob const *p,
                          dsv3_experts_io const *io, char const *prefix, int64_t slot, double *x, double *act,
                          double *out)
{
    static double up[WIDEST], of_x[BLOCKS], of_act[BLOCKS];
    int64_t const hidden = p->hidden_size, width = p->moe_intermediate_size, t = slot / p->num_experts_per_tok;
    for (int64_t b = 0; b * LEGAL_BLOCK < hidden; b++) of_x[b] = legal_scale(c, &io->x_scale, t, b);
    for (int64_t i = 0; i < hidden; i++) x[i] = legal_load(c, &io->hidden_states, legal_row(&io->hidden_states, t) + i);
    legal_coded_x(c, &k->codes, hidden, of_x, x);
    project(c, k, &io->weights, prefix, "gate_proj", x, of_x, act);
    project(c, k, &io->weights, prefix, "up_proj", x, of_x, up);
    legal_network_gated(c, n, width, act, up);
    c->cut_output = false;
    store_act(c, p, io, slot, act);
    quantise(c, k, p, io, slot, act, of_act);
    legal_coded_x(c, &k->codes, width, of_act, act);
    project(c, k, &io->weights, prefix, "down_proj", act, of_act, out);
    for (int64_t i = 0; i < hidden; i++) out[i] = legal_at(c, n->point[LEGAL_OUT], out[i]);
}

/* ---- the op ---- */

enum { SLOTS = 64 };

dsv3_status legal_experts(dsv3_ctx *ctx, dsv3_experts_prob const *p, dsv3_experts_io const *io)
{
    (void)ctx;
    legal c;
    legal_network n = {0};
    w8a8 k8 = {0};
    config(&c, &n, &k8, p, io);
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
            if (k8.here) {
                coded_network(&c, &n, &k8, p, io, prefix, t * k + s, x, act, out + s * hidden);
                continue;
            }
            legal_network_act(&c, &n, &io->weights, prefix, hidden, width, x, act);
            c.cut_output = false;
            store_act(&c, p, io, t * k + s, act);
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
