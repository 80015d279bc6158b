/* See kernel.h. Compiled with -DKERNEL_ISA=baseline, v3, v4 and the matching -march. */
#include "kernel.h"

#include "centre_dd.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b)  JOIN_(a, b)
#define TEXT_(a)    #a
#define TEXT(a)     TEXT_(a)

enum { L = LANES };

/* As many lanes as a register holds, in one value: the compiler's own vector type, which stays in registers where an array
 * does not. */
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
typedef double vec __attribute__((vector_size(VECTOR_BYTES)));
typedef int64_t vec_bits __attribute__((vector_size(VECTOR_BYTES)));
enum { WIDE = VECTOR_BYTES / 8, V = L / WIDE };

static inline vec vec_load(const double *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline vec vec_abs(vec v)
{
    return (vec)((vec_bits)v & INT64_MAX);
}

static dot_sum plain(const double *restrict a, const double *restrict b, int64_t n)
{
    vec sums[V] = {{0}}, sizes[V] = {{0}};
    double s[L], m[L];
    int64_t i = 0;
    for (; i + L <= n; i += L) {
#pragma GCC unroll 16
        for (int k = 0; k < V; k++) {
            vec const p = vec_load(a + i + WIDE * k) * vec_load(b + i + WIDE * k);
            sums[k] += p;
            sizes[k] += vec_abs(p);
        }
    }
    memcpy(s, sums, sizeof s);
    memcpy(m, sizes, sizeof m);
    for (int k = 0; i + k < n; k++) {
        double const p = a[i + k] * b[i + k];
        s[k] += p;
        m[k] += fabs(p);
    }
    for (int half = L / 2; half; half /= 2)
        for (int k = 0; k < half; k++) s[k] += s[k + half], m[k] += m[k + half];
    return (dot_sum){s[0], 0, m[0]};
}

/* The lanes by a chain of TwoSum; its errors and the corrections c into the low word. */
static dot_sum gather(const double s[L], const double c[L], const double m[L])
{
    double high = 0, low = 0, abs = 0;
    for (int k = 0; k < L; k++) {
        double const t = high + s[k];
        double const z = t - high;
        low += (high - (t - z)) + (s[k] - z);
        low += c[k];
        high = t;
        abs += m[k];
    }
    double const hi = high + low;
    double const z = hi - high;
    return (dot_sum){hi, (high - (hi - z)) + (low - z), abs};
}

/* a * b - c, of one rounding. */
static inline vec vec_residual(vec a, vec b, vec c)
{
    double x[WIDE], y[WIDE], z[WIDE];
    vec r;
    memcpy(x, &a, sizeof a), memcpy(y, &b, sizeof b), memcpy(z, &c, sizeof c);
    for (int k = 0; k < WIDE; k++) x[k] = fma(x[k], y[k], -z[k]);
    memcpy(&r, x, sizeof r);
    return r;
}

/* What is fused here is exact, so that fusing changes no bit. */
#define FUSED __attribute__((optimize("fp-contract=fast"))) static

/* Up to L terms, lane by lane. */
typedef struct {
    vec sum[V], rest[V], size[V];
} lane_sums;

/* Lemma Dot: lanes s with the errors e of TwoSum added into c; then the lanes by a chain of TwoSum. */
static inline vec add_product(vec p, vec *sum)
{
    vec const t = *sum + p, z = t - *sum, e = (*sum - (t - z)) + (p - z);
    *sum = t;
    return e;
}

FUSED inline __attribute__((always_inline)) void compensated_step(const double *a, const double *b, lane_sums *l)
{
#pragma GCC unroll 16
    for (int k = 0; k < V; k++) {
        vec const x = vec_load(a + WIDE * k), y = vec_load(b + WIDE * k);
        vec const t = l->sum[k] + x * y, z = t - l->sum[k];
        l->rest[k] += (l->sum[k] - (t - z)) + (x * y - z);
        l->size[k] += vec_abs(x) * vec_abs(y);
        l->sum[k] = t;
    }
}

FUSED dot_sum compensated(const double *restrict a, const double *restrict b, int64_t n)
{
    lane_sums l = {{{0}}, {{0}}, {{0}}};
    int64_t i = 0;
    for (; i + L <= n; i += L) compensated_step(a + i, b + i, &l);
    if (i < n) {
        double x[L] = {0}, y[L] = {0};
        memcpy(x, a + i, (size_t)(n - i) * sizeof *a);
        memcpy(y, b + i, (size_t)(n - i) * sizeof *b);
        compensated_step(x, y, &l);
    }
    return gather((double *)l.sum, (double *)l.rest, (double *)l.size);
}

/* One term: its product and the sum are split, and everything that is left goes to c. low: the low words that there are, of a 1, of b 2. */
__attribute__((always_inline)) static inline void pairs_step(const double *a, const double *al, const double *b,
                                                             const double *bl, int low, lane_sums *l)
{
#pragma GCC unroll 16
    for (int k = 0; k < V; k++) {
        vec const x = vec_load(a + WIDE * k), y = vec_load(b + WIDE * k), p = x * y;
        vec left = vec_residual(x, y, p);
        if (low == 1) left += vec_load(al + WIDE * k) * y;
        if (low == 2) left += x * vec_load(bl + WIDE * k);
        if (low == 3) left += x * vec_load(bl + WIDE * k) + vec_load(al + WIDE * k) * y;
        l->rest[k] += add_product(p, &l->sum[k]) + left;
        l->size[k] += vec_abs(p);
    }
}

__attribute__((always_inline)) static inline dot_sum pairs_with(const double *restrict a, const double *restrict al,
                                                                const double *restrict b, const double *restrict bl,
                                                                int64_t n, int low)
{
    lane_sums l = {{{0}}, {{0}}, {{0}}};
    int64_t i = 0;
    for (; i + L <= n; i += L) pairs_step(a + i, low & 1 ? al + i : NULL, b + i, low & 2 ? bl + i : NULL, low, &l);
    if (i < n) {
        double part[4][L] = {{0}};
        size_t const size = (size_t)(n - i) * sizeof *a;
        memcpy(part[0], a + i, size), memcpy(part[2], b + i, size);
        if (low & 1) memcpy(part[1], al + i, size);
        if (low & 2) memcpy(part[3], bl + i, size);
        pairs_step(part[0], part[1], part[2], part[3], low, &l);
    }
    return gather((double *)l.sum, (double *)l.rest, (double *)l.size);
}

static dot_sum pairs(const double *a, const double *al, const double *b, const double *bl, int64_t n)
{
    if (al && bl) return pairs_with(a, al, b, bl, n, 3);
    if (al) return pairs_with(a, al, b, NULL, n, 1);
    if (bl) return pairs_with(a, NULL, b, bl, n, 2);
    return pairs_with(a, NULL, b, NULL, n, 0);
}

/* One weight and 32 columns of its row. */
static inline void row_step(double h, double l, const double *restrict v, double *restrict s, double *restrict c)
{
    for (int k = 0; k < L; k++) {
        double const p = h * v[k];
        double const t = s[k] + p;
        double const z = t - s[k];
        c[k] += ((s[k] - (t - z)) + (p - z)) + fma(l, v[k], fma(h, v[k], -p));
        s[k] = t;
    }
}

/* Lemma Combine: products and sums split into a rounded part and its error; the errors go to rest. */
static void combine(const double *restrict hi, const double *restrict lo, const double *restrict value, int64_t n,
                    int64_t stride, int64_t width, double *restrict sum, double *restrict rest)
{
    for (int64_t from = 0; from < width; from += L) {
        int const lanes = width - from < L ? (int)(width - from) : L;
        double s[L] = {0}, c[L] = {0}, v[L] = {0};
        for (int k = 0; k < lanes; k++) s[k] = sum[from + k], c[k] = rest[from + k];
        for (int64_t j = 0; j < n; j++) {
            const double *const row = value + j * stride + from;
            if (lanes == L) {
                row_step(hi[j], lo[j], row, s, c);
                continue;
            }
            for (int k = 0; k < lanes; k++) v[k] = row[k];
            row_step(hi[j], lo[j], v, s, c);
        }
        for (int k = 0; k < lanes; k++) sum[from + k] = s[k], rest[from + k] = c[k];
    }
}

static void cut(double *restrict hi, double *restrict lo, int64_t n, const double *restrict round, int64_t stride,
                double *restrict piece)
{
    for (int i = 0; i < PIECES; i++)
        for (int64_t j = 0; j < n; j++) {
            double const rounded = (hi[j] + round[i]) - round[i];
            centre const rest = two_sum(hi[j] - rounded, lo[j]);
            piece[i * stride + j] = rounded;
            hi[j] = rest.hi, lo[j] = rest.lo;
        }
}

FUSED inline __attribute__((always_inline)) void slice(const double *restrict piece, int64_t stride, int pieces,
                                                       const double *restrict value, int64_t n, double *restrict sums)
{
    vec part[PIECES][V] = {{{0}}};
    for (int64_t j = 0; j < n; j++) {
#pragma GCC unroll 16
        for (int k = 0; k < V; k++) {
            vec const x = vec_load(value + j * L + WIDE * k);
#pragma GCC unroll 4
            for (int i = 0; i < pieces; i++) part[i][k] += piece[i * stride + j] * x;
        }
    }
    for (int i = 0; i < pieces; i++) {
        double s[L];
        memcpy(s, part[i], sizeof s);
        for (int k = 0; k < L; k++) sums[i * L + k] += s[k];
    }
}

FUSED void slices(const double *restrict piece, int64_t stride, int pieces, const double *restrict value, int64_t n,
                  double *restrict sums)
{
    switch (pieces) {
    case 1: slice(piece, stride, 1, value, n, sums); break;
    case 2: slice(piece, stride, 2, value, n, sums); break;
    case 3: slice(piece, stride, 3, value, n, sums); break;
    default: slice(piece, stride, PIECES, value, n, sums);
    }
}

static void exponential(double *restrict hi, double *restrict lo, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        centre const y = exp_dd((centre){hi[j], lo[j]});
        hi[j] = y.hi;
        lo[j] = y.lo;
    }
}

/* centre_sup, without a branch: a low word of the same sign moves the end away from 0. */
static inline double size_of(double hi, double lo)
{
    double size;
    int64_t h, l;
    memcpy(&h, &hi, sizeof h), memcpy(&l, &lo, sizeof l);
    int64_t const outwards = (h ^ l) < 0 || (l & INT64_MAX) == 0 ? 0 : 1, bits = (h & INT64_MAX) + outwards;
    memcpy(&size, &bits, sizeof size);
    return size;
}

static void multiply(double *restrict hi, double *restrict lo, double *restrict r, int64_t n, const double *restrict b)
{
    centre const factor = {b[0], b[1]};
    double const radius = b[2], size = size_of(b[0], b[1]);
    for (int64_t j = 0; j < n; j++) {
        centre const c = mul_dd((centre){hi[j], lo[j]}, factor);
        double const spread = size_of(hi[j], lo[j]) * radius + size * r[j] + r[j] * radius;
        hi[j] = c.hi, lo[j] = c.lo, r[j] = (0x1.3p-103 * fabs(c.hi) + 0x1p-1000) + spread;
    }
}

static void add(double *restrict hi, double *restrict lo, double *restrict r, int64_t n, const double *restrict b)
{
    for (int64_t j = 0; j < n; j++) {
        centre const s = two_sum(hi[j], b[0]), t = two_sum(lo[j], b[1]), v = fast_two_sum(s.hi, s.lo + t.hi);
        centre const c = fast_two_sum(v.hi, v.lo + t.lo);
        double const err = (lo[j] == 0) & (b[1] == 0) ? 0 : 0x1p-104 * fabs(c.hi);
        hi[j] = c.hi, lo[j] = c.lo, r[j] = err + r[j] + b[2];
    }
}

static void deviate(const double *restrict p, const double *restrict pe, const double *restrict value, int64_t n,
                    int64_t stride, int64_t width, const double *restrict o, double *restrict sums)
{
    for (int64_t from = 0; from < width; from += L) {
        int const lanes = width - from < L ? (int)(width - from) : L;
        double size[L] = {0}, moved[L] = {0}, spread[L] = {0}, v[L] = {0}, mean[L] = {0};
        for (int k = 0; k < lanes; k++) mean[k] = o[from + k];
        for (int64_t j = 0; j < n; j++) {
            const double *row = value + j * stride + from;
            if (lanes < L) {
                for (int k = 0; k < lanes; k++) v[k] = row[k];
                row = v;
            }
            for (int k = 0; k < L; k++) {
                double const far = fabs(row[k] - mean[k]);
                size[k] += p[j] * fabs(row[k]);
                moved[k] += pe[j] * far;
                spread[k] += p[j] * far;
            }
        }
        for (int k = 0; k < lanes; k++) {
            sums[3 * (from + k)] += size[k];
            sums[3 * (from + k) + 1] += moved[k];
            sums[3 * (from + k) + 2] += spread[k];
        }
    }
}

static void column_sup(const double *restrict value, int64_t n, int64_t stride, int64_t width, double *restrict sup)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < width; c++) {
            double const size = fabs(value[j * stride + c]), least = size <= sup[c] ? sup[c] : size;
            sup[c] = isnan(size) ? (double)INFINITY : least;
        }
}

/* Where mask is all ones a, where it is 0 b. */
static inline vec vec_choose(vec_bits mask, vec a, vec b)
{
    return (vec)((mask & (vec_bits)a) | (~mask & (vec_bits)b));
}

/* A number is a multiple of its lowest bit and of no larger power of two: that is what is lost without this bit, or, of a power of
 * two, all of it. The difference is exact. */
static number_survey survey(const double *value, int64_t n)
{
    static const int64_t leading = 1LL << 52, infinite = 0x7ffLL << 52;
    vec largest = {0}, unit = {0};
    vec_bits fractions = {0}, odd = {0}, tiny = {0};
    unit += HUGE_VAL;
    for (int64_t i = 0; i < n; i += WIDE) {
        vec v = {0};
        if (i + WIDE <= n)
            v = vec_load(value + i);
        else
            memcpy(&v, value + i, (size_t)(n - i) * sizeof *value);
        vec const a = vec_abs(v);
        vec_bits const bits = (vec_bits)a, fraction = bits & (leading - 1), some = bits != 0;
        vec const low = a - (vec)(bits & (bits - 1) & (fraction != 0));
        largest = vec_choose(a > largest, a, largest);
        unit = vec_choose(some & (low < unit), low, unit);
        fractions |= fraction;
        odd |= (some & (bits < leading)) | (bits >= infinite);
        tiny -= some & (a < 0x1p-126);
    }
    number_survey s = {.unit = HUGE_VAL};
    for (int k = 0; k < WIDE; k++) {
        s.odd |= odd[k] != 0;
        s.max_abs = fmax(s.max_abs, largest[k]);
        s.unit = fmin(s.unit, unit[k]);
        s.fraction |= (uint64_t)fractions[k];
        s.tiny += tiny[k];
    }
    return s;
}

#if defined(__AVX512F__)
/* No NaN, and no subnormal but 0. */
static bool all_normal(const uint8_t *code, int64_t n)
{
    uint8_t odd = 0;
    for (int64_t i = 0; i < n; i++) {
        uint8_t const size = code[i] & 0x7f;
        odd |= (uint8_t)(size - 1) < 7 || size == 0x7f;
    }
    return !odd;
}

/* Eight codes at once: sign, exponent and fraction go to their places in binary64, whose exponent is 1016 more. */
static bool scaled_codes(const uint8_t *code, int64_t n, double scale, double *restrict value)
{
    vec_bits const place = {56, 48, 40, 32, 24, 16, 8, 0};
    if (n % WIDE != 0 || !all_normal(code, n)) return false;
    for (int64_t i = 0; i < n; i += WIDE) {
        int64_t word;
        memcpy(&word, code + i, sizeof word);
        vec_bits const first = ((vec_bits){0} + word) << place;
        vec const v = (vec)((first & INT64_MIN) | (first >> 7 & 0x7fLL << 49));
        vec const scaled = v * 0x1p1016 * scale;
        memcpy(value + i, &scaled, sizeof scaled);
    }
    return true;
}
#else
static bool scaled_codes(const uint8_t *code, int64_t n, double scale, double *restrict value)
{
    (void)code, (void)n, (void)scale, (void)value;
    return false;
}
#endif

/* ---- of the sampled tier ---- */

enum { EIGHT = 8, E = EIGHT / WIDE };

static double sum_of_eight(const double s[EIGHT])
{
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

static inline vec vec_sign(vec v)
{
    vec const zero = {0}, one = zero + 1;
    return vec_choose(v > zero, one, zero) - vec_choose(v < zero, one, zero);
}

/* first, first + 1 ... */
static inline void count_from(double first, vec at[E])
{
    for (int k = 0; k < EIGHT; k++) at[k / WIDE][k % WIDE] = first + k;
}

static double terms(const double *restrict a, const double *restrict b, int64_t n)
{
    vec sum[E] = {{0}};
    double s[EIGHT], rest = 0;
    int64_t i = 0;
    for (; i + EIGHT <= n; i += EIGHT)
#pragma GCC unroll 4
        for (int k = 0; k < E; k++) sum[k] += vec_load(a + i + WIDE * k) * vec_load(b + i + WIDE * k);
    for (; i < n; i++) rest += a[i] * b[i];
    memcpy(s, sum, sizeof s);
    return sum_of_eight(s) + rest;
}

static void moments(const double *restrict a, const double *restrict b, int64_t n, double sums[4])
{
    vec total[E] = {{0}}, squares[E] = {{0}}, moment[E] = {{0}}, signs[E] = {{0}}, at[E];
    double s[4][EIGHT];
    int64_t i = 0;
    count_from(0, at);
    for (; i + EIGHT <= n; i += EIGHT)
#pragma GCC unroll 4
        for (int k = 0; k < E; k++) {
            vec const term = vec_load(a + i + WIDE * k) * vec_load(b + i + WIDE * k);
            total[k] += term;
            squares[k] += term * term;
            moment[k] += at[k] * term;
            signs[k] += vec_sign(term);
            at[k] += EIGHT;
        }
    memcpy(s[0], total, sizeof total), memcpy(s[1], squares, sizeof squares);
    memcpy(s[2], moment, sizeof moment), memcpy(s[3], signs, sizeof signs);
    for (; i < n; i++) {
        double const term = a[i] * b[i];
        s[0][0] += term, s[1][0] += term * term, s[2][0] += (double)i * term, s[3][0] += signum(term);
    }
    for (int k = 0; k < 4; k++) sums[k] = sum_of_eight(s[k]);
}

static void digest(const double *restrict value, int64_t n, double sums[3])
{
    vec total[E] = {{0}}, moment[E] = {{0}}, most[E] = {{0}}, at[E];
    double s[3][EIGHT];
    int64_t i = 0;
    count_from(1, at);
    for (; i + EIGHT <= n; i += EIGHT)
#pragma GCC unroll 4
        for (int k = 0; k < E; k++) {
            vec const v = vec_load(value + i + WIDE * k), size = vec_abs(v);
            total[k] += v;
            moment[k] += at[k] * v;
            at[k] += EIGHT;
            most[k] = vec_choose(size > most[k], size, most[k]);
        }
    memcpy(s[0], total, sizeof total), memcpy(s[1], moment, sizeof moment), memcpy(s[2], most, sizeof most);
    for (; i < n; i++) {
        s[0][0] += value[i], s[1][0] += (double)(i + 1) * value[i];
        s[2][0] = fabs(value[i]) > s[2][0] ? fabs(value[i]) : s[2][0];
    }
    sums[0] = sum_of_eight(s[0]), sums[1] = sum_of_eight(s[1]), sums[2] = 0;
    for (int k = 0; k < EIGHT; k++) sums[2] = fmax(sums[2], s[2][k]);
}

const kernels JOIN(kernels_, KERNEL_ISA) = {TEXT(KERNEL_ISA), plain,        compensated, pairs,   combine, cut,
                                            slices,           exponential,  multiply,    add,     deviate, column_sup,
                                            survey,           scaled_codes, terms,       moments, digest};
