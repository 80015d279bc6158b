/* See matrix.h. Source of the block scales: deepseek-ai/DeepSeek-V3, README_WEIGHTS.md and inference/kernel.py,
 * weight_dequant_kernel. */
#include "matrix.h"

#include <stdio.h>
#include <stdlib.h>

enum { BLOCK = 128, CODES = 256 };

/* W of each code in each block across, for one block down. */
typedef struct {
    double value, radius;
    bool known;
} dequantised;

static const dsv3_tensor *find(const dsv3_weights *weights, const char *name, const char *leaf)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s%s", name, *name ? "." : "", leaf);
    return dsv3_find(weights, full);
}

/* The largest factor that a scale is. */
static double largest_scale(const matrix *m)
{
    double largest = 0;
    for (int64_t i = 0; m->scale && i < m->scale->shape[0]; i++)
        for (int64_t j = 0; j < m->scale->shape[1]; j++) {
            double const s = fabs(ref_decode(DSV3_F32, m->scale->data, i * m->scale->stride[0] + j));
            largest = fmax(largest, quirk(m->rd, QUIRK_F4_scale_divided) ? 1 / s : s);
        }
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
    if (quirk(m->rd, QUIRK_F1_partial_block)) {
        if ((down + 1) * BLOCK > m->rows && down > 0) down--;
        if ((across + 1) * BLOCK > m->columns && across > 0) across--;
    }
    int64_t index = down * m->scale->stride[0] + across;
    if (quirk(m->rd, QUIRK_F2_scale_transposed)) index = across * m->scale->shape[0] + down;
    return ref_decode(DSV3_F32, m->scale->data, index);
}

static dequantised dequantise(const matrix *m, uint8_t code, double scale)
{
    ball const c = ball_of(ref_decode(DSV3_F8_E4M3, &code, 0)), s = element(m->rd, scale);
    ball const w = quirk(m->rd, QUIRK_F4_scale_divided) ? ball_div(c, s) : ball_mul(c, s);
    ref_value const v = value_of(at(m->rd, m->point, m->output, w));
    return (dequantised){v.hi, v.lo == 0 ? v.radius : nextafter(v.radius + fabs(v.lo), INFINITY), true};
}

/* One row of codes; table: (blocks across, CODES), for this block down. */
static void dequantise_row(const matrix *m, int64_t o, dequantised *table, double *value, double *radius)
{
    const uint8_t *const code = (const uint8_t *)m->weight->data + o * m->weight->stride[0];
    for (int64_t i = 0; i < m->columns; i++) {
        dequantised *const d = &table[i / BLOCK * CODES + code[i]];
        if (!d->known) *d = dequantise(m, code[i], scale_at(m, o / BLOCK, i / BLOCK));
        value[i] = d->value;
        radius[i] = d->radius;
    }
}

bool matrix_rows(const matrix *m, int64_t first, int64_t last, double *value, double *radius)
{
    const dsv3_tensor *const w = m->weight;
    size_t const table_size = m->scale ? (size_t)((m->columns + BLOCK - 1) / BLOCK) * CODES : 1;
    dequantised *const table = malloc(table_size * sizeof *table);
    if (!table) return false;
    memset(radius, 0, (size_t)((last - first) * m->columns) * sizeof *radius);
    for (int64_t o = first; o < last; o++) {
        double *const row_value = value + (o - first) * m->columns;
        if (o == first || o % BLOCK == 0) memset(table, 0, table_size * sizeof *table);
        if (m->scale)
            dequantise_row(m, o, table, row_value, radius + (o - first) * m->columns);
        else
            ref_decode_all(w->dtype, w->data, o * w->stride[0], m->columns, row_value);
    }
    free(table);
    return true;
}

/* Lemma Scale, the exact case: so are the sums of codes and their products with the scales. */
static bool scaling_is_exact(const matrix *m, const terms *sum)
{
    if (sum->lsb == INT_MAX) return true; /* all terms are 0 */
    return sum->lsb - ilogb(fmax(m->largest_scale, 1)) >= least_exponent(m->rd->port) &&
           sum->sum_abs <= ldexp(1, sum->lsb + digits_of(m->rd->port->arith));
}

/* Lemma Scale: a port may sum the codes of a block first and scale the sum. That rounds three times more, may lose what
 * underflows before the scale or after it, and may overflow where scaled weights do not. */
ball scaled_sum(const matrix *m, const row *x, const terms *sum)
{
    ball const total = sum_of(m->rd, sum);
    if (!m->rd->port || !m->scale) return total;
    double const n = (double)m->columns, u = ref_half_unit(m->rd->port->arith, 1);
    double const growth = (1 + share_of(m->rd->port, sum->n)) * (1 + 4 * u); /* of what is there early */
    if (!(x->sup * 448 * n * growth < 0x1p127)) return ball_any();
    if (ball_is_point(total) && scaling_is_exact(m, sum)) return total;
    double const lost = n * growth * lost_in_one(m->rd->port) * (2 * m->largest_scale + 1);
    return ball_widen(total, 3 * u * (1 + 2 * u) * (sum->sum_abs + total.r) + lost);
}

/* Rows [first, last) of W with every x. */
static void multiply(const matrix *m, int64_t first, int64_t last, const double *value, const double *radius,
                     const row *x, int64_t n, int point, dsv3_dtype format, ball *y)
{
    for (int64_t o = first; o < last; o++) {
        int64_t const at_row = (o - first) * m->columns;
        row const w = row_of(value + at_row, radius + at_row, m->columns);
        for (int64_t t = 0; t < n; t++) {
            terms const sum = ball_dot(&x[t], &w);
            y[t * m->rows + o] = at(m->rd, point, format, scaled_sum(m, &x[t], &sum));
        }
    }
}

static void say_used(const matrix *m, int64_t first, int64_t last)
{
    size_t const row_bytes = (size_t)m->weight->stride[0] * ref_dtype_size(m->weight->dtype);
    if (!m->rd->used) return;
    m->rd->used(m->rd->user, (const char *)m->weight->data + (size_t)first * row_bytes,
                (size_t)(last - first) * row_bytes);
}

bool matrix_times(const matrix *m, const row *x, int64_t n, int point, dsv3_dtype format, ball *y)
{
    double *const panel = malloc((size_t)(2 * BLOCK * m->columns + 1) * sizeof *panel);
    bool good = panel != NULL;
    for (int64_t first = 0; good && first < m->rows; first += BLOCK) {
        int64_t const last = first + BLOCK < m->rows ? first + BLOCK : m->rows;
        double *const radius = panel + BLOCK * m->columns;
        good = matrix_rows(m, first, last, panel, radius);
        if (good) multiply(m, first, last, panel, radius, x, n, point, format, y);
        say_used(m, first, last);
    }
    free(panel);
    return good;
}
