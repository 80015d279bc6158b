/* Attention over values that are balls: every point of them is inside, exact and conforming, and not much else. */
#include "attention.h"
#include "scratch.h"

#include <criterion/criterion.h>
#include <stdio.h>

TestSuite(attention, .timeout = 60);

enum { ROWS = 5, LEN = 23, DIM = 4, WIDTH = 3 };

static double query[ROWS * DIM], key[LEN * DIM], number[LEN * WIDTH];
static ball value[LEN * WIDTH];
static operand query_row[ROWS], key_row[LEN];
static int64_t seen[ROWS];
static scratch memory;

static double draw(void)
{
    return (double)ref_round(DSV3_BF16, 2 * drand48() - 1);
}

/* Values near 1 with a radius each, and low words if `low`. */
static attention prepare(const ref_reading *rd, double radius, bool low)
{
    for (int i = 0; i < ROWS * DIM; i++) query[i] = draw();
    for (int i = 0; i < LEN * DIM; i++) key[i] = draw();
    for (int i = 0; i < LEN * WIDTH; i++) {
        number[i] = 1 + draw();
        value[i] = ball_of(number[i]);
        if (low) value[i] = ball_add(value[i], ball_of(draw() * 0x1p-60));
        value[i] = ball_widen(value[i], radius * drand48());
    }
    for (int r = 0; r < ROWS; r++) query_row[r] = operand_of(query + r * DIM, NULL, DIM), seen[r] = LEN - ROWS + 1 + r;
    for (int j = 0; j < LEN; j++) key_row[j] = operand_of(key + j * DIM, NULL, DIM);
    return (attention){.rd = rd,
                       .scale_q = POINT_mla_prefill_scale,
                       .scores = POINT_mla_prefill_scores,
                       .P = POINT_mla_prefill_P,
                       .output = DSV3_F32,
                       .scale = ball_of(2),
                       .rows = ROWS,
                       .len = LEN,
                       .width = WIDTH,
                       .query = query_row,
                       .key = key_row,
                       .seen = seen,
                       .value = value,
                       .stride = WIDTH};
}

/* o of a row for some points of the values, by a softmax in binary32 whose scores are rounded to a format, and whose weights
 * are rounded to one before they meet the values. */
static double simulate(int r, int c, double end, dsv3_dtype scores, dsv3_dtype stored)
{
    float max = -INFINITY, sum = 0, total = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int j = 0; j < seen[r]; j++) {
            float s = 0;
            for (int i = 0; i < DIM; i++) s += (float)query[r * DIM + i] * (float)key[j * DIM + i];
            s = (float)ref_round(scores, (double)(2 * s));
            if (pass == 0) max = fmaxf(max, s);
            if (pass == 0) continue;
            float const w = expf(s - max);
            double const v = number[j * WIDTH + c] + end * value[j * WIDTH + c].r;
            sum += w;
            total += (float)ref_round(stored, (double)w) * (float)v;
        }
    return (double)(total / sum);
}

/* |got - centre| / radius */
static double used(ball b, double got)
{
    return ball_sup(ball_sub(ball_of(got), (ball){b.c, 0})) / b.r;
}

/* The ends of all values at once reach the ends of o, within the errors of binary32. */
Test(attention, every_point_of_the_values_is_inside)
{
    ref_reading const exact = {.scratch = &memory};
    ball o[ROWS * WIDTH], lse[ROWS];
    double worst = 0, least = 1;
    srand48(3);
    for (int round = 0; round < 200; round++) {
        attention const a = prepare(&exact, 0x1p-6, round % 2);
        attend(&a, o, lse);
        for (int i = 0; i < ROWS * WIDTH; i++) {
            double const up = used(o[i], simulate(i / WIDTH, i % WIDTH, 1 - 0x1p-12, DSV3_F32, DSV3_F32));
            double const down = used(o[i], simulate(i / WIDTH, i % WIDTH, 0x1p-12 - 1, DSV3_F32, DSV3_F32));
            worst = fmax(worst, fmax(up, down));
            least = fmin(least, fmin(up, down));
        }
    }
    printf("attention: ends of the values at %.4f to %.4f of the radius\n", least, worst);
    cr_expect(worst <= 1 && least > 0.99);
}

/* One value that is anything from -1 to 1, of a key whose score is not near the others, all 0. */
static attention prepare_unknown(const ref_reading *rd)
{
    attention const a = prepare(rd, 0, false);
    for (int i = 0; i < LEN * DIM; i++) key[i] = i < DIM ? key[i] : 0;
    for (int i = 0; i < LEN * WIDTH; i++) {
        number[i] = 0;
        value[i] = ball_widen(ball_of(0), i < WIDTH);
    }
    for (int j = 0; j < LEN; j++) key_row[j] = operand_of(key + j * DIM, NULL, DIM);
    return a;
}

/* What a port makes of any of these values. */
Test(attention, ports_are_inside)
{
    static const struct {
        const char *declared;
        dsv3_dtype scores, P;
    } rows[] = {{"scores f32 must; P bf16 must", DSV3_F32, DSV3_BF16},
                {"scores bf16 may; P f32 must", DSV3_BF16, DSV3_F32},
                {"scores f32 must; P f32 must", DSV3_F32, DSV3_F32}};
    ball o[ROWS * WIDTH], lse[ROWS];
    char text[200], why[200];
    ref_numerics n;
    srand48(4);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int size = 0; size < 4; size++) {
            double worst = 0;
            ref_reading const rd = {.declared = &n, .scratch = &memory};
            snprintf(text, sizeof text,
                     "acc 24 rn; div ieee; exp 2; log 2; rescales 0; scaled scores; parts 1; flush none; %s",
                     rows[i].declared);
            cr_assert(ref_numerics_parse("mla_prefill", text, &n, why, sizeof why), "%s", why);
            for (int round = 0; round < 100; round++) {
                attention const a =
                    size == 3 ? prepare_unknown(&rd) : prepare(&rd, size ? ldexp(1, -30 + 12 * size) : 0, false);
                attend(&a, o, lse);
                for (int k = 0; k < 2 * ROWS * WIDTH; k++) {
                    double const end = k % 2 ? 1 : -1;
                    double const port = simulate(k / 2 / WIDTH, k / 2 % WIDTH, end, rows[i].scores, rows[i].P);
                    worst = fmax(worst, used(o[k / 2], port));
                }
            }
            printf("attention: %s, values %d: %.4f of the radius\n", rows[i].declared, size, worst);
            cr_expect(worst <= 1 && worst > 0.02);
        }
}

/* Points are points, whichever way they are handed over. */
Test(attention, balls_of_radius_0_are_numbers)
{
    ref_reading const exact = {.scratch = &memory};
    ball o[2][ROWS * WIDTH], lse[2][ROWS];
    srand48(5);
    attention a = prepare(&exact, 0, false);
    attend(&a, o[0], lse[0]);
    a.number = number;
    a.value = NULL;
    attend(&a, o[1], lse[1]);
    for (int i = 0; i < ROWS * WIDTH; i++) {
        double const apart = ball_sup(ball_sub((ball){o[0][i].c, 0}, (ball){o[1][i].c, 0}));
        cr_expect(apart <= o[0][i].r + o[1][i].r && o[0][i].r < 0x1p-80, "%g apart, radius %g", apart, o[0][i].r);
    }
    seen[0] = 0;
    attend(&a, o[1], lse[1]);
    cr_expect(ball_is_point(o[1][0]) && ball_sup(o[1][0]) == 0 && ball_is_any(lse[1][0]));
}

/* More rows than are in work at once. */
Test(attention, blocks_of_rows_do_not_matter)
{
    enum { MANY = 300 };
    static operand many[MANY];
    static int64_t many_seen[MANY];
    static ball o[MANY * WIDTH], lse[MANY];
    ball once[ROWS * WIDTH], lse_once[ROWS];
    ref_reading const exact = {.scratch = &memory};
    srand48(6);
    attention a = prepare(&exact, 0x1p-20, true);
    attend(&a, once, lse_once);
    for (int i = 0; i < MANY; i++) many[i] = query_row[i % ROWS], many_seen[i] = seen[i % ROWS];
    a.rows = MANY;
    a.query = many;
    a.seen = many_seen;
    attend(&a, o, lse);
    for (int i = 0; i < MANY * WIDTH; i++) {
        ball const apart = ball_sub(o[i], once[i % (ROWS * WIDTH)]);
        cr_expect(ball_lower(apart) <= 0 && ball_upper(apart) >= 0);
    }
}

/* ---- FP8 caches ---- */

enum { RANK = 4, KEY = RANK + 2, MOST = 64 };

/* What a port does with codes and their scale. */
typedef enum { SCALES_LATE, ROUNDS_KEY } habit;

/* lse in o[RANK]. */
static void simulate_cache(habit h, const float *q, const uint8_t *codes, float scale, int n, float *o)
{
    float max = -INFINITY, s[MOST], w, sum = 0;
    float k[MOST][KEY];
    for (int j = 0; j < n; j++) {
        s[j] = 0;
        for (int c = 0; c < KEY; c++) {
            double const code = ref_decode(DSV3_F8_E4M3, codes, j * KEY + c);
            k[j][c] = (float)(h == SCALES_LATE ? code : ref_round(DSV3_BF16, (double)((float)code * scale)));
            s[j] += q[c] * k[j][c];
        }
        if (h == SCALES_LATE) s[j] *= scale;
        max = fmaxf(max, s[j]);
    }
    for (int c = 0; c < RANK; c++) o[c] = 0;
    for (int j = 0; j < n; j++) {
        sum += w = expf(s[j] - max);
        for (int c = 0; c < RANK; c++) o[c] += w * k[j][c];
    }
    for (int c = 0; c < RANK; c++) o[c] = o[c] / sum * (h == SCALES_LATE ? scale : 1);
    o[RANK] = max + logf(sum);
}

/* The largest |port - centre| / radius of one round. */
static double cache_round(habit h, const ref_numerics *declared, int n)
{
    float q[KEY], o[RANK + 1], scale = (float)((1 + drand48()) / 64);
    uint8_t codes[MOST * KEY];
    int32_t block = 0, length = n;
    ref_value legal_o[RANK], legal_lse;
    for (int c = 0; c < KEY; c++) q[c] = (float)(drand48() - 0.5);
    for (int i = 0; i < MOST * KEY; i++) ref_encode(DSV3_F8_E4M3, codes, i, 64 + 32 * drand48());
    dsv3_weight const one = {"kv_scale", {&scale, DSV3_F32, 1, {1}, {1}}};
    dsv3_mla_decode_prob const p = {1, 1, 1, RANK, 2, 2, MOST, n, 1};
    dsv3_mla_decode_io const io = {.q = {q, DSV3_F32, 4, {1, 1, 1, KEY}, {KEY, KEY, KEY, 1}},
                                   .kv_cache = {codes, DSV3_F8_E4M3, 3, {1, MOST, KEY}, {MOST * KEY, KEY, 1}},
                                   .block_table = {&block, DSV3_I32, 2, {1, 1}, {1, 1}},
                                   .cache_seqlens = {&length, DSV3_I32, 1, {1}, {1}},
                                   .weights = {1, &one}};
    ref_reading const rd = {.declared = declared};
    cr_assert(ref_dd.mla_decode(&rd, &p, &io, (ref_value *const[]){legal_o, &legal_lse}));
    simulate_cache(h, q, codes, scale, n, o);
    double worst = fabs((double)o[RANK] - legal_lse.hi - legal_lse.lo) / legal_lse.radius;
    for (int c = 0; c < RANK; c++) {
        double const off = fabs((double)o[c] - legal_o[c].hi - legal_o[c].lo);
        worst = fmax(worst, off == 0 ? 0 : off / legal_o[c].radius);
    }
    return worst;
}

Test(attention, codes_and_scales_of_ports)
{
    static const struct {
        habit habit;
        const char *kv;
        bool legal;
    } rows[] = {{SCALES_LATE, "kv f32 may", true},  {ROUNDS_KEY, "kv bf16 may", true},
                {ROUNDS_KEY, "kv bf16 must", true}, {ROUNDS_KEY, "kv f32 must", false},
                {ROUNDS_KEY, "kv f32 may", false},  {SCALES_LATE, "kv bf16 must", false}};
    srand48(7);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[200], why[200];
        ref_numerics n;
        double worst = 0;
        snprintf(text, sizeof text, "acc 24 rn; div ieee; exp 2; log 2; rescales 0; flush none; %s", rows[i].kv);
        cr_assert(ref_numerics_parse("mla_decode", text, &n, why, sizeof why), "%s", why);
        for (int round = 0; round < 300; round++) worst = fmax(worst, cache_round(rows[i].habit, &n, 1 + round % 8));
        printf("attention: FP8 cache, %s, declared %s: %.3f of the radius\n",
               rows[i].habit == SCALES_LATE ? "sums scaled" : "keys rounded to BF16", rows[i].kv, worst);
        cr_expect((worst <= 1) == rows[i].legal);
    }
}
