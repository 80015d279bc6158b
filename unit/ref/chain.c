/*
 * The chain rule: the truth of every gradient is the derivative of the truth of its forward op. Along a direction v,
 *
 *     <grad_x, v> = d/dh <grad_y, y(x + h v)> at h = 0,
 *
 * with the forward op as chain/forward.c has it, in 448 bits, and the derivative as a central difference. Directions are drawn, of
 * all inputs at once and of each alone, and then every single element. Along each the difference lies within the radius of the
 * gradient, in every tier, and that radius is small. At x itself y lies in the ball of the forward op of ref/.
 */
#include "case/fill.h"
#include "case/rng.h"
#include "chain/forward.h"
#include "judge/enclose.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(chain, .timeout = 120);

#define STEP 0x1p-128 /* of a central difference: it is off by about the square, and by 2^-448 / STEP */
#define NEAR 0x1p-60  /* how far a gradient may be off, as a share of what adds up to it */
#define ZERO 0x1p-80  /* likewise as a share of the terms of the loss: for gradients that cancel to 0 */

static const ref_table *const tiers[] = {&ref_dd, &ref_256, &ref_512, &ref_1024};
enum { TIERS = 4, MOST_INPUTS = 64 };

/* An op: what the ids of its forward and backward pass both say, and what each says alone; a fill besides those of all ops. */
typedef struct {
    const char *op;
    formula *y;
    const char *both, *backward, *forward, *fill;
} row;

#define ROPE    "n_tokens=3,num_heads=4,qk_rope_head_dim=8"
#define GATE    "n_tokens=6,n_routed_experts=8,num_experts_per_tok=3"
#define EXPERTS "hidden_size=4,moe_intermediate_size=3"
#define HEADS   "num_attention_heads=2,qk_nope_head_dim=3,qk_rope_head_dim=2,v_head_dim=3"
static const row rows[] = {
    {"swiglu", swiglu, "n_tokens=3,intermediate_size=5,gate=f32", "", ""},
    {"swiglu", swiglu, "n_tokens=3,intermediate_size=5,gate=bf16", "", ""},
    {"rope", rope, ROPE ",in_layout=0,out_layout=0", ",num_key_value_heads=4,grad_y=f32", ",x=f32"},
    {"rope", rope, ROPE ",in_layout=0,out_layout=1", ",num_key_value_heads=2,grad_y=f32", ",x=f32"},
    {"rope", rope, ROPE ",in_layout=1,out_layout=0", ",num_key_value_heads=1,grad_y=f32", ",x=f32"},
    {"rope", rope, ROPE ",in_layout=1,out_layout=1,factor=40,mscale=2,mscale_all_dim=0.5,rope_theta=10000",
     ",num_key_value_heads=1,grad_y=bf16", ",x=bf16", "far"},
    {"rope", rope, ROPE ",factor=1", ",num_key_value_heads=4,grad_y=f32", ",x=f32", "far"},
    {"linear", linear, "n_tokens=3,in_features=5,out_features=4,x=f32", "", ""},
    {"linear", linear, "n_tokens=3,in_features=5,out_features=4,x=bf16", "", ""},
    {"embed", embed, "n_tokens=9,vocab_size=5,hidden_size=3", ",grad_y=f32", ",weight=f32"},
    {"rmsnorm", rmsnorm, "n_tokens=3,hidden_size=6,x=f32", "", ""},
    {"rmsnorm", rmsnorm, "n_tokens=3,hidden_size=6,residual=1,x=f32", "", ""},
    {"rmsnorm", rmsnorm, "n_tokens=3,hidden_size=6,residual=1,rms_norm_eps=0,x=bf16", "", ""},
    {"cross_entropy", cross_entropy, "n_tokens=9,vocab_size=6,divisor=0,logits=f32", "", ""},
    {"cross_entropy", cross_entropy, "n_tokens=9,vocab_size=6,divisor=1,logits=bf16", "", ""},
    {"gate", gate, GATE ",norm_topk_prob=1", "", ",n_group=4,topk_group=2"},
    {"gate", gate, GATE ",norm_topk_prob=0", "", ",n_group=1,topk_group=1"},
    {"gate", gate, GATE ",norm_topk_prob=1,scoring_func=1", "", ",n_group=2,topk_group=1"},
    {"gate", gate, GATE ",norm_topk_prob=0,scoring_func=1,topk_method=2", "", ",n_group=4,topk_group=2"},
    {"gate", gate, GATE ",norm_topk_prob=1,scoring_func=1,topk_method=1", "", ""},
    {"gate", gate, "n_tokens=3,n_routed_experts=8,num_experts_per_tok=1,norm_topk_prob=1", "", ""},
    {"balance_loss", balance_loss, "n_routed_experts=4,num_experts_per_tok=2,seq_lens=3+0+4,seq_aux=1", "", ""},
    {"balance_loss", balance_loss, "n_routed_experts=4,num_experts_per_tok=2,seq_lens=3+0+4,seq_aux=0", "", ""},
    {"experts", experts, EXPERTS ",n_tokens=4,n_routed_experts=5,num_experts_per_tok=3,hidden_states=f32", "", ""},
    {"experts", experts, EXPERTS ",n_tokens=2,n_routed_experts=6,num_experts_per_tok=2,hidden_states=bf16",
     ",grad_gate_proj=f32", ""},
    {"mla_prefill", mla_prefill, HEADS ",q_lens=3+1+2,kv_lens=3+4+5,q=f32", "", ""},
    {"mla_prefill", mla_prefill, HEADS ",q_lens=0+3+2+1,kv_lens=2+0+1+4,q=f32", "", "", "shifted"},
};
enum { ROWS = sizeof rows / sizeof *rows };

/* ---- a case: both ops over the same numbers ---- */

/* An input of the forward op, or all experts' matrices of one name; its gradient has as many elements as v. */
typedef struct {
    char name[64];
    int64_t count;
    double *v;
    int gradient; /* the tensor of the backward op; -1: the derivative is 0 */
} variable;

typedef struct {
    formula *y;
    problem back, p;
    void **back_data;
    forward f;
    mpfr_ptr *at[MAX_TENSORS]; /* the point: inputs of the forward op */
    int of[MAX_TENSORS];       /* the variable that an input belongs to */
    int variables, mark;
    variable variable[MOST_INPUTS];
    enclosures truth[TIERS];
} chain_case;

static bool is_real(const tensor_info *t)
{
    return t->dtype != DSV3_I32;
}

static bool is_input(const tensor_info *t)
{
    return t->row->kind != TENSOR_OUT && is_real(t);
}

static void parse(const row *r, const char *suffix, const char *more, const char *fill, problem *p, void ***data)
{
    char id[512];
    complaint why;
    snprintf(id, sizeof id, "%s%s@odd:%s%s;fill=%s", r->op, suffix, r->both, more, fill);
    cr_assert(problem_parse(id, p, &why), "%s: %s", id, why.text);
    cr_assert(tensors_open(p, data));
}

static int tensor_of(const problem *p, const char *name)
{
    const tensor_info *const t = problem_tensor(p, name);
    return t ? (int)(t - p->tensor) : -1;
}

/* The forward op gets the backward op's numbers; x alone, which was a sum, in two halves. */
static void share_inputs(const chain_case *c)
{
    for (int t = 0; t < c->p.tensors; t++) {
        const tensor_info *const own = &c->p.tensor[t];
        int const other = tensor_of(&c->back, own->name);
        if (own->row->kind == TENSOR_OUT || other < 0) continue;
        cr_assert(own->bytes == c->back.tensor[other].bytes && own->dtype == c->back.tensor[other].dtype);
        memcpy(c->f.data[t], c->back_data[other], own->bytes);
    }
    int const x = tensor_of(&c->p, "x"), residual = tensor_of(&c->p, "residual");
    for (int64_t i = 0; residual >= 0 && i < c->p.tensor[x].count; i++) {
        dsv3_dtype const format = c->p.tensor[x].dtype;
        double const half = ref_decode(format, c->f.data[x], i) / 2;
        ref_encode(format, c->f.data[x], i, half);
        ref_encode(format, c->f.data[residual], i, half);
        cr_assert(ref_decode(format, c->f.data[x], i) == half, "half of an element isn't one of its format");
    }
}

/* "gate_proj" of experts.3.gate_proj.weight, else the tensor's own name. */
static void variable_name(const tensor_info *t, char name[64])
{
    if (!t->row->repeat || sscanf(t->name, "experts.%*d.%63[^.]", name) != 1) snprintf(name, 64, "%s", t->name);
}

static void add_variable(chain_case *c, int tensor)
{
    const tensor_info *const t = &c->p.tensor[tensor];
    variable *const last = &c->variable[c->variables];
    char grad[80];
    variable_name(t, last->name);
    for (c->of[tensor] = 0; strcmp(c->variable[c->of[tensor]].name, last->name); c->of[tensor]++) continue;
    if (c->of[tensor] < c->variables) return;
    snprintf(grad, sizeof grad, "grad_%s", strcmp(last->name, "residual") ? last->name : "x");
    last->gradient = tensor_of(&c->back, grad);
    last->count = last->gradient < 0 ? t->count : c->back.tensor[last->gradient].count;
    last->v = calloc((size_t)last->count, sizeof *last->v);
    cr_assert(last->v && ++c->variables < MOST_INPUTS);
}

static void read_inputs(chain_case *c)
{
    c->f.value = calloc((size_t)c->p.tensors, sizeof *c->f.value);
    for (int t = 0; t < c->p.tensors; t++) {
        const tensor_info *const own = &c->p.tensor[t];
        c->f.value[t] = is_real(own) ? calloc((size_t)own->count, sizeof **c->f.value) : NULL;
        c->at[t] = is_input(own) ? calloc((size_t)own->count, sizeof *c->at[t]) : NULL;
        for (int64_t i = 0; c->at[t] && i < own->count; i++)
            c->at[t][i] = number(ref_decode(own->dtype, c->f.data[t], i));
        if (is_input(own)) add_variable(c, t);
    }
    c->mark = numbers_mark();
}

/* ---- the loss <grad_y, y(x + h v)> ---- */

/* An element of v: those of an expert follow one another, and a vector may be shared by neighbouring heads. */
static double along(const chain_case *c, int tensor, int64_t i)
{
    const tensor_info *const t = &c->p.tensor[tensor];
    const variable *const own = &c->variable[c->of[tensor]];
    int64_t const width = t->shape[t->ndim - 1], sharing = t->count / own->count;
    if (t->row->repeat) return own->v[t->index * t->count + i];
    return own->v[i / width / sharing * width + i % width];
}

static void evaluate(chain_case *c, double h)
{
    numbers_back_to(c->mark);
    for (int t = 0; t < c->p.tensors; t++)
        for (int64_t i = 0; c->f.value[t] && i < c->p.tensor[t].count; i++) {
            double const v = c->at[t] ? along(c, t, i) : 0;
            c->f.value[t][i] = !c->at[t] ? NULL : v == 0 ? c->at[t][i] : plus(c->at[t][i], times(number(h), number(v)));
        }
    c->y(&c->f);
}

/* sizes: the sum of what adds up to it, without signs. */
static mpfr_ptr loss_of(const chain_case *c, double *sizes)
{
    mpfr_ptr sum = number(0);
    *sizes = 0;
    for (int b = 0; b < c->back.tensors; b++) {
        const tensor_info *const grad = &c->back.tensor[b];
        if (grad->row->kind != TENSOR_IN || strncmp(grad->name, "grad_", 5)) continue;
        mpfr_ptr *const y = c->f.value[tensor_of(&c->p, grad->name + 5)];
        for (int64_t i = 0; i < grad->count; i++) {
            mpfr_ptr const term = times(y[i], number(ref_decode(grad->dtype, c->back_data[b], i)));
            sum = plus(sum, term);
            *sizes += fabs(mpfr_get_d(term, MPFR_RNDN));
        }
    }
    return sum;
}

/* The central difference with the step h. */
static void difference(chain_case *c, double h, mpfr_ptr d, double *sizes)
{
    evaluate(c, -h);
    mpfr_set(d, loss_of(c, sizes), MPFR_RNDN);
    evaluate(c, h);
    mpfr_sub(d, loss_of(c, sizes), d, MPFR_RNDN);
    mpfr_div_d(d, d, 2 * h, MPFR_RNDN);
}

/* ---- what the gradients say ---- */

/* <grad_x, v>: its value, its radius, and its terms without signs. */
typedef struct {
    mpfr_ptr value;
    double radius, sizes;
} claim;

static claim claimed(const chain_case *c, int tier)
{
    claim sum = {number(0), 0, 0};
    for (int k = 0; k < c->variables; k++) {
        const variable *const x = &c->variable[k];
        for (int64_t i = 0; x->gradient >= 0 && i < x->count; i++) {
            ref_value const g = c->truth[tier].value[x->gradient][i];
            sum.value = plus(sum.value, times(number(x->v[i]), plus(number(g.hi), number(g.lo))));
            sum.radius += fabs(x->v[i]) * g.radius;
            sum.sizes += fabs(x->v[i] * g.hi);
        }
    }
    return sum;
}

static double distance(mpfr_ptr a, mpfr_ptr b)
{
    return fabs(mpfr_get_d(minus(a, b), MPFR_RNDA));
}

static double worst; /* the largest share of what was allowed */
static long directions;

/* Along v. The difference itself is off by less than its distance from that of twice the step, and by rounding. */
static void check_direction(chain_case *c, const char *what)
{
    double sizes;
    mpfr_t d, twice;
    mpfr_inits2(NUMBER_BITS, d, twice, (mpfr_ptr)0);
    difference(c, 2 * STEP, twice, &sizes);
    difference(c, STEP, d, &sizes);
    double const slack = distance(d, twice) + 0x1p-300 * sizes;
    for (int t = 0; t < TIERS; t++) {
        claim const g = claimed(c, t);
        double const off = distance(g.value, d), most = NEAR * g.sizes + ZERO * sizes;
        cr_expect(slack <= 0x1p-40 * most, "%s, %s: the difference is off by up to %g", c->back.id, what, slack);
        cr_expect(off <= g.radius + slack, "%s, tier %s, %s: off by %g, the radius is %g", c->back.id, tiers[t]->tier,
                  what, off, g.radius);
        cr_expect(off <= most && g.radius <= most, "%s, tier %s, %s: off by %g, radius %g, of %g", c->back.id,
                  tiers[t]->tier, what, off, g.radius, g.sizes);
        worst = fmax(worst, fmax(off, g.radius) / most);
    }
    mpfr_clears(d, twice, (mpfr_ptr)0);
    directions++;
}

/* ---- directions ---- */

static void draw(variable *x, int seed)
{
    for (int64_t i = 0; i < x->count; i++)
        x->v[i] = rng_gaussian(rng_bits(rng_key((uint64_t)seed, x->name), (uint64_t)i));
}

static void clear(variable *x)
{
    memset(x->v, 0, (size_t)x->count * sizeof *x->v);
}

static void check_all_at_once(chain_case *c, int seed)
{
    for (int k = 0; k < c->variables; k++) draw(&c->variable[k], seed);
    check_direction(c, "all inputs");
    for (int k = 0; k < c->variables; k++) clear(&c->variable[k]);
}

static void check_alone(chain_case *c, variable *x)
{
    char what[96];
    draw(x, 3);
    check_direction(c, x->name);
    clear(x);
    for (int64_t i = 0; i < x->count; i++) {
        snprintf(what, sizeof what, "%s, element %d", x->name, (int)i);
        x->v[i] = 1;
        check_direction(c, what);
        x->v[i] = 0;
    }
}

/* ---- the forward op of ref/ at x ---- */

static void check_output(const chain_case *c, const ref_value *ball, int tensor, int tier)
{
    const tensor_info *const t = &c->p.tensor[tensor];
    for (int64_t i = 0; i < t->count; i++) {
        mpfr_ptr const y = c->f.value[tensor][i];
        double const off = y ? distance(y, plus(number(ball[i].hi), number(ball[i].lo))) : 0;
        double const rounding = y ? 0x1p-300 * fabs(mpfr_get_d(y, MPFR_RNDN)) : 0;
        cr_expect(y || isinf(ball[i].hi), "%s, tier %s: %s[%d] isn't finite", c->p.id, tiers[tier]->tier, t->name,
                  (int)i);
        cr_expect(off <= ball[i].radius + rounding, "%s, tier %s: %s[%d] is off by %g, the radius is %g", c->p.id,
                  tiers[tier]->tier, t->name, (int)i, off, ball[i].radius);
    }
}

/* The reference chooses the same experts by itself, in any order. */
static void check_choice(const chain_case *c, const ref_value *own, int tensor, int tier)
{
    const tensor_info *const t = &c->p.tensor[tensor];
    int64_t const k = t->shape[1];
    for (int64_t i = 0; i < t->count; i++) {
        double const chosen = ref_decode(t->dtype, c->f.data[tensor], i);
        bool found = false;
        for (int64_t j = i - i % k; j < i - i % k + k; j++) found |= own[j].hi == chosen;
        cr_expect(found, "%s, tier %s: token %d goes to expert %g", c->p.id, tiers[tier]->tier, (int)(i / k), chosen);
    }
}

/* The weights of a gate are those of the choice that the formula left in data. */
static void check_forward(chain_case *c)
{
    evaluate(c, 0);
    for (int tier = 0; tier < TIERS; tier++) {
        ref_reading exact = {.declared = NULL};
        enclosures free_choice, given;
        cr_assert(enclose(&c->p, &exact, tiers[tier], c->f.data, &free_choice));
        exact.teacher_forced = c->f.chosen;
        cr_assert(enclose(&c->p, &exact, tiers[tier], c->f.data, &given));
        for (int t = 0; t < c->p.tensors; t++) {
            if (c->p.tensor[t].row->kind != TENSOR_OUT) continue;
            if (is_real(&c->p.tensor[t]))
                check_output(c, given.value[t], t, tier);
            else
                check_choice(c, free_choice.value[t], t, tier);
        }
        enclosures_free(&free_choice);
        enclosures_free(&given);
    }
}

/* ---- a case ---- */

/* Each gradient is some input's. */
static void expect_all_gradients(const chain_case *c)
{
    for (int t = 0; t < c->back.tensors; t++) {
        int k = 0;
        while (k < c->variables && c->variable[k].gradient != t) k++;
        bool const is_gradient = c->back.tensor[t].row->kind == TENSOR_OUT;
        cr_assert(!is_gradient || k < c->variables, "%s of %s is no input's", c->back.tensor[t].name, c->back.id);
    }
}

static void open_case(chain_case *c, const row *r, const char *fill)
{
    parse(r, "_backward", r->backward, fill, &c->back, &c->back_data);
    parse(r, "", r->forward, "real", &c->p, &c->f.data);
    c->f.p = &c->p;
    share_inputs(c);
    read_inputs(c);
    expect_all_gradients(c);
}

static void read_truth(chain_case *c)
{
    ref_reading const exact = {.declared = NULL};
    int const chosen = tensor_of(&c->p, "topk_idx"), given = tensor_of(&c->back, "topk_idx");
    if (c->f.chosen) memcpy(c->back_data[given], c->f.data[chosen], c->p.tensor[chosen].bytes);
    for (int t = 0; t < TIERS; t++) cr_assert(enclose(&c->back, &exact, tiers[t], c->back_data, &c->truth[t]));
}

static void close_case(chain_case *c)
{
    for (int t = 0; t < TIERS; t++) enclosures_free(&c->truth[t]);
    for (int t = 0; t < c->p.tensors; t++) free(c->f.value[t]), free(c->at[t]);
    for (int k = 0; k < c->variables; k++) free(c->variable[k].v);
    free(c->f.value);
    tensors_close(&c->p, c->f.data);
    tensors_close(&c->back, c->back_data);
    problem_close(&c->p);
    problem_close(&c->back);
    numbers_free();
}

static void check_case(const row *r, const char *fill)
{
    static chain_case c;
    c = (chain_case){.y = r->y};
    open_case(&c, r, fill);
    check_forward(&c);
    read_truth(&c);
    for (int seed = 1; seed <= 2; seed++) check_all_at_once(&c, seed);
    for (int k = 0; k < c.variables; k++) check_alone(&c, &c.variable[k]);
    close_case(&c);
}

static void check_op(const char *name)
{
    for (int i = 0; i < ROWS; i++) {
        if (strcmp(rows[i].op, name)) continue;
        check_case(&rows[i], "real");
        check_case(&rows[i], "adversarial");
        if (rows[i].fill) check_case(&rows[i], rows[i].fill);
    }
    printf("chain %-13s %5ld directions, at most %.1e of what is allowed\n", name, directions, worst);
}

Test(chain, every_gradient_has_a_case)
{
    for (int i = 0; ops[i]; i++) {
        const char *const suffix = strstr(ops[i]->name, "_backward");
        int found = 0;
        for (int k = 0; suffix && k < ROWS; k++)
            found += !strncmp(rows[k].op, ops[i]->name, (size_t)(suffix - ops[i]->name)) &&
                     !rows[k].op[suffix - ops[i]->name];
        cr_expect(!suffix || found, "%s has no case here", ops[i]->name);
    }
}

Test(chain, of_swiglu)
{
    check_op("swiglu");
}

Test(chain, of_rope)
{
    check_op("rope");
}

Test(chain, of_linear)
{
    check_op("linear");
}

Test(chain, of_embed)
{
    check_op("embed");
}

Test(chain, of_rmsnorm)
{
    check_op("rmsnorm");
}

Test(chain, of_cross_entropy)
{
    check_op("cross_entropy");
}

Test(chain, of_gate)
{
    check_op("gate");
}

Test(chain, of_balance_loss)
{
    check_op("balance_loss");
}

Test(chain, of_experts)
{
    check_op("experts");
}

Test(chain, of_mla_prefill)
{
    check_op("mla_prefill");
}
