/* network: a feed-forward network and sums of several, for experts and moe. */
#include "network.h"

#include <stdio.h>

enum { WEIGHT = LEGAL_WEIGHT, GATE, UP, SILU, ACT = LEGAL_ACT, OUT = LEGAL_OUT };

void legal_network_config(legal *c, legal_network *n, dsv3_dtype dtype, bool fp8, bool stages)
{
    if (fp8) n->point[WEIGHT] = legal_round_at(c, "weight", legal_draw(c, "weight_f32", 2) ? DSV3_F32 : DSV3_BF16);
    n->point[GATE] = legal_round_at(c, "gate_proj", dtype);
    n->point[UP] = legal_round_at(c, "up_proj", dtype);
    legal_silu_config(c, dtype);
    n->point[SILU] = legal_round_at(c, "silu", dtype);
    if (!stages) n->point[ACT] = legal_round_at(c, "act", dtype);
    n->point[OUT] = legal_round_at(c, "expert_out", dtype);
    n->routed = legal_round_at(c, "routed", dtype);
}

static double element(legal const *c, legal_network const *n, dsv3_tensor const *w, dsv3_tensor const *scale, int64_t o,
                      int64_t i)
{
    double const x = legal_load(c, w, legal_row(w, o) + i);
    if (!scale) return x;
    return legal_at(c, n->point[WEIGHT], x * legal_load(c, scale, legal_row(scale, o / 128) + i / 128));
}

void legal_project(legal const *c, legal_network const *n, dsv3_weights const *weights, char const *name, int64_t rows,
                   int64_t width, double const *x, double *y)
{
    static double row[1 << 16];
    char full[160];
    snprintf(full, sizeof full, "%s.weight", name);
    dsv3_tensor const *w = dsv3_find(weights, full);
    snprintf(full, sizeof full, "%s.weight_scale_inv", name);
    dsv3_tensor const *scale = dsv3_find(weights, full);
    for (int64_t o = 0; o < rows; o++) {
        for (int64_t i = 0; i < width; i++) row[i] = element(c, n, w, scale, o, i);
        y[o] = legal_dot(c, width, x, row);
    }
}

static void project(legal const *c, legal_network const *n, dsv3_weights const *weights, char const *prefix,
                    char const *name, int64_t rows, int64_t width, double const *x, double *y)
{
    char full[128];
    snprintf(full, sizeof full, "%s.%s", prefix, name);
    legal_project(c, n, weights, full, rows, width, x, y);
}

void legal_network_act(legal const *c, legal_network const *n, dsv3_weights const *weights, char const *prefix,
                       int64_t hidden, int64_t width, double const *x, double *act)
{
    static double up[1 << 16];
    project(c, n, weights, prefix, "gate_proj", width, hidden, x, act);
    project(c, n, weights, prefix, "up_proj", width, hidden, x, up);
    legal_network_gated(c, n, width, act, up);
}

void legal_network_gated(legal const *c, legal_network const *n, int64_t width, double *act, double const *up)
{
    for (int64_t i = 0; i < width; i++) {
        double const z = legal_at(c, n->point[GATE], act[i]), u = legal_at(c, n->point[UP], up[i]);
        double const silu = legal_at(c, n->point[SILU], legal_silu(c, z));
        act[i] = legal_at(c, n->point[ACT], legal_op(c, silu * u));
    }
}

void legal_network_out(legal const *c, legal_network const *n, dsv3_weights const *weights, char const *prefix,
                       int64_t hidden, int64_t width, double const *act, double *y)
{
    project(c, n, weights, prefix, "down_proj", hidden, width, act, y);
    for (int64_t i = 0; i < hidden; i++) y[i] = legal_at(c, n->point[OUT], y[i]);
}

/* Slots of a token in the order in which their outputs are added: as they come, backward, or by expert. */
void legal_order(legal const *c, int64_t k, double const *expert, int64_t *slot)
{
    int const order = legal_habit(c, "experts_order", 4);
    for (int64_t i = 0; i < k; i++) slot[i] = order == 1 ? k - 1 - i : i;
    for (int64_t i = 1; i < k && order >= 2; i++)
        for (int64_t j = i; j > 0 && (order == 2) == (expert[slot[j]] < expert[slot[j - 1]]); j--) {
            int64_t const held = slot[j];
            slot[j] = slot[j - 1], slot[j - 1] = held;
        }
}

/* x[0] + ... + x[n - 1], one after the other or in a tree, each partial sum at the point. */
double legal_summed(legal const *c, legal_point at, int64_t n, double *x)
{
    bool const tree = legal_habit(c, "experts_tree", 2);
    for (int64_t i = 1; i < n && !tree; i++) x[0] = legal_at(c, at, legal_op(c, x[0] + x[i]));
    for (; n > 1 && tree; n = (n + 1) / 2)
        for (int64_t i = 0; i < (n + 1) / 2; i++)
            x[i] = 2 * i + 1 < n ? legal_at(c, at, legal_op(c, x[2 * i] + x[2 * i + 1])) : x[2 * i];
    return x[0];
}
