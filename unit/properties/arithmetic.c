/* Norms and products as legal ports compute them: by a quotient or a product with the root, in binary64, with means that
 * are cast first, from inputs that are converted. None may leave the conforming ball; what is declared falsely must. */
#include "ref.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "declared.h"

TestSuite(arithmetic, .timeout = 60);

enum { WIDTH = 12, ROUNDS = 3000 };

/* ---- rmsnorm ---- */

static float mean_square(const float *x)
{
    float sum = 0;
    for (int i = 0; i < WIDTH; i++) sum += x[i] * x[i];
    return sum / (float)WIDTH + 1e-6f;
}

static float by_root(const float *x, int i)
{
    return x[i] / sqrtf(mean_square(x));
}

static float by_reciprocal(const float *x, int i)
{
    return x[i] * (1 / sqrtf(mean_square(x)));
}

static double wide_sum(const float *x)
{
    double sum = 0;
    for (int i = 0; i < WIDTH; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

static float in_binary64(const float *x, int i)
{
    return (float)((double)x[i] * (1 / sqrt(wide_sum(x) / WIDTH + 1e-6)));
}

/* The sum is cast before it is divided; or the mean, or what stands under the root. */
static float cast_first(const float *x, int i)
{
    return x[i] * (1 / sqrtf((float)wide_sum(x) / (float)WIDTH + 1e-6f));
}

static float cast_last(const float *x, int i)
{
    return x[i] * (1 / sqrtf((float)(wide_sum(x) / WIDTH + 1e-6)));
}

static const struct {
    const char *declared;
    float (*of)(const float *x, int i);
    bool legal;
} norms[] = {
    {"acc 24 rn; rsqrt root; div ieee; flush none; x_norm f32 must", by_root, true},
    {"acc 24 rn; rsqrt ieee; div ieee; flush none; x_norm f32 must", by_root, true},
    {"acc 24 rn; rsqrt ieee; div ieee; flush none; x_norm f32 must", by_reciprocal, true},
    {"acc 24 rn; rsqrt recip; div ieee; flush none; x_norm f32 must", by_reciprocal, true},
    {"acc 53 rn; rsqrt ieee; div ieee; arith f64; flush none", in_binary64, true},
    {"acc 53 rn; rsqrt recip; div ieee; flush none; x_norm f32 must", cast_first, true},
    {"acc 53 rn; rsqrt recip; div ieee; flush none; x_norm f32 must", cast_last, true},
    {"acc 53 rn; rsqrt root; div ieee; flush none; x_norm f32 must", cast_first, false},
    {"acc 53 rn; rsqrt ieee; div ieee; arith f64; flush none", cast_last, false},
};

/* Elements outside. */
static int run_norm(int row)
{
    float x[WIDTH], weight[WIDTH];
    ref_value y[WIDTH];
    dsv3_weight const named = {"weight", {weight, DSV3_F32, 1, {WIDTH}, {1}}};
    dsv3_rmsnorm_prob const prob = {.n_tokens = 1, .hidden_size = WIDTH, .rms_norm_eps = 1e-6};
    dsv3_rmsnorm_io const io = {.x = {x, DSV3_F32, 2, {1, WIDTH}, {WIDTH, 1}},
                                .weights = {1, &named},
                                .y = {NULL, DSV3_F32, 2, {1, WIDTH}, {WIDTH, 1}}};
    ref_numerics const n = numerics("rmsnorm", norms[row].declared);
    ref_reading const rd = {&n, ref_none(), false};
    int outside = 0;
    for (int k = 0; k < ROUNDS; k++) {
        for (int i = 0; i < WIDTH; i++) {
            bool const small = i > 0 && k % 2; /* every other sum is exact in binary32 */
            x[i] = small ? 0 : (float)(drand48() * 4 - 2);
            if (k % 2) x[i] = (float)ref_round(DSV3_BF16, (double)x[i]);
            weight[i] = 1;
        }
        cr_assert(ref_dd.rmsnorm(&rd, &prob, &io, (ref_value *const[]){y, NULL}));
        for (int i = 0; i < WIDTH; i++) outside += !inside(&y[i], (double)norms[row].of(x, i));
    }
    return outside;
}

Test(arithmetic, norms)
{
    srand48(31);
    for (int i = 0; i < (int)(sizeof norms / sizeof *norms); i++) {
        int const outside = run_norm(i);
        cr_expect((outside == 0) == norms[i].legal, "row %d, %s: %d outside", i, norms[i].declared, outside);
    }
}

/* ---- linear ---- */

static const struct {
    const char *declared;
    bool converts, legal;
} products[] = {
    {"acc 53 rn; flush none; arith f64; x bf16 must", true, true},
    {"acc 53 rn; flush none; arith f64; x bf16 may", true, true},
    {"acc 53 rn; flush none; arith f64; x bf16 may", false, true},
    {"acc 53 rn; flush none; arith f64; x bf16 must", false, false},
    {"acc 53 rn; flush none; arith f64", true, false},
};

static int run_product(int row)
{
    float x[WIDTH], weight[WIDTH];
    ref_value y;
    dsv3_weight const named = {"weight", {weight, DSV3_F32, 2, {1, WIDTH}, {WIDTH, 1}}};
    dsv3_linear_prob const prob = {.n_tokens = 1, .in_features = WIDTH, .out_features = 1};
    dsv3_linear_io const io = {.x = {x, DSV3_F32, 2, {1, WIDTH}, {WIDTH, 1}},
                               .weights = {1, &named},
                               .y = {NULL, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_numerics const n = numerics("linear", products[row].declared);
    ref_reading const rd = {&n, ref_none(), false};
    int outside = 0;
    for (int k = 0; k < ROUNDS; k++) {
        double sum = 0;
        for (int i = 0; i < WIDTH; i++) {
            x[i] = (float)(drand48() - 0.5), weight[i] = (float)(drand48() - 0.5);
            sum += (products[row].converts ? ref_round(DSV3_BF16, (double)x[i]) : (double)x[i]) * (double)weight[i];
        }
        cr_assert(ref_dd.linear(&rd, &prob, &io, (ref_value *const[]){&y}));
        outside += !inside(&y, (double)(float)sum);
    }
    return outside;
}

Test(arithmetic, inputs_that_are_converted)
{
    srand48(32);
    for (int i = 0; i < (int)(sizeof products / sizeof *products); i++) {
        int const outside = run_product(i);
        cr_expect((outside == 0) == products[i].legal, "row %d, %s: %d outside", i, products[i].declared, outside);
    }
}

/* ---- quant ---- */

/* x (448 / amax) is 2.18 units from x / s, s = amax / 448 stored, and beyond the midpoint of two codes. (Lemma Code) */
Test(arithmetic, two_divisions_of_a_scale)
{
    float x[2] = {1.36851132f, 0.0129825305f}, scale = x[0] / 448;
    uint8_t q[2] = {0};
    ref_value s, code[2];
    dsv3_quant_prob const prob = {.n_tokens = 1, .in_features = 2};
    dsv3_quant_io const io = {.x = {x, DSV3_F32, 2, {1, 2}, {2, 1}},
                              .q = {q, DSV3_F8_E4M3, 2, {1, 2}, {2, 1}},
                              .scale = {&scale, DSV3_F32, 2, {1, 1}, {1, 1}}};
    ref_numerics const n = numerics("quant", "quotient recip; div ieee; flush none");
    ref_reading const rd = {.declared = &n, .teacher_forced = true};
    cr_assert(ref_dd.quant(&rd, &prob, &io, (ref_value *const[]){&s, code}));
    double const by_inverse = ref_round(DSV3_F8_E4M3, (double)(x[1] * (448 / x[0])));
    double const exact = (double)x[1] / (double)scale;
    cr_expect(fabs((double)(x[1] * (448 / x[0])) / exact - 1) > 2.1 * 0x1p-24);
    cr_expect(inside(&code[1], by_inverse), "%g is not in [%g, %g]", by_inverse, ref_lower(code[1]),
              ref_upper(code[1]));
}
