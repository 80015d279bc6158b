/* See matrix.h. Source of the block scales: deepseek-ai/DeepSeek-V3, README_WEIGHTS.md and inference/kernel.py,
 * weight_dequant_kernel. */
#include "matrix.h"

#include "binary64.h"
#include "kernel.h"

#include <stdio.h>

enum {
    BLOCK = 128,
    CODES = 256,
    LSB_OF_CODES = 16
}; /* a code is a multiple of at most 2^8, a product of two of 2^16 */

/* Dequantised value and radius of every FP8 code under one block's scale, filled on first use. */
typedef struct {
    double scale, value[CODES], radius[CODES];
    bool known[CODES], rounded; /* rounded: some radius isn't 0 */
} block_codes;

/* Reads rows, those of one block down after one another. */
typedef struct {
    const matrix *m;
    int64_t across, down;
    block_codes *codes; /* (across), of block row `down`; NULL unless FP8 */
    bool exact;         /* W of a code is the product with the scale, a binary64 number: all are known beforehand */
    double of_code[CODES];
    operand of_row; /* then: what holds for every row of the blocks */
} reader;

static const dsv3_tensor *find(const dsv3_weights *weights, const char *name, const char *leaf)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s%s", name, *name ? "." : "", leaf);
    return dsv3_find(weights, full);
}

double scale_value(const dsv3_tensor *scale, int64_t at)
{
    if (scale->dtype == DSV3_F32) return ref_decode(DSV3_F32, scale->data, at);
    int const exponent = (int)ref_decode(DSV3_U8, scale->data, at);
    return exponent == 255 ? (double)NAN : two_to(exponent - 127);
}

double largest_of_blocks(const matrix *m, int64_t across)
{
    double largest = 0;
    for (int64_t i = 0; i < m->scale->shape[0]; i++) {
        double const s = fabs(scale_value(m->scale, i * m->scale->stride[0] + across));
        largest = fmax(largest, quirk(m->rd, QUIRK_F4_scale_divided) ? 1 / s : s);
    }
    return largest;
}

/* The largest factor that a scale is. */
static double largest_scale(const matrix *m)
{
    double largest = 0;
    for (int64_t j = 0; m->scale && j < m->scale->shape[1]; j++) largest = fmax(largest, largest_of_blocks(m, j));
    return largest;
}

matrix matrix_of(const ref_reading *rd, const dsv3_weights *weights, const char *name, int point, dsv3_dtype output)
{
    matrix m = {.rd = rd, .point = point, .output = output};
    m.weight = find(weights, name, "weight");
    m.scale = m.weight->dtype == DSV3_F8_E4M3 ? find(weights, name, "weight_scale_inv") : NULL;
    m.rows = m.weight->shape[0];
    m.columns = m.weight->shape[1];
    m.largest_scale = largest_scale(&m);
    return m;
}

/* The scale of block (down, across). */
static double scale_at(const matrix *m, int64_t down, int64_t across)
{
    if (m->early && m->scale->shape[1] > 1 && quirk(m->rd, QUIRK_F16_scaled_at_end)) across = m->scale->shape[1] - 1;
    if (quirk(m->rd, QUIRK_F1_partial_block)) {
        if ((down + 1) * BLOCK > m->rows && down > 0) down--;
        if ((across + 1) * BLOCK > m->columns && across > 0) across--;
    }
    int64_t index = down * m->scale->stride[0] + across;
    if (quirk(m->rd, QUIRK_F2_scale_transposed)) index = across * m->scale->shape[0] + down;
    return scale_value(m->scale, index);
}

static void dequantise(const matrix *m, uint8_t code, block_codes *codes)
{
    ball const c = ball_of(ref_decode(DSV3_F8_E4M3, &code, 0)), s = element(m->rd, codes->scale);
    ball const w = quirk(m->rd, QUIRK_F4_scale_divided) ? ball_div(c, s) : ball_mul(c, s);
    ref_value const v = value_of(round_at(m->rd, m->point, m->output, w));
    codes->value[code] = v.hi;
    codes->radius[code] = v.lo == 0 ? v.radius : nextafter(v.radius + fabs(v.lo), INFINITY);
    codes->rounded = codes->rounded || codes->radius[code] != 0;
    codes->known[code] = true;
}

static reader reader_of(const matrix *m)
{
    reader r = {.m = m, .across = (m->columns + BLOCK - 1) / BLOCK, .down = -1};
    r.exact = !m->rd->declared && !(m->scale && quirk(m->rd, QUIRK_F4_scale_divided));
    for (int i = 0; i < CODES; i++) {
        uint8_t const code = (uint8_t)i;
        r.of_code[i] = ref_decode(DSV3_F8_E4M3, &code, 0);
    }
    if (m->scale) r.codes = scratch_take(m->rd->scratch, r.across, sizeof *r.codes);
    return r;
}

/* Codes are multiples of 2^-9 up to 448 that have 4 bits, scales binary32 numbers. */
static operand operand_of_codes(const reader *r)
{
    operand w = {.n = r->m->columns, .bits = 4 + 24, .lsb = INT_MAX};
    for (int64_t a = 0; a < r->across; a++) {
        double const scale = fabs(r->codes[a].scale);
        int const lsb = scale == 0 ? INT_MAX : centre_lsb(centre_of(scale)) - 9;
        if (lsb < w.lsb) w.lsb = lsb;
        w.max_abs = fmax(w.max_abs, 448 * scale);
    }
    w.sup = w.max_abs;
    return w;
}

static void reader_move(reader *r, int64_t down)
{
    if (r->down == down) return;
    r->down = down;
    for (int64_t a = 0; a < r->across; a++) {
        block_codes *const c = &r->codes[a];
        memset(c->known, 0, sizeof c->known);
        c->rounded = false;
        c->scale = scale_at(r->m, down, a);
        for (int code = 0; r->exact && code < CODES; code++) c->value[code] = r->of_code[code] * c->scale;
    }
    if (r->exact) r->of_row = operand_of_codes(r);
}

/* value[i] = table[code[i]], eight codes at a time. */
static void look_up(const double table[CODES], const uint8_t *code, int64_t n, double *value)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        memcpy(&word, code + i, sizeof word);
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) value[i + k] = table[word >> 8 * k & 0xff];
    }
    for (; i < n; i++) value[i] = table[code[i]];
}

/* The part of a row that lies in one block. False: no radius was written, all are 0. */
static bool read_block(const reader *r, int64_t across, const uint8_t *code, int64_t n, double *value, double *radius)
{
    block_codes *const c = &r->codes[across];
    for (int64_t i = 0; !r->exact && i < n; i++)
        if (!c->known[code[i]]) dequantise(r->m, code[i], c);
    bool const scaled = r->exact && kernels_for_this_cpu()->scaled_codes(code, n, c->scale, value);
    if (!scaled) look_up(c->value, code, n, value);
    for (int64_t i = 0; c->rounded && i < n; i++) radius[i] = c->radius[code[i]];
    return c->rounded;
}

static bool read_codes(reader *r, int64_t o, double *value, double *radius)
{
    const uint8_t *const code = (const uint8_t *)r->m->weight->data + o * r->m->weight->stride[0];
    bool rounded = false;
    reader_move(r, o / BLOCK);
    for (int64_t a = 0; a < r->across; a++) {
        int64_t const from = a * BLOCK, left = r->m->columns - from, n = left < BLOCK ? left : BLOCK;
        bool const here = read_block(r, a, code + from, n, value + from, radius + from);
        if (here && !rounded) memset(radius, 0, (size_t)from * sizeof *radius);
        if (!here && rounded) memset(radius + from, 0, (size_t)n * sizeof *radius);
        rounded = rounded || here;
    }
    return rounded;
}

/* Row o of W; room for its numbers and radii. */
static operand read_row(reader *r, int64_t o, double *value, double *radius)
{
    const dsv3_tensor *const w = r->m->weight;
    int64_t const n = r->m->columns;
    bool const rounded = r->codes && read_codes(r, o, value, radius);
    if (!r->codes) ref_decode_all(w->dtype, w->data, o * w->stride[0], n, value);
    if (!r->codes || !r->exact) return operand_of(value, rounded ? radius : NULL, n);
    operand row = r->of_row;
    row.value = value;
    return row;
}

operand *matrix_rows(const matrix *m, int64_t first, int64_t n)
{
    operand *const rows = scratch_take(m->rd->scratch, n, sizeof *rows);
    double *value = scratch_take(m->rd->scratch, 2 * n * m->columns, sizeof *value), *radius = value + n * m->columns;
    scratch_piece *const mark = scratch_mark(m->rd->scratch);
    reader r = reader_of(m);
    for (int64_t o = 0; o < n; o++, value += m->columns, radius += m->columns)
        rows[o] = read_row(&r, first + o, value, radius);
    scratch_back(m->rd->scratch, mark);
    return rows;
}

/* Lemma Scale, the exact case: so are the sums of codes and their products with the scales. */
static bool scaling_is_exact(const matrix *m, const sum_record *sum)
{
    if (sum->lsb == INT_MAX) return true; /* all terms are 0 */
    return sum->lsb >= least_exponent(m->rd->declared) + ilogb(fmax(m->largest_scale, 1)) &&
           sum->sum_abs <= ldexp(1, sum->lsb + digits_of(m->rd->declared->arith));
}

/* Lemma Scale: a port may sum the codes of a block first and scale the sum. That rounds three times more, may lose what
 * underflows before the scale or after it, and may overflow where scaled weights do not. */
ball scaled_sum(const matrix *m, const operand *x, const sum_record *sum)
{
    ball const total = sum_of(m->rd, sum);
    if (!m->rd->declared || !m->scale) return total;
    double const n = (double)m->columns, u = ref_half_ulp(m->rd->declared->arith, 1);
    double const growth = (1 + gamma_sum(m->rd->declared, sum->n)) * (1 + 4 * u); /* of what is there early */
    if (!(x->sup * 448 * n * growth < 0x1p127)) return ball_any();
    if (ball_is_point(total) && scaling_is_exact(m, sum)) return total;
    double const lost = n * growth * eta(m->rd->declared) * (2 * m->largest_scale + 1);
    return scaled_by_blocks(m->rd, total, sum, 1, 3 * u * (1 + 2 * u) * (sum->sum_abs + total.r) + lost);
}

/* Lemma Two-scales, the exact case: so are the sums of codes, the scales' product and what comes in between. */
static bool both_scales_are_exact(const matrix *m, double early, const sum_record *sum)
{
    if (sum->lsb == INT_MAX) return true; /* all terms are 0 */
    return sum->lsb >= least_exponent(m->rd->declared) + LSB_OF_CODES + ilogb(early) &&
           sum->sum_abs <= ldexp(1, sum->lsb + digits_of(m->rd->declared->arith));
}

/* Lemma Two-scales: a port may sum the codes of a block and multiply by both scales, in either order or by their product, or
 * dequantise one side only. That rounds five times more, and may underflow or overflow on the way. */
static ball twice_scaled_sum(const matrix *m, double early, const sum_record *sum)
{
    ball const total = sum_of(m->rd, sum);
    if (!m->rd->declared) return total;
    double const n = (double)m->columns, u = ref_half_ulp(m->rd->declared->arith, 1);
    double const gamma = gamma_sum(m->rd->declared, sum->n),
                 growth = (1 + gamma) * (1 + 6 * u); /* of what is there early */
    double const block = fmin(n, BLOCK) * 448 * 448; /* >= every sum of a block's codes */
    if (!(fmax(block * early, sum->sum_abs) * growth < 0x1p127)) return ball_any();
    if (ball_is_point(total) && both_scales_are_exact(m, early, sum)) return total;
    double const lost = n * growth * eta(m->rd->declared) * (3 * early + 1 + 448 * 448);
    return scaled_by_blocks(m->rd, total, sum, 2, 5 * u * (1 + 5 * u) * (sum->sum_abs + total.r) + lost);
}

static void say_used(const matrix *m, int64_t first, int64_t last)
{
    size_t const row_bytes = (size_t)m->weight->stride[0] * ref_dtype_size(m->weight->dtype);
    if (!m->rd->used) return;
    m->rd->used(m->rd->user, (const char *)m->weight->data + (size_t)first * row_bytes,
                (size_t)(last - first) * row_bytes);
}

/* Rows of W that stay in a cache while vectors pass by: they divide BLOCK. */
static int64_t rows_at_hand(const matrix *m)
{
    enum { MOST = 8, CACHED = 32768 /* numbers */ };
    int64_t rows = MOST;
    while (rows > 1 && rows * m->columns > CACHED) rows /= 2;
    return rows;
}

void matrix_times(const matrix *m, const operand *x, int64_t n, int point, dsv3_dtype format, ball *y)
{
    scratch *const memory = m->rd->scratch;
    scratch_piece *const mark = scratch_mark(memory);
    int64_t const step = rows_at_hand(m);
    operand *const w = scratch_take(memory, step, sizeof *w);
    double *const value = scratch_take(memory, 2 * step * m->columns, sizeof *value), *const radius =
                                                                                          value + step * m->columns;
    reader r = reader_of(m);
    for (int64_t from = 0; from < m->rows; from += step) {
        int64_t const to = from + step < m->rows ? from + step : m->rows;
        for (int64_t o = from; o < to; o++)
            w[o - from] = read_row(&r, o, value + (o - from) * m->columns, radius + (o - from) * m->columns);
        for (int64_t i = 0; i < n * (to - from); i++) {
            int64_t const t = i / (to - from), o = from + i % (to - from);
            sum_record const sum = ball_dot(&x[t], &w[o - from]);
            ball const scaled = m->early ? twice_scaled_sum(m, m->early[t], &sum) : scaled_sum(m, &x[t], &sum);
            y[t * m->rows + o] = round_at(m->rd, point, format, scaled);
        }
        if (to % BLOCK == 0 || to == m->rows) say_used(m, (to - 1) / BLOCK * BLOCK, to);
    }
    scratch_back(memory, mark);
}
