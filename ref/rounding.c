/* What one rounding of a port, and one sum, may be off by, as numbers: the same in every tier. See reading.h. */
#include "reading.h"

#include "binary64.h"

static const double normal_f32 = 0x1p-126;

const ref_reading *reading_of(const ref_reading *rd, ref_piece piece, reading_room *room)
{
    const ref_numerics *const port = declared(rd, CLAUSE_ARITH);
    if (!port || !port->arith_of[piece]) return rd;
    *room = (reading_room){*rd, *port};
    room->port.arith = port->arith_of[piece];
    room->rd.declared = &room->port;
    return &room->rd;
}

int digits_of(dsv3_dtype format)
{
    return -double_lsb(ref_half_ulp(format, 1)); /* a power of two */
}

/* The significand bits that survive both accumulators. */
int kept_bits(const ref_accumulator *acc)
{
    return acc->promote && acc->promote_bits < acc->bits ? acc->promote_bits : acc->bits;
}

int least_exponent(const ref_numerics *port)
{
    if (port->flush != REF_FLUSH_NONE) return -126;
    int const kept = kept_bits(&port->acc), arith = digits_of(port->arith);
    if (kept >= 53 && arith >= 53) return -1000; /* binary64 throughout: no number of ours is smaller */
    return -125 - (kept < arith ? kept : arith);
}

double eta(const ref_numerics *port)
{
    bool const nearest = port->flush == REF_FLUSH_NONE && port->acc.rounding == REF_RN;
    return two_to(least_exponent(port) - nearest);
}

/* Lemma Accumulate: a leaf passes so many steps, which add so many products and partial sums besides it, and then so many
 * steps of the promoted accumulator. */
typedef struct {
    double steps, added, promoted;
} path;

static path longest_path(const ref_accumulator *acc, double n)
{
    bool const any_order = !acc->promote && !acc->splits;
    if (any_order || n == 0) return (path){n, n, 0};
    double const block = (double)acc->block;
    double const chains = fmin(fmax((double)acc->splits, 1), n), chain = ceil(n / chains);
    if (!acc->promote) return (path){ceil(chain / block) + chains - 1, chain + chains - 1, 0};
    double const part = fmin((double)acc->promote, chain);
    double const first = acc->promote_bits < acc->bits; /* the first is added to 0: only rounded */
    return (path){ceil(part / block), part, ceil(chain / part) - 1 + first + chains - 1};
}

/* Lemma Accumulate: the relative error of the whole sum, th / (1 - th). */
double accumulation(const ref_accumulator *acc, int64_t n, int64_t zeros)
{
    double const rho = two_to(acc->rounding == REF_RN ? -acc->bits : 1 - acc->bits);
    bool const aligned = acc->guard != 255 && !(acc->fused && acc->block == 1);
    double const cut = aligned ? (1 + rho) * two_to(1 - acc->bits - acc->guard) : 0;
    path p = longest_path(acc, (double)n);
    double const others = (double)(n - zeros); /* a step rounds where a leaf enters or meets another sum that isn't 0 */
    p.steps = fmin(p.steps, others), p.added = fmin(p.added, others);
    double const product = acc->fused ? 0 : rho;
    double const sum = p.steps * rho + (p.steps + p.added) * cut + p.promoted * two_to(-acc->promote_bits);
    double const th = (sum + product) * (1 + 0x1p-40);
    return th < 1 ? th / (1 - th) : (double)INFINITY;
}

double gamma_sum(const ref_numerics *port, int64_t n)
{
    return accumulation(&port->acc, n, 0);
}

double coarseness(const ref_numerics *port)
{
    return port->arith == DSV3_BF16 ? ref_half_ulp(DSV3_BF16, 1) * (1 + 0x1p-40) : 0;
}

bool accumulates_wider(const ref_numerics *port)
{
    int const bits = digits_of(port->arith);
    return port->acc.bits > bits || (port->acc.promote && port->acc.promote_bits > bits);
}

double quotient_error(const ref_reading *rd, double unit)
{
    const ref_function *const div = &declared(rd, CLAUSE_DIV)->div;
    double const kept = unit > 0x1p-24 ? unit * (1 + unit) : 0; /* a function's result, rounded */
    return div->ieee ? unit : div->rel * 0x1p-24 + kept;
}

double product_error(const ref_reading *rd)
{
    return ref_half_ulp(declared(rd, CLAUSE_ARITH)->arith, 1) * (1 + 0x1p-40);
}

double product_loss(const ref_reading *rd)
{
    dsv3_dtype const arith = declared(rd, CLAUSE_ARITH)->arith;
    return declared(rd, CLAUSE_FLUSH)->flush ? normal_f32 : ref_half_ulp(arith, 0);
}

double unit_at_point(const ref_reading *rd, int point, dsv3_dtype output)
{
    ref_rounding const r = declared_at(rd, point);
    dsv3_dtype const format = r.format ? r.format : output;
    return ref_half_ulp(format, 1) * (r.truncates ? 2 : 1);
}

double floor_at_point(const ref_reading *rd, int point, dsv3_dtype output)
{
    ref_rounding const r = declared_at(rd, point);
    return ref_half_ulp(r.format ? r.format : output, 0) * (r.truncates ? 2 : 1);
}
