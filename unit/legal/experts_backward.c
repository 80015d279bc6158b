/* experts_backward: docs/components/experts_backward.md. Token by token, then expert by expert. */
#include "network.h"

#include <stdio.h>

enum { BY_OUTPUT, BY_ACT };                          /* where the weight multiplies */
enum { ONE_SUM, TWO_SUMS, BY_MATRICES, BY_ENTRIES }; /* how grad_x is summed */
enum {
    GATE_PROJ,
    UP_PROJ,
    SILU,
    ACT,
    WEIGHTED_ACT,
    OUT,
    GRAD_OUT,
    GRAD_WEIGHTED_ACT,
    GRAD_ACT,
    GRAD_SILU,
    GRAD_GATE,
    GRAD_UP,
    GRAD_X,
    ROUTED,
    POINTS
};
enum { SLOTS = 64 };

typedef struct {
    legal c;
    legal_point at[POINTS];
    int by_weight, by_act, by_down; /* the way of grad_topk_weight, of grad_act, of grad_down_proj */
    int summed;
    bool weights_late, forms_act, forms_grad_silu;
    bool cut[5]; /* outputs */
} config;

/* The points that this port forms are drawn; the others are said to be as they come. */
static void point(config *f, int which, char const *name, bool formed, dsv3_dtype dtype)
{
    if (formed)
        f->at[which] = legal_round_at(&f->c, name, dtype);
    else
        legal_say(&f->c, "; %s f32 may", name);
}

static void draw(config *f)
{
    legal *const c = &f->c;
    bool const coarse = c->arith == IN_BF16;
    f->by_weight = legal_draw(c, "by_weight", 2);
    f->by_act = legal_draw(c, "by_act", 2);
    f->by_down = legal_draw(c, "by_down", 2);
    f->summed = legal_draw(c, "summed", 4);
    f->weights_late = !coarse && f->by_act == BY_ACT && legal_draw(c, "weights_late", 2);
    f->forms_grad_silu = coarse || (!f->weights_late && legal_draw(c, "forms_grad_silu", 2));
    f->forms_act = coarse || f->by_down == BY_OUTPUT || legal_draw(c, "forms_act", 2);
}

static void output(config *f, int which, char const *name, dsv3_dtype dtype)
{
    legal_output(&f->c, name, dtype);
    f->cut[which] = f->c.cut_output;
}

static void configure(config *f, dsv3_experts_backward_prob const *p, dsv3_experts_backward_io const *io)
{
    legal *const c = &f->c;
    dsv3_dtype const x = io->hidden_states.dtype, w = io->grad_gate_proj.dtype;
    legal_start(c, "experts_backward", p->hidden_size, p->moe_intermediate_size, p->num_experts_per_tok,
                (int)x * 8 + (int)w);
    legal_sums(c, false);
    legal_arithmetic(c, x == DSV3_BF16);
    legal_functions(c, "sigmoid");
    draw(f);
    legal_silu_config(c, x);
    point(f, GATE_PROJ, "gate_proj", true, x);
    point(f, UP_PROJ, "up_proj", true, x);
    point(f, SILU, "silu", true, x);
    point(f, ACT, "act", f->forms_act, x);
    point(f, WEIGHTED_ACT, "weighted_act", f->by_down == BY_ACT, x);
    point(f, OUT, "expert_out", f->by_weight == BY_OUTPUT, x);
    point(f, GRAD_OUT, "grad_expert_out", f->by_act == BY_OUTPUT || f->by_down == BY_OUTPUT, x);
    point(f, GRAD_WEIGHTED_ACT, "grad_weighted_act", f->by_act == BY_ACT || f->by_weight == BY_ACT, x);
    point(f, GRAD_ACT, "grad_act", !f->weights_late, x);
    point(f, GRAD_SILU, "grad_silu", f->forms_grad_silu, x);
    point(f, GRAD_GATE, "grad_gate", true, x);
    point(f, GRAD_UP, "grad_up", true, x);
    point(f, GRAD_X, "grad_x", f->summed == TWO_SUMS || f->summed == BY_MATRICES, x);
    point(f, ROUTED, "routed", f->summed != BY_ENTRIES, x);
    output(f, 0, "grad_hidden_states", x);
    output(f, 1, "grad_topk_weight", DSV3_F32);
    output(f, 2, "grad_gate_proj", w);
    output(f, 3, "grad_up_proj", w);
    output(f, 4, "grad_down_proj", w);
}

void legal_experts_backward_config(legal *c, dsv3_experts_backward_prob const *p, dsv3_experts_backward_io const *io)
{
    config f = {.by_weight = 0};
    configure(&f, p, io);
    *c = f.c;
}

/* ---- the state: of each slot what its expert's sums are made of ---- */

typedef struct {
    config const *f;
    dsv3_experts_backward_prob const *p;
    dsv3_experts_backward_io const *io;
    int64_t hidden, width, k;
    double *expert, *w;                       /* (slots) */
    double *x, *grad_y;                       /* (n_tokens, hidden) */
    double *act, *weighted, *by_gate, *by_up; /* (slots, width) */
    double *grad_out;                         /* (slots, hidden) */
    double *row, *other;                      /* as long as the longest sum */
} state;

static bool take_room(state *s)
{
    int64_t const slots = s->p->n_tokens * s->k, states = s->p->n_tokens * s->hidden;
    int64_t longest = 2 * s->width * s->k;
    if (longest < s->hidden) longest = s->hidden;
    if (longest < slots) longest = slots;
    s->expert = legal_room(slots), s->w = legal_room(slots);
    s->x = legal_room(states), s->grad_y = legal_room(states);
    s->act = legal_room(slots * s->width), s->weighted = legal_room(slots * s->width);
    s->by_gate = legal_room(slots * s->width), s->by_up = legal_room(slots * s->width);
    s->grad_out = legal_room(slots * s->hidden);
    s->row = legal_room(longest), s->other = legal_room(longest);
    return s->expert && s->w && s->x && s->grad_y && s->act && s->weighted && s->by_gate && s->by_up && s->grad_out &&
           s->row && s->other;
}

static void load_rows(state const *s)
{
    dsv3_experts_backward_io const *const io = s->io;
    legal const *const c = &s->f->c;
    for (int64_t i = 0; i < s->p->n_tokens * s->hidden; i++) {
        s->x[i] = legal_load(c, &io->hidden_states, legal_row(&io->hidden_states, i / s->hidden) + i % s->hidden);
        s->grad_y[i] = legal_load(c, &io->grad_y, legal_row(&io->grad_y, i / s->hidden) + i % s->hidden);
    }
    for (int64_t i = 0; i < s->p->n_tokens * s->k; i++) {
        s->expert[i] = legal_load(c, &io->topk_idx, legal_row(&io->topk_idx, i / s->k) + i % s->k);
        s->w[i] = legal_load(c, &io->topk_weight, legal_row(&io->topk_weight, i / s->k) + i % s->k);
    }
}

static dsv3_tensor const *matrix(state const *s, int64_t slot, char const *leaf)
{
    char name[64];
    snprintf(name, sizeof name, "experts.%d.%s.weight", (int)s->expert[slot], leaf);
    return dsv3_find(&s->io->weights, name);
}

/* <x, row o of W> and <x, column i of W> */
static double by_row(state const *s, dsv3_tensor const *w, int64_t o, double const *x)
{
    int64_t const n = w->shape[1];
    for (int64_t i = 0; i < n; i++) s->row[i] = legal_load(&s->f->c, w, legal_row(w, o) + i);
    return legal_dot(&s->f->c, n, x, s->row);
}

static double by_column(state const *s, dsv3_tensor const *w, int64_t i, double const *x)
{
    int64_t const n = w->shape[0];
    for (int64_t o = 0; o < n; o++) s->row[o] = legal_load(&s->f->c, w, legal_row(w, o) + i);
    return legal_dot(&s->f->c, n, s->row, x);
}

static double at(state const *s, int which, double x)
{
    return legal_at(&s->f->c, s->f->at[which], x);
}

static double times(state const *s, int which, double a, double b)
{
    return at(s, which, legal_op(&s->f->c, a * b));
}

/* ---- one slot ---- */

/* Entry i of act, and of its gradient, to the slot's rows. */
static void through_silu(state const *s, int64_t slot, int64_t i, double z, double u)
{
    legal const *const c = &s->f->c;
    config const *const f = s->f;
    double const w = s->w[slot], *const grad_y = s->grad_y + slot / s->k * s->hidden;
    double const raw = legal_sigmoid(c, z), sigmoid = c->rounds_sigmoid ? legal_at(c, c->gate_sigmoid, raw) : raw;
    double const silu = times(s, SILU, z, sigmoid), act = f->forms_act ? times(s, ACT, silu, u) : legal_op(c, silu * u);
    dsv3_tensor const *const down = matrix(s, slot, "down_proj");
    double grad = 0, factor[8];
    int n = 0;
    if (f->by_act == BY_OUTPUT) grad = at(s, GRAD_ACT, by_column(s, down, i, s->grad_out + slot * s->hidden));
    if (f->by_act == BY_ACT) grad = at(s, GRAD_WEIGHTED_ACT, by_column(s, down, i, grad_y));
    if (f->by_act == BY_ACT && !f->weights_late) grad = times(s, GRAD_ACT, w, grad);
    if (f->weights_late) factor[n++] = w;
    if (f->forms_grad_silu) factor[n++] = times(s, GRAD_SILU, grad, u);
    if (!f->forms_grad_silu) factor[n++] = grad, factor[n++] = u;
    n += legal_slope(c, z, sigmoid, silu, factor + n);
    int64_t const to = slot * s->width + i;
    s->act[to] = act;
    s->weighted[to] = f->forms_act ? times(s, WEIGHTED_ACT, w, act)
                                   : at(s, WEIGHTED_ACT, legal_product(c, "weighted", 3, (double[]){w, silu, u}));
    s->by_gate[to] = at(s, GRAD_GATE, legal_product(c, "product", n, factor));
    s->by_up[to] =
        at(s, GRAD_UP,
           f->weights_late ? legal_product(c, "late", 3, (double[]){w, grad, silu}) : legal_op(c, grad * silu));
}

static double gradient_by_weight(state const *s, int64_t slot)
{
    dsv3_tensor const *const down = matrix(s, slot, "down_proj");
    double const *const grad_y = s->grad_y + slot / s->k * s->hidden, *const act = s->act + slot * s->width;
    if (s->f->by_weight == BY_OUTPUT) {
        for (int64_t c = 0; c < s->hidden; c++) s->other[c] = at(s, OUT, by_row(s, down, c, act));
        return legal_dot(&s->f->c, s->hidden, grad_y, s->other);
    }
    for (int64_t i = 0; i < s->width; i++) s->other[i] = at(s, GRAD_WEIGHTED_ACT, by_column(s, down, i, grad_y));
    return legal_dot(&s->f->c, s->width, act, s->other);
}

static void pass_slot(state const *s, int64_t slot)
{
    double const *const x = s->x + slot / s->k * s->hidden, *const grad_y = s->grad_y + slot / s->k * s->hidden;
    dsv3_tensor const *const gate = matrix(s, slot, "gate_proj"), *const up = matrix(s, slot, "up_proj");
    for (int64_t c = 0; c < s->hidden; c++)
        s->grad_out[slot * s->hidden + c] = times(s, GRAD_OUT, grad_y[c], s->w[slot]);
    for (int64_t i = 0; i < s->width; i++)
        through_silu(s, slot, i, at(s, GATE_PROJ, by_row(s, gate, i, x)), at(s, UP_PROJ, by_row(s, up, i, x)));
    legal c = s->f->c;
    c.cut_output = s->f->cut[1];
    dsv3_tensor const *const to = &s->io->grad_topk_weight;
    legal_store(&c, to, legal_row(to, slot / s->k) + slot % s->k, gradient_by_weight(s, slot));
}

/* ---- a token: the sum over its experts ---- */

/* All products of the token's entry c in one sum. */
static double entries(state const *s, int64_t t, int64_t c, int64_t const *order)
{
    int64_t n = 0;
    for (int64_t j = 0; j < s->k; j++)
        for (int64_t i = 0; i < s->width; i++) {
            int64_t const slot = t * s->k + order[j];
            dsv3_tensor const *const gate = matrix(s, slot, "gate_proj"), *const up = matrix(s, slot, "up_proj");
            s->row[n] = s->by_up[slot * s->width + i], s->other[n++] = legal_load(&s->f->c, up, legal_row(up, i) + c);
            s->row[n] = s->by_gate[slot * s->width + i],
            s->other[n++] = legal_load(&s->f->c, gate, legal_row(gate, i) + c);
        }
    return legal_dot(&s->f->c, n, s->row, s->other);
}

/* The same over one expert. */
static double packed(state const *s, int64_t slot, int64_t c)
{
    state one = *s;
    one.k = 1, one.by_gate += slot * s->width, one.by_up += slot * s->width, one.expert += slot;
    return entries(&one, 0, c, (int64_t const[]){0});
}

static double token_sum(state const *s, int64_t t, int64_t c, int64_t const *order)
{
    double term[2 * SLOTS];
    int64_t n = 0;
    if (s->f->summed == BY_ENTRIES) return entries(s, t, c, order);
    for (int64_t j = 0; j < s->k; j++) {
        int64_t const slot = t * s->k + order[j];
        double const gate = at(s, GRAD_X, by_column(s, matrix(s, slot, "gate_proj"), c, s->by_gate + slot * s->width));
        double const up = at(s, GRAD_X, by_column(s, matrix(s, slot, "up_proj"), c, s->by_up + slot * s->width));
        if (s->f->summed == ONE_SUM) term[n++] = at(s, ROUTED, packed(s, slot, c));
        if (s->f->summed == TWO_SUMS) term[n++] = at(s, ROUTED, legal_op(&s->f->c, gate + up));
        if (s->f->summed == BY_MATRICES) term[n++] = at(s, ROUTED, up), term[n++] = at(s, ROUTED, gate);
    }
    return legal_summed(&s->f->c, s->f->at[ROUTED], n, term);
}

static void store_token(state const *s, int64_t t)
{
    legal c = s->f->c;
    int64_t order[SLOTS];
    c.cut_output = s->f->cut[0];
    legal_order(&c, s->k, s->expert + t * s->k, order);
    for (int64_t i = 0; i < s->hidden; i++)
        legal_store(&c, &s->io->grad_hidden_states, legal_row(&s->io->grad_hidden_states, t) + i,
                    token_sum(s, t, i, order));
}

/* ---- an expert: sums over its tokens ---- */

/* Element (o, i) of an expert's gradient: the sum of a_o b_i. Rows of a, and those of b, belong to slots or to tokens. */
static double outer(state const *s, int64_t e, double const *a, double const *b, int64_t o, int64_t i, int64_t rows,
                    int64_t columns, bool a_of_tokens, bool b_of_tokens)
{
    int64_t n = 0;
    for (int64_t slot = 0; slot < s->p->n_tokens * s->k; slot++) {
        if ((int64_t)s->expert[slot] != e) continue;
        s->row[n] = a[(a_of_tokens ? slot / s->k : slot) * rows + o];
        s->other[n++] = b[(b_of_tokens ? slot / s->k : slot) * columns + i];
    }
    return legal_dot(&s->f->c, n, s->row, s->other);
}

static void store_expert(state const *s, int64_t e)
{
    legal c = s->f->c;
    int64_t const cells = s->hidden * s->width;
    dsv3_experts_backward_io const *const io = s->io;
    for (int64_t j = 0; j < 2 * cells; j++) {
        bool const is_up = j >= cells;
        int64_t const o = j % cells / s->hidden, i = j % s->hidden;
        dsv3_tensor const *const to = is_up ? &io->grad_up_proj : &io->grad_gate_proj;
        c.cut_output = s->f->cut[is_up ? 3 : 2];
        legal_store(&c, to, legal_row(to, e * s->width + o) + i,
                    outer(s, e, is_up ? s->by_up : s->by_gate, s->x, o, i, s->width, s->hidden, false, true));
    }
    bool const by_act = s->f->by_down == BY_ACT;
    c.cut_output = s->f->cut[4];
    for (int64_t j = 0; j < cells; j++)
        legal_store(
            &c, &io->grad_down_proj, legal_row(&io->grad_down_proj, e * s->hidden + j / s->width) + j % s->width,
            by_act ? outer(s, e, s->grad_y, s->weighted, j / s->width, j % s->width, s->hidden, s->width, true, false)
                   : outer(s, e, s->grad_out, s->act, j / s->width, j % s->width, s->hidden, s->width, false, false));
}

dsv3_status legal_experts_backward(dsv3_ctx *ctx, dsv3_experts_backward_prob const *p,
                                   dsv3_experts_backward_io const *io)
{
    (void)ctx;
    config f = {.by_weight = 0};
    configure(&f, p, io);
    state s = {.f = &f, .p = p, .io = io, .hidden = p->hidden_size, .width = p->moe_intermediate_size};
    s.k = p->num_experts_per_tok;
    if (s.k > SLOTS || !take_room(&s)) return DSV3_UNSUPPORTED;
    load_rows(&s);
    for (int64_t slot = 0; slot < p->n_tokens * s.k; slot++) pass_slot(&s, slot);
    for (int64_t t = 0; t < p->n_tokens; t++) store_token(&s, t);
    for (int64_t e = 0; e < p->n_routed_experts; e++) store_expert(&s, e);
    return DSV3_OK;
}
