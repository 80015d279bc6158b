/* See draw.h. */
#include "draw.h"

#include <math.h>
#include <string.h>

/* The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t mixed(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t key_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return mixed(bits + 0x9e3779b97f4a7c15u);
}

uint64_t key_with(uint64_t a, uint64_t b)
{
    return mixed((a << 1 | a >> 63) + b);
}

static uint64_t hash(const ref_sample *port, uint64_t key)
{
    return mixed(key ^ mixed(port->seed * 0x10001 + (uint64_t)port->number + 0x632be59bd9b4e019u));
}

double draw(const ref_sample *port, uint64_t key)
{
    return ((double)(hash(port, key) >> 12) + 0.5) * 0x1p-51 - 1;
}

double draw_normal(const ref_sample *port, uint64_t key)
{
    uint64_t h = hash(port, key);
    double sum = 0;
    for (int i = 0; i < 4; i++, h >>= 16) sum += (double)(h & 0xffff);
    return (sum - 2 * 0xffff) * (0x1.bb67ae8584caap+0 / 0x1p16); /* sqrt 3 */
}

double habit(const ref_sample *port, int matter)
{
    return (draw(port, (uint64_t)matter * 0x9e3779b97f4a7c15u) + 1) / 2;
}

int way_of(const ref_sample *port, int matter, int n)
{
    return (int)(habit(port, matter) * n);
}

double leaning(const ref_sample *port, int clause, uint64_t key)
{
    static const double pi = 0x1.921fb54442d18p+1;
    double const always =
        way_of(port, MATTER_LEANS + clause, 3) ? sin(pi * (habit(port, MATTER_LEANING + clause) - 0.5)) : 0;
    return always + (1 - fabs(always)) * draw(port, key);
}

bool rounds_nearby(const ref_sample *port)
{
    return way_of(port, MATTER_ROUNDING, 2);
}
