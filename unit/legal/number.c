/* number: see number.h. */
#include "number.h"

#include <math.h>
#include <string.h>

number_format const number_f32 = {24, -149, 0x1.fffffep127, false};
number_format const number_bf16 = {8, -133, 0x1.fep127, false};
number_format const number_e4m3 = {4, -9, 448, false};

number_format number_accumulator(int bits, bool to_zero)
{
    if (bits >= 53) return (number_format){53, -1074, 0x1.fffffffffffffp1023, false};
    return (number_format){bits, -149, ldexp(2 - ldexp(1, 1 - bits), 127), to_zero};
}

double number_place(number_format format, double x)
{
    if (x == 0) return ldexp(1, format.last);
    int exponent = 0;
    frexp(x, &exponent);
    int const last = exponent - format.bits;
    return ldexp(1, last > format.last ? last : format.last);
}

static double overflow(number_format format, double x)
{
    if (fabs(x) <= format.top) return x;
    return copysign(format.to_zero ? format.top : INFINITY, x);
}

double number_round2(number_format format, double x, double tail)
{
    if (format.bits == 53 || !isfinite(x)) return x + tail;
    double const size = fabs(x), away = x < 0 ? -tail : tail;
    double const place = number_place(format, x);
    double const below = floor(size / place) * place;
    double const rest = size - below; /* exact: size has at most 53 bits, below some of its upper ones */
    double result = below;
    if (format.to_zero) {
        if (rest == 0 && away < 0) { /* just below a number of the format, perhaps below a power of two */
            double const under = number_place(format, nextafter(size, 0));
            result = size - under;
        }
    } else if (rest > place / 2 || (rest == place / 2 && away > 0)) {
        result = below + place;
    } else if (rest == place / 2 && away == 0) {
        result = fmod(below / place, 2) == 0 ? below : below + place;
    } /* a sum just below a power of two rounds to it: away is less than half a place of the lower binade */
    return copysign(overflow(format, result), x);
}

double number_round(number_format format, double x)
{
    return number_round2(format, x, 0);
}

void number_clear(number_sum *sum)
{
    memset(sum, 0, sizeof *sum);
}

enum { BASE = -512, WIDTH = 32 };

/* Limbs 0 .. NUMBER_LIMBS - 2 to [0, 2^32); the last keeps the sign. */
static void carry(number_sum *sum)
{
    for (int i = 0; i < NUMBER_LIMBS - 1; i++) {
        int64_t const up = sum->limb[i] >> WIDTH;
        sum->limb[i] -= up << WIDTH;
        sum->limb[i + 1] += up;
    }
}

void number_add(number_sum *sum, double x)
{
    if (x == 0) return;
    int exponent = 0;
    int64_t const whole = (int64_t)ldexp(frexp(fabs(x), &exponent), 53);
    int const at = exponent - 53 - BASE, limb = at / WIDTH, shift = at % WIDTH;
    unsigned __int128 const bits = (unsigned __int128)(uint64_t)whole << shift;
    for (int i = 0; i < 3; i++) {
        int64_t const part = (int64_t)(uint32_t)(bits >> (WIDTH * i));
        sum->limb[limb + i] += x < 0 ? -part : part;
    }
}

/* Two limbs hold at least 33 bits, more than any accumulator; of what is below them only the sign counts. */
double number_total(number_sum const *sum, number_format format)
{
    number_sum size = *sum;
    carry(&size);
    bool const negative = size.limb[NUMBER_LIMBS - 1] < 0;
    if (negative) {
        for (int i = 0; i < NUMBER_LIMBS; i++) size.limb[i] = -size.limb[i];
        carry(&size);
    }
    int top = NUMBER_LIMBS - 1;
    while (top > 1 && size.limb[top] == 0) top--;
    uint64_t const held = (uint64_t)size.limb[top] << WIDTH | (uint64_t)size.limb[top - 1];
    int drop = 0;
    while (held >> drop >= (uint64_t)1 << 53) drop++;
    bool some = (held & (((uint64_t)1 << drop) - 1)) != 0;
    for (int i = 0; i < top - 1; i++) some = some || size.limb[i] != 0;
    double const x = ldexp((double)(held >> drop), BASE + WIDTH * (top - 1) + drop);
    double const tail = some ? 0x1p-1000 : 0;
    double const result = number_round2(format, x, tail);
    return negative ? -result : result;
}

double number_from_e4m3(uint8_t code)
{
    int const exponent = code >> 3 & 15, fraction = code & 7;
    double size = exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9);
    if (exponent == 15 && fraction == 7) size = NAN;
    return code & 128 ? -size : size;
}

uint8_t number_to_e4m3(double x)
{
    uint8_t const sign = signbit(x) ? 128 : 0;
    double size = fabs(x);
    if (size > 448) size = 448;
    size = number_round(number_e4m3, size);
    if (size == 0) return sign;
    int exponent = 0;
    frexp(size, &exponent);
    if (exponent - 1 < -6) return (uint8_t)(sign | (int)ldexp(size, 9));
    int const fraction = (int)ldexp(size, 4 - exponent) - 8;
    return (uint8_t)(sign | (exponent - 1 + 7) << 3 | fraction);
}
