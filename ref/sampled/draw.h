/*
 * What a port that is drawn does where its declaration leaves it free. A port is a function: equal numbers are rounded alike.
 * So a draw has no state: it is a hash of the numbers it is about and of the port.
 */
#ifndef DRAW_H
#define DRAW_H

#include "../reading.h"

#include <string.h>

/* The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014). */
static inline uint64_t mixed(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Of a number. */
static inline uint64_t key_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return mixed(bits + 0x9e3779b97f4a7c15u);
}

/* Of both, in this order. */
static inline uint64_t key_with(uint64_t a, uint64_t b)
{
    return mixed((a << 1 | a >> 63) + b);
}

static inline uint64_t hash(const ref_sample *port, uint64_t key)
{
    return mixed(key ^ mixed(port->seed * 0x10001 + (uint64_t)port->number + 0x632be59bd9b4e019u));
}

/* In (-1, 1), all alike. */
static inline double draw(const ref_sample *port, uint64_t key)
{
    return ((double)(hash(port, key) >> 12) + 0.5) * 0x1p-51 - 1;
}

/* Of mean 0 and variance 1, a sum of four such. */
static inline double draw_normal(const ref_sample *port, uint64_t key)
{
    uint64_t h = hash(port, key);
    double sum = 0;
    for (int i = 0; i < 4; i++, h >>= 16) sum += (double)(h & 0xffff);
    return (sum - 2 * 0xffff) * (0x1.bb67ae8584caap+0 / 0x1p16); /* sqrt 3 */
}

/* What belongs to the port and not to a number, in (0, 1): what it always does in one matter. */
enum {
    MATTER_ORDER = 1,
    MATTER_TRUNCATION,
    MATTER_PREFIX,
    MATTER_TILE,
    MATTER_MAXIMUM,
    MATTER_ROUNDING,
    MATTER_UP,
    MATTER_CHAINS,
    MATTER_PARTS,
    MATTER_SUM,
    MATTER_MERGE,
    MATTER_CONSTANTS,
    MATTER_BINADES,
    MATTER_BASE,
    MATTER_EDGE,
    MATTER_SCALES,
    MATTER_POINTS = 1000,
    MATTER_CLAUSES = 2000,
    MATTER_LEANS = 3000,
    MATTER_LEANING = 4000,
    MATTER_CHOICES = 5000,
    MATTER_BINADE = 10000 /* and the exponent */
};
static inline double habit(const ref_sample *port, int matter)
{
    return (draw(port, (uint64_t)matter * 0x9e3779b97f4a7c15u) + 1) / 2;
}

/* One of n ways, in one matter. */
static inline int way_of(const ref_sample *port, int matter, int n)
{
    return (int)(habit(port, matter) * n);
}

/* The error of a function, in (-1, 1): two ports of three lean one way, more or less, whatever the number. A function is told by its
 * clause; 0: what has none. */
double leaning(const ref_sample *port, int clause, uint64_t key);

/* How far a function may be off, relative. */
double function_error(const ref_reading *rd, int clause, const ref_function *fn, double argument);

/* Does it round numbers near those of the formula, for it goes another way; or these very numbers? */
static inline bool rounds_nearby(const ref_sample *port)
{
    return way_of(port, MATTER_ROUNDING, 2);
}

#endif
