/*
 * legal: honest ports. Each op does its formula in one of many legal ways, drawn from the number in the environment
 * variable LEGAL ("7", or "7,exp=2,order=0" to set single choices), and declares exactly what it does.
 *
 * They are written from include/dsv3.h, docs/components and the grammar of declarations alone. The judge must pass
 * every one of them: where it doesn't, a lemma has a hole or the grammar a gap.
 */
#ifndef LEGAL_H
#define LEGAL_H

#include "dsv3.h"
#include "number.h"
#include "units.h"

enum { LEGAL_TEXT = 2048 };
enum legal_order { FORWARD, BACKWARD, SHUFFLED, LANES, TREE };
enum legal_arith { IN_F32, IN_F64, IN_BF16 };

/* An error of a function: rel + slope |argument| units of 2^-24, relative, and absolute units besides. */
typedef struct {
    double rel, slope, absolute;
} legal_error;

/* A point in the format drawn for it, or kept. */
typedef struct {
    bool rounds;
    number_format format;
} legal_point;

/* One configuration. */
typedef struct {
    uint64_t key, habits;
    char const *prefix; /* of names of points: that of a part, or empty */
    char text[LEGAL_TEXT];
    /* sums */
    number_format acc, outer;
    enum legal_order order;
    bool fused, merges_in_tree;
    int block, guard, splits, promote;
    legal_unit const *unit; /* a matrix unit by name, or NULL */
    /* elementwise */
    enum legal_arith arith;
    bool ftz, daz, cut_output;
    int direction; /* of errors: 1 up, -1 down, 0 by the bits of the result */
    legal_error exp, log, sigmoid, sincos;
    double div, rsqrt;   /* 0: correctly rounded */
    bool error_by_two;   /* of a division by a power of two */
    bool reciprocal;     /* a / b as a * (1 / b) */
    bool rounds_sigmoid; /* silu: gate times a sigmoid that was rounded */
    legal_point gate_sigmoid;
    bool query_scaled;    /* attention: softmax_scale multiplies the query */
    int parts, keys;      /* attention: of the keys; keys a block of a running softmax, 0: none */
    double late;          /* attention: multiplies sums of FP8 codes; 0: codes are dequantised */
    legal_point point[9]; /* of the op, in an order of its own */
} legal;

/* The choice named `name` of `count`: drawn, or set by LEGAL. */
int legal_draw(legal const *c, char const *name, int count);
/* The same of what no declaration tells. LEGAL=7,habit=3 draws these choices anew, and so does a copy or link legal.3.so, which
 * an environment that ports share can't tell apart: ports that differ in them alone declare the same. */
int legal_habit(legal const *c, char const *name, int count);
void legal_start(legal *c, char const *op, int64_t a, int64_t b, int64_t d, int dtype);

/* Draw one group of choices and declare it. */
void legal_sums(legal *c, bool chain_only);
/* The same where both operands of every sum are BF16: matrix units by name too. True if one was drawn. */
bool legal_unit_sums(legal *c);
void legal_arithmetic(legal *c, bool bf16);
void legal_division(legal *c);
void legal_functions(legal *c, char const *words); /* of "exp log sigmoid sincos rsqrt" */
/* Is the output of that name cut instead of rounded? LEGAL=7,nearest=1: none is. */
bool legal_cuts(legal const *c, char const *name);
void legal_output(legal *c, char const *name, dsv3_dtype dtype);
void legal_say(legal *c, char const *format, ...) __attribute__((format(printf, 2, 3)));

/* Draws the format of a point and declares it. */
legal_point legal_round_at(legal *c, char const *name, dsv3_dtype dtype);
double legal_at(legal const *c, legal_point point, double x);

/* sum a_i b_i; b NULL: sum a_i. */
double legal_dot(legal const *c, int64_t n, double const *a, double const *b);
/* A chain that goes on from start; for sums without parts or promotions, or in any order. */
double legal_dot_on(legal const *c, double start, int64_t n, double const *a, double const *b);
double legal_add(legal const *c, double a, double b); /* as the accumulator adds */
/* sum + x as the promoted accumulator adds; x may be a product of two numbers of binary32, unrounded. */
double legal_promoted(legal const *c, double sum, double x);

/* The result x of one operation, rounded as elementwise arithmetic rounds. */
double legal_op(legal const *c, double x);
double legal_cast(legal const *c, double sum); /* a sum, on its way to elementwise arithmetic */
double legal_div(legal const *c, double a, double b);
/* n <= 8 factors multiplied, two after two, in an order drawn by name. */
double legal_product(legal const *c, char const *name, int n, double const *factor);
double legal_exp(legal const *c, double x);
double legal_log(legal const *c, double x);
double legal_sigmoid(legal const *c, double x);
/* z times its sigmoid; whether the sigmoid is a point of its own is drawn and declared by legal_silu_config. */
double legal_silu(legal const *c, double z);
void legal_silu_config(legal *c, dsv3_dtype dtype);
/* The factors of silu'(z) into f: s and 1 + z (1 - s), or one number. Returns how many. */
int legal_slope(legal const *c, double z, double s, double silu, double *f);
double legal_rsqrt(legal const *c, double x);
double legal_shift(legal const *c, long double exact, legal_error error, double argument);
double legal_constant(legal const *c, double x); /* of a problem: in binary32 unless arithmetic is wider */

double legal_load(legal const *c, dsv3_tensor const *t, int64_t at);
void legal_store(legal const *c, dsv3_tensor const *t, int64_t at, double x);
int64_t legal_row(dsv3_tensor const *t, int64_t i);

/* The choice of a token by its logits z, and the weights of the chosen. work: 3 n_routed_experts doubles. */
enum { LEGAL_CHOSEN = 64 };
void legal_route(legal const *c, dsv3_gate_prob const *p, double const *z, dsv3_tensor const *bias, double *work,
                 int32_t *chosen, double *w);

/* Attention of one query over n keys of width w with values of width v, whose rows are value_step apart: the weighted
 * values in o, lse returned. q is used up. legal_attention_config draws and declares parts to P,
 * for at most `keys` keys. */
void legal_attention_config(legal *c, dsv3_dtype dtype, int64_t keys);
double legal_attend(legal const *c, double scale, int64_t n, int64_t w, int64_t v, double *q, double const *key,
                    double const *value, int64_t value_step, double *o);

/* Of rotary embedding: f_j and g(m). */
long double legal_frequency(dsv3_rope_prob const *p, int64_t j);
long double legal_mscale(double m, double factor);

/* Room for n doubles until the op returns; NULL when it is used up. */
double *legal_room(int64_t n);
void legal_reset(void);

/* clang-format off */
#define LEGAL_PORTS(PORT) \
    PORT(rmsnorm) \
    PORT(linear) \
    PORT(swiglu) \
    PORT(cross_entropy) \
    PORT(quant) \
    PORT(mla_decode) \
    PORT(mla_prefill) \
    PORT(rope) \
    PORT(gate) \
    PORT(bias_update) \
    PORT(embed) \
    PORT(balance_loss) \
    PORT(mtp_accept) \
    PORT(experts) \
    PORT(moe) \
    PORT(mla) \
    PORT(mtp) \
    PORT(swiglu_backward) \
    PORT(cross_entropy_backward) \
    PORT(rmsnorm_backward) \
    PORT(rope_backward) \
    PORT(linear_backward) \
    PORT(embed_backward) \
    PORT(gate_backward) \
    PORT(balance_loss_backward) \
    PORT(mla_prefill_backward) \
    PORT(experts_backward) \
    PORT(merge_state) \
    PORT(mtp_inputs) \
    PORT(cache_store)
/* clang-format on */

#define OP(op)                                                                                                         \
    dsv3_status legal_##op(dsv3_ctx *, dsv3_##op##_prob const *, dsv3_##op##_io const *);                              \
    void legal_##op##_config(legal *, dsv3_##op##_prob const *, dsv3_##op##_io const *);
LEGAL_PORTS(OP)
#undef OP

#endif
