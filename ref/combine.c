/* Weighted sums of rows of values: what attention does with its weights. Lemmas Combine and Slices are proved in docs/numerics.md. */
#include "radius.h"
#include "scratch.h"

/* Row i of the weights. */
static const ball *row_of(const weight_rows *w, int64_t i)
{
    return w->first + i * w->stride;
}

#ifdef PROOF_BITS
void ball_dots(scratch *memory, const operand *a, int64_t rows, const operand *b, int64_t n, ball *out)
{
    (void)memory;
    for (int64_t i = 0; i < rows * n; i++) out[i] = ball_dot(&a[i / n], &b[i % n]).total;
}

void ball_combine(scratch *memory, const weight_rows *w, const double *value, int64_t stride, int64_t width, ball *out)
{
    (void)memory;
    for (int64_t i = 0; i < w->rows; i++)
        for (int64_t c = 0; c < width; c++) {
            ball sum = ball_of(0);
            for (int64_t j = 0; j < w->n; j++)
                sum = ball_add(sum, ball_mul(row_of(w, i)[j], ball_of(value[j * stride + c])));
            out[i * width + c] = sum;
        }
}

void ball_combine_balls(scratch *memory, const weight_rows *w, const ball *value, int64_t stride, int64_t width,
                        ball *out)
{
    (void)memory;
    for (int64_t i = 0; i < w->rows; i++)
        for (int64_t c = 0; c < width; c++) {
            ball sum = ball_of(0);
            for (int64_t j = 0; j < w->n; j++) sum = ball_add(sum, ball_mul(row_of(w, i)[j], value[j * stride + c]));
            out[i * width + c] = sum;
        }
}
#else
#include "kernel.h"

enum { TILE = 64 }; /* rows of values that stay near while every row of weights uses them */

static void split(const ball *weight, int64_t n, double *hi, double *lo)
{
    for (int64_t j = 0; j < n; j++) hi[j] = weight[j].c.hi, lo[j] = weight[j].c.lo;
}

/* One row of weights times one tile of values. */
static void combine_tile(const kernels *k, const ball *weight, int64_t n, const double *value, int64_t stride,
                         int64_t width, double *sum, double *rest)
{
    double hi[TILE], lo[TILE];
    split(weight, n, hi, lo);
    k->combine(hi, lo, value, n, stride, width, sum, rest);
}

/* What a sum of n numbers, none negative, may be low by. */
static double slack(int64_t n)
{
    return 1 + 0x1p-50 * (double)(n + 8);
}

/* >= sum |weight|, far above underflow unless it is 0, and sum of the radii. */
static void weigh(const ball *weight, int64_t n, double *total, double *radius)
{
    double t = 0, r = 0;
    for (int64_t j = 0; j < n; j++) t += fabs(weight[j].c.hi), r += weight[j].r;
    *total = t == 0 ? 0 : t * slack(n) + 0x1p-800;
    *radius = r * slack(n);
}

/* Sums by TwoSum: any values. (Lemma Combine) */
static void combine_any(scratch *memory, const weight_rows *w, const double *value, int64_t stride, int64_t width,
                        const double *sup, ball *out)
{
    const kernels *const k = kernels_for_this_cpu();
    int64_t const cells = w->rows * width;
    double *const sum = scratch_zeros(memory, 2 * cells, sizeof *sum), *const rest = sum + cells;
    for (int64_t from = 0; from < w->n; from += TILE)
        for (int64_t i = 0; i < w->rows; i++)
            combine_tile(k, row_of(w, i) + from, w->n - from < TILE ? w->n - from : TILE, value + from * stride, stride,
                         width, sum + i * width, rest + i * width);
    double const m = (double)(w->n + 4) * 0x1p-53;
    for (int64_t i = 0; i < w->rows; i++) {
        double total, radius;
        weigh(row_of(w, i), w->n, &total, &radius);
        for (int64_t c = 0; c < width; c++) {
            double const bound = up_product(sup[c], total * (m * m) + radius);
            out[i * width + c] = ball_make(two_sum(sum[i * width + c], rest[i * width + c]), bound);
        }
    }
}

/* ---- Lemma Slices: values are multiples of 2^(top - GRID) below 2^top, weights are cut into pieces ---- */

enum { GRID = 18, MOST_CUT = 1 << 17 }; /* weights: pieces of more would be shorter than 16 bits */

/* Of a row of weights: added and subtracted, round[k] rounds to a multiple of 2^-cut, cut growing. What is left of all weights
 * goes into the radius. */
typedef struct {
    double round[PIECES], left;
} cutting;

/* total: >= the sum of all |weights|. */
static cutting cuts_for(double total, int64_t n)
{
    cutting c = {.left = 0};
    int cut = 51 - GRID - ilogb(fmax(total, 0x1p-200));
    int const log_n = ilogb((double)n) + 1;
    for (int k = 0; k < PIECES; k++) {
        c.round[k] = ldexp(1.5, 52 - cut);
        cut += 52 - GRID - log_n;
    }
    return c;
}

/* Piece k of weight j to piece[k * stride + j]; hi and lo are used up. */
static void cut_weights(cutting *c, double *hi, double *lo, int64_t n, int64_t stride, double *piece)
{
    kernels_for_this_cpu()->cut(hi, lo, n, c->round, stride, piece);
    for (int64_t j = 0; j < n; j++) c->left += fabs(hi[j]) + fabs(lo[j]);
}

/* The sum of a column from those of its pieces, which are LANES apart; sup: >= every |value|, radius: what else each may be
 * multiplied by. */
static ball sum_of_pieces(const double *s, int pieces, double sup, double left, double radius)
{
    double err = up_product(sup, left + radius);
    centre sum = centre_of(s[(pieces - 1) * LANES]);
    for (int k = pieces - 2; k >= 0; k--) sum = centre_add(sum, centre_of(s[k * LANES]), &err);
    return ball_make(sum, up_unless_zero(err));
}

/* Are all values multiples of 2^(top - GRID)? */
static bool on_grid(const double *value, int64_t n, int64_t stride, int64_t width, int top)
{
    const kernels *const k = kernels_for_this_cpu();
    double const unit = ldexp(1, top - GRID);
    for (int64_t j = 0; j < n; j++) {
        number_survey const row = k->survey(value + j * stride, width);
        if (row.odd || row.unit < unit) return false;
    }
    return true;
}

/* ---- rows of values ---- */

/* A tile of rows of values, 32 columns of them, side by side: they stay near while every row of weights uses them. */
static void pack(const double *value, int64_t n, int64_t stride, int64_t columns, double *block)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < LANES; c++) block[j * LANES + c] = c < columns ? value[j * stride + c] : 0;
}

/* The sums of one tile: piece (rows, PIECES, TILE), sums (blocks, rows, PIECES, 32). */
static void slice_tile(const double *piece, int64_t rows, int64_t n, const double *value, int64_t stride, int64_t width,
                       double *sums)
{
    const kernels *const k = kernels_for_this_cpu();
    double block[TILE * LANES];
    for (int64_t from = 0; from < width; from += LANES) {
        pack(value + from, n, stride, width - from, block);
        for (int64_t i = 0; i < rows; i++)
            k->slices(piece + i * PIECES * TILE, TILE, PIECES, block, n,
                      sums + (from / LANES * rows + i) * PIECES * LANES);
    }
}

static void cut_tile(cutting *c, const ball *weight, int64_t n, double *piece)
{
    double hi[TILE], lo[TILE];
    split(weight, n, hi, lo);
    cut_weights(c, hi, lo, n, TILE, piece);
}

static void combine_on_grid(scratch *memory, const weight_rows *w, const double *value, int64_t stride, int64_t width,
                            const double *sup, ball *out)
{
    int64_t const rows = w->rows, blocks = (width + LANES - 1) / LANES;
    double *const sums = scratch_zeros(memory, rows * blocks * PIECES * LANES, sizeof *sums);
    double *const piece = scratch_take(memory, rows * PIECES * TILE, sizeof *piece);
    double *const radius = scratch_take(memory, rows, sizeof *radius);
    cutting *const cut = scratch_take(memory, rows, sizeof *cut);
    for (int64_t i = 0; i < rows; i++) {
        double total;
        weigh(row_of(w, i), w->n, &total, &radius[i]);
        cut[i] = cuts_for(total, w->n);
    }
    for (int64_t from = 0; from < w->n; from += TILE) {
        int64_t const n = w->n - from < TILE ? w->n - from : TILE;
        for (int64_t i = 0; i < rows; i++) cut_tile(&cut[i], row_of(w, i) + from, n, piece + i * PIECES * TILE);
        slice_tile(piece, rows, n, value + from * stride, stride, width, sums);
    }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < width; c++)
            out[i * width + c] = sum_of_pieces(sums + (c / LANES * rows + i) * PIECES * LANES + c % LANES, PIECES,
                                               sup[c], cut[i].left * slack(w->n), radius[i]);
}

void ball_combine(scratch *memory, const weight_rows *w, const double *value, int64_t stride, int64_t width, ball *out)
{
    scratch_piece *const mark = scratch_mark(memory);
    double *const sup = scratch_zeros(memory, width, sizeof *sup);
    double most = 0, heaviest = 0;
    kernels_for_this_cpu()->column_sup(value, w->n, stride, width, sup);
    for (int64_t c = 0; c < width; c++) most = larger(most, sup[c]);
    for (int64_t i = 0; i < w->rows; i++)
        for (int64_t j = 0; j < w->n; j++) heaviest = larger(heaviest, fabs(row_of(w, i)[j].c.hi));
    bool const fits = most > 0x1p-100 && most < 0x1p100 && heaviest < 0x1p100 && w->n <= MOST_CUT;
    if (fits && on_grid(value, w->n, stride, width, ilogb(most) + 1))
        combine_on_grid(memory, w, value, stride, width, sup, out);
    else
        combine_any(memory, w, value, stride, width, sup, out);
    scratch_back(memory, mark);
}

/* ---- values that are balls ---- */

/* A part of values times the weights: its ends join out. */
static void combine_part(scratch *memory, const weight_rows *w, const double *part, int64_t width, bool radii,
                         ball *sum, ball *out)
{
    ball_combine(memory, w, part, width, width, sum);
    for (int64_t i = 0; i < w->rows * width; i++)
        out[i] = radii ? ball_widen(out[i], ball_upper(sum[i])) : ball_add(out[i], sum[i]);
}

static bool all_zero(const double *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (v[i] != 0) return false;
    return true;
}

/* The first rows of values that are single numbers: cached keys, before those of new tokens. */
static int64_t leading_numbers(const ball *value, int64_t n, int64_t stride, int64_t width)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < width; c++)
            if (value[j * stride + c].r != 0 || value[j * stride + c].c.lo != 0) return j;
    return n;
}

/* High words, low words and radii are combined like any numbers. */
void ball_combine_balls(scratch *memory, const weight_rows *w, const ball *value, int64_t stride, int64_t width,
                        ball *out)
{
    int64_t const numbers = leading_numbers(value, w->n, stride, width), later = w->n - numbers;
    weight_rows const of_numbers = {w->first, w->rows, numbers, w->stride};
    weight_rows const of_balls = {w->first + numbers, w->rows, later, w->stride};
    scratch_piece *const mark = scratch_mark(memory);
    double *const high = scratch_take(memory, (w->n + 2 * later) * width, sizeof *high);
    double *const low = high + w->n * width, *const radius = low + later * width;
    ball *const sum = scratch_take(memory, w->rows * width, sizeof *sum);
    for (int64_t i = 0; i < w->n * width; i++) high[i] = value[i / width * stride + i % width].c.hi;
    for (int64_t i = 0; i < later * width; i++) {
        ball const v = value[(numbers + i / width) * stride + i % width];
        low[i] = v.c.lo, radius[i] = v.r;
    }
    for (int64_t i = 0; i < w->rows * width; i++) out[i] = ball_of(0);
    combine_part(memory, &of_numbers, high, width, false, sum, out);
    if (later) combine_part(memory, &of_balls, high + numbers * width, width, false, sum, out);
    if (!all_zero(low, later * width)) combine_part(memory, &of_balls, low, width, false, sum, out);
    if (!all_zero(radius, later * width)) combine_part(memory, &of_balls, radius, width, true, sum, out);
    scratch_back(memory, mark);
}

/* ---- dot products of all pairs ---- */

/* The first vectors of numbers that are on one grid: cached keys, before those of new tokens. */
static int64_t leading_on_grid(const operand *b, int64_t n)
{
    int64_t leading = 0;
    double most = 0;
    int lsb = INT_MAX;
    for (int64_t j = 0; j < n && !b[j].radius && !b[j].low && b[j].bits <= MANY_BITS; j++) {
        most = larger(most, b[j].max_abs);
        if (b[j].lsb < lsb) lsb = b[j].lsb;
        if (most <= 0x1p-100) continue;
        if (!(most < 0x1p100) || lsb <= ilogb(most) - GRID) break;
        leading = j + 1;
    }
    return leading;
}

static bool are_weights(const operand *a, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++)
        if (!(a[i].sup < 0x1p100) || a[i].n > MOST_CUT) return false;
    return true;
}

/* A vector in pieces; those of all vectors lie one after another. */
typedef struct {
    int64_t first; /* among all pieces */
    int pieces;    /* the others are all 0 */
    double left;   /* of all its entries, as far as they are cut */
    bool blurred;  /* it has radii: row `radius` of all radii */
    int64_t radius;
} cut_vector;

/* Vectors in pieces. */
typedef struct {
    cut_vector *of;
    int64_t rows, width, pieces, radii;
    double *piece, *radius; /* (pieces, width), (radii, width) */
} cut_vectors;

static int pieces_of(const double *piece, int64_t n)
{
    int64_t used = PIECES * n;
    while (used && piece[used - 1] == 0) used--;
    return used > n ? (int)((used + n - 1) / n) : 1;
}

/* Radii rounded up to at most 18 bits, multiples of one number: products with values on the grid, and their sums, are exact. */
static void round_radii(const double *radius, int64_t n, double *rounded)
{
    double most = 0;
    for (int64_t j = 0; j < n; j++) most = larger(most, radius[j]);
    int const top = ilogb(fmax(most, 0x1p-1000)) + 1;
    double const unit = ldexp(1, top - 18), round = ldexp(1.5, 52 + top - 18);
    for (int64_t j = 0; j < n; j++) rounded[j] = radius[j] == 0 ? 0 : (radius[j] + round) - round + unit;
}

/* Joins v. room: for 2 n numbers. */
static void cut_into(cut_vectors *v, const operand *a, double *room)
{
    double *const hi = room, *const lo = room + a->n, *const piece = v->piece + v->pieces * v->width;
    double total = 0;
    for (int64_t j = 0; j < a->n; j++) {
        hi[j] = a->value[j], lo[j] = a->low ? a->low[j] : 0;
        total += fabs(hi[j]);
    }
    cutting cut = cuts_for(total * slack(a->n), a->n);
    cut_weights(&cut, hi, lo, a->n, a->n, piece);
    cut_vector const one = {v->pieces, pieces_of(piece, a->n), cut.left * slack(a->n), a->radius != NULL, v->radii};
    if (one.blurred) round_radii(a->radius, a->n, v->radius + v->radii++ * v->width);
    v->pieces += one.pieces;
    v->of[v->rows++] = one;
}

static cut_vectors cut_all(scratch *memory, const operand *a, int64_t rows)
{
    int64_t const width = a->n;
    cut_vectors v = {.width = width};
    v.of = scratch_take(memory, rows, sizeof *v.of);
    v.piece = scratch_take(memory, rows * PIECES * width, sizeof *v.piece);
    v.radius = scratch_take(memory, rows * width, sizeof *v.radius);
    double *const room = scratch_take(memory, 2 * width, sizeof *room);
    for (int64_t i = 0; i < rows; i++) cut_into(&v, &a[i], room);
    return v;
}

/* The dot product with b, from the sums of pieces and of radii, which are LANES apart. */
static ball total_of(const cut_vector *a, const double *pieces, const double *radii, const operand *b)
{
    ball const total = sum_of_pieces(pieces + a->first * LANES, a->pieces, b->max_abs, a->left, 0);
    return a->blurred && b->max_abs > 0 ? ball_widen(total, up(radii[a->radius * LANES])) : total;
}

/* Entries [from, from + n) of 32 vectors, side by side. */
static void pack_across(const operand *b, int64_t vectors, int64_t from, int64_t n, double *block)
{
    for (int64_t c = 0; c < LANES; c++)
        for (int64_t j = 0; j < n; j++) block[j * LANES + c] = c < vectors ? b[c].value[from + j] : 0;
}

/* Rows of weights, `stride` apart, times 32 columns of n values: sums (rows, 32). */
static void slice_rows(const double *weight, int64_t rows, int64_t stride, const double *block, int64_t n, double *sums)
{
    const kernels *const k = kernels_for_this_cpu();
    for (int64_t i = 0; i < rows; i += PIECES)
        k->slices(weight + i * stride, stride, rows - i < PIECES ? (int)(rows - i) : PIECES, block, n,
                  sums + i * LANES);
}

/* With 32 vectors at most: the sums of pieces times values (pieces, 32), of radii times |values| (radii, 32). */
static void dots_of_block(const cut_vectors *v, const operand *b, int64_t vectors, double *pieces, double *radii)
{
    double block[TILE * LANES];
    for (int64_t from = 0; from < v->width; from += TILE) {
        int64_t const n = v->width - from < TILE ? v->width - from : TILE;
        pack_across(b, vectors, from, n, block);
        slice_rows(v->piece + from, v->pieces, v->width, block, n, pieces);
        for (int64_t j = 0; v->radii && j < n * LANES; j++) block[j] = fabs(block[j]);
        slice_rows(v->radius + from, v->radii, v->width, block, n, radii);
    }
}

/* Rows of out are `stride` apart. */
static void dots_on_grid(scratch *memory, const operand *a, int64_t rows, const operand *b, int64_t n, int64_t stride,
                         ball *out)
{
    cut_vectors const v = cut_all(memory, a, rows);
    int64_t const sums = (v.pieces + v.radii) * LANES;
    double *const pieces = scratch_take(memory, sums, sizeof *pieces), *const radii = pieces + v.pieces * LANES;
    for (int64_t from = 0; from < n; from += LANES) {
        int64_t const vectors = n - from < LANES ? n - from : LANES;
        memset(pieces, 0, (size_t)sums * sizeof *pieces);
        dots_of_block(&v, b + from, vectors, pieces, radii);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t c = 0; c < vectors; c++)
                out[i * stride + from + c] = total_of(&v.of[i], pieces + c, radii + c, &b[from + c]);
    }
}

void ball_dots(scratch *memory, const operand *a, int64_t rows, const operand *b, int64_t n, ball *out)
{
    scratch_piece *const mark = scratch_mark(memory);
    int64_t const leading = rows > 1 && are_weights(a, rows) ? leading_on_grid(b, n) : 0;
    if (leading) dots_on_grid(memory, a, rows, b, leading, n, out);
    for (int64_t from = leading; from < n; from += TILE)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = from; j < n && j < from + TILE; j++) out[i * n + j] = ball_dot(&a[i], &b[j]).total;
    scratch_back(memory, mark);
}
#endif
