/* Weighted sums of rows of values: what attention does with its weights. Lemmas Combine and Slices are proved in docs/numerics.md. */
#include "radius.h"
#include "scratch.h"

#ifdef PROOF_BITS
void ball_combine(scratch *memory, const ball *weight, int64_t rows, int64_t n, const double *value, int64_t stride,
                  int64_t width, ball *out)
{
    (void)memory;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < width; c++) {
            ball sum = ball_of(0);
            for (int64_t j = 0; j < n; j++)
                sum = ball_add(sum, ball_mul(weight[i * n + j], ball_of(value[j * stride + c])));
            out[i * width + c] = sum;
        }
}

void ball_combine_balls(scratch *memory, const ball *weight, int64_t rows, int64_t n, const ball *value, int64_t stride,
                        int64_t width, ball *out)
{
    (void)memory;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < width; c++) {
            ball sum = ball_of(0);
            for (int64_t j = 0; j < n; j++) sum = ball_add(sum, ball_mul(weight[i * n + j], value[j * stride + c]));
            out[i * width + c] = sum;
        }
}
#else
#include "kernel.h"

/* The largest |value| of each column. */
static void column_sup(const double *value, int64_t n, int64_t stride, int64_t width, double *sup)
{
    for (int64_t c = 0; c < width; c++) sup[c] = 0;
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < width; c++) {
            double const v = fabs(value[j * stride + c]);
            if (!(v <= sup[c])) sup[c] = v; /* NaN stays */
        }
}

enum { TILE = 64 }; /* rows of values that stay near while every row of weights uses them */

/* One row of weights times one tile of values. */
static void combine_tile(const kernels *k, const ball *weight, int64_t n, const double *value, int64_t stride,
                         int64_t width, double *sum, double *rest)
{
    double hi[TILE], lo[TILE];
    for (int64_t j = 0; j < n; j++) hi[j] = weight[j].c.hi, lo[j] = weight[j].c.lo;
    k->combine(hi, lo, value, n, stride, width, sum, rest);
}

/* >= sum |weight| and sum of the radii. */
static void weigh(const ball *weight, int64_t n, double *total, double *radius)
{
    double t = 0, r = 0;
    for (int64_t j = 0; j < n; j++) t += fabs(weight[j].c.hi), r += weight[j].r;
    double const slack = 1 + 0x1p-50 * (double)(n + 8);
    *total = t * slack;
    *radius = r * slack;
}

/* Sums by TwoSum: any values. (Lemma Combine) */
static void combine_any(scratch *memory, const ball *weight, int64_t rows, int64_t n, const double *value,
                        int64_t stride, int64_t width, const double *sup, ball *out)
{
    const kernels *const k = kernels_for_this_cpu();
    double *const sum = scratch_zeros(memory, 2 * rows * width, sizeof *sum);
    double *const rest = sum + rows * width;
    for (int64_t from = 0; from < n; from += TILE)
        for (int64_t i = 0; i < rows; i++)
            combine_tile(k, weight + i * n + from, n - from < TILE ? n - from : TILE, value + from * stride, stride,
                         width, sum + i * width, rest + i * width);
    double const m = (double)(n + 4) * 0x1p-53;
    for (int64_t i = 0; i < rows; i++) {
        double total, radius;
        weigh(weight + i * n, n, &total, &radius);
        for (int64_t c = 0; c < width; c++) {
            double const bound = sup[c] * (total * (m * m) + radius);
            out[i * width + c] = ball_make(two_sum(sum[i * width + c], rest[i * width + c]), up_unless_zero(bound));
        }
    }
}

/* Lemma Slices. Values are multiples of 2^(top - GRID) below 2^top. A weight is cut into three multiples of 2^-cut, cut growing,
 * so short that sums of pieces times values are exact; what is left goes into the radius. */
enum { GRID = 18 };

typedef struct {
    double round[3]; /* added and subtracted: rounds to a multiple of 2^-cut */
    double left;     /* >= what is left of a weight */
} cutting;

static cutting cuts_for(double total, int64_t n)
{
    cutting c;
    int cut = 51 - GRID - ilogb(fmax(total, 1));
    int const log_n = ilogb((double)n) + 1;
    for (int k = 0; k < 3; k++) {
        c.round[k] = ldexp(1.5, 52 - cut);
        c.left = ldexp(1, -cut - 1) * (1 + 0x1p-30);
        cut += 52 - GRID - log_n;
    }
    return c;
}

static void cut_weight(const cutting *c, centre w, double piece[3])
{
    for (int k = 0; k < 3; k++) {
        piece[k] = (w.hi + c->round[k]) - c->round[k];
        w = two_sum(w.hi - piece[k], w.lo);
    }
}

/* Are all values multiples of 2^(top - GRID)? */
static bool on_grid(const double *value, int64_t n, int64_t stride, int64_t width, int top)
{
    double const scale = ldexp(1, GRID - top);
    double off = 0;
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < width; c++) {
            double const v = value[j * stride + c] * scale;
            off += fabs(v - ((v + 0x1.8p52) - 0x1.8p52));
        }
    return off == 0;
}

/* A tile of rows of values, 32 columns of them, side by side: they stay near while every row of weights uses them. */
static void pack(const double *value, int64_t n, int64_t stride, int64_t columns, double *block)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < LANES; c++) block[j * LANES + c] = c < columns ? value[j * stride + c] : 0;
}

/* The sums of one tile: piece (rows, TILE, 3), sums (blocks, rows, 3, 32). */
static void slice_tile(const double *piece, int64_t rows, int64_t n, const double *value, int64_t stride, int64_t width,
                       double *sums)
{
    const kernels *const k = kernels_for_this_cpu();
    double block[TILE * LANES];
    for (int64_t from = 0; from < width; from += LANES) {
        pack(value + from, n, stride, width - from, block);
        for (int64_t i = 0; i < rows; i++)
            k->slices(piece + i * 3 * TILE, block, n, sums + (from / LANES * rows + i) * 3 * LANES);
    }
}

static void finish_slices(const cutting *cut, int64_t n, double radius, const double *sup, const double *sums,
                          int64_t rows, int64_t width, ball *out)
{
    for (int64_t c = 0; c < width; c++) {
        const double *const s = sums + c / LANES * rows * 3 * LANES + c % LANES;
        double err = sup[c] * ((double)n * cut->left + radius);
        centre const low = two_sum(s[LANES], s[2 * LANES]);
        out[c] = ball_make(centre_add(low, centre_of(s[0]), &err), up_unless_zero(err));
    }
}

static void combine_on_grid(scratch *memory, const ball *weight, int64_t rows, int64_t n, const double *value,
                            int64_t stride, int64_t width, const double *sup, ball *out)
{
    int64_t const blocks = (width + LANES - 1) / LANES;
    double *const sums = scratch_zeros(memory, rows * blocks * 3 * LANES, sizeof *sums);
    double *const piece = scratch_take(memory, rows * 3 * TILE, sizeof *piece);
    double *const radius = scratch_take(memory, rows, sizeof *radius);
    cutting *const cut = scratch_take(memory, rows, sizeof *cut);
    for (int64_t i = 0; i < rows; i++) {
        double total;
        weigh(weight + i * n, n, &total, &radius[i]);
        cut[i] = cuts_for(total, n);
    }
    for (int64_t from = 0; from < n; from += TILE) {
        int64_t const m = n - from < TILE ? n - from : TILE;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < m; j++) cut_weight(&cut[i], weight[i * n + from + j].c, piece + (i * TILE + j) * 3);
        slice_tile(piece, rows, m, value + from * stride, stride, width, sums);
    }
    for (int64_t i = 0; i < rows; i++)
        finish_slices(&cut[i], n, radius[i], sup, sums + i * 3 * LANES, rows, width, out + i * width);
}

void ball_combine(scratch *memory, const ball *weight, int64_t rows, int64_t n, const double *value, int64_t stride,
                  int64_t width, ball *out)
{
    scratch_piece *const mark = scratch_mark(memory);
    double *const sup = scratch_take(memory, width, sizeof *sup);
    double most = 0, heaviest = 0;
    column_sup(value, n, stride, width, sup);
    for (int64_t c = 0; c < width; c++) most = fmax(most, isnan(sup[c]) ? (double)INFINITY : sup[c]);
    for (int64_t i = 0; i < rows * n; i++) heaviest = fmax(heaviest, fabs(weight[i].c.hi));
    bool const fits = most > 0x1p-100 && most < 0x1p100 && heaviest <= 1 && n < 1 << 24;
    if (fits && on_grid(value, n, stride, width, ilogb(most) + 1))
        combine_on_grid(memory, weight, rows, n, value, stride, width, sup, out);
    else
        combine_any(memory, weight, rows, n, value, stride, width, sup, out);
    scratch_back(memory, mark);
}

/* A part of values times the weights: its ends join out. */
static void combine_part(scratch *memory, const ball *weight, int64_t rows, int64_t n, const double *part,
                         int64_t width, bool radii, ball *sum, ball *out)
{
    double most = 0;
    for (int64_t i = 0; i < n * width; i++) most = fmax(most, isnan(part[i]) ? (double)INFINITY : fabs(part[i]));
    if (most == 0) return;
    ball_combine(memory, weight, rows, n, part, width, width, sum);
    for (int64_t i = 0; i < rows * width; i++)
        out[i] = radii ? ball_widen(out[i], ball_upper(sum[i])) : ball_add(out[i], sum[i]);
}

/* High words, low words and radii are combined like any numbers. */
void ball_combine_balls(scratch *memory, const ball *weight, int64_t rows, int64_t n, const ball *value, int64_t stride,
                        int64_t width, ball *out)
{
    int64_t const cells = n * width;
    scratch_piece *const mark = scratch_mark(memory);
    double *const high = scratch_take(memory, 3 * cells, sizeof *high), *const low = high + cells;
    double *const radius = low + cells;
    ball *const sum = scratch_take(memory, rows * width, sizeof *sum);
    for (int64_t i = 0; i < cells; i++) {
        ball const v = value[i / width * stride + i % width];
        high[i] = v.c.hi, low[i] = v.c.lo, radius[i] = v.r;
    }
    for (int64_t i = 0; i < rows * width; i++) out[i] = ball_of(0);
    combine_part(memory, weight, rows, n, high, width, false, sum, out);
    combine_part(memory, weight, rows, n, low, width, false, sum, out);
    combine_part(memory, weight, rows, n, radius, width, true, sum, out);
    scratch_back(memory, mark);
}
#endif
