/* selftest: the primitives of the legal ports against slower or simpler ways to the same numbers. */
#include "number.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 88172645463325252u;
static uint64_t draw(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static double any_double(int low, int high)
{
    double const x = ldexp((double)(draw() >> 11), -53 + low + (int)(draw() % (uint64_t)(high - low)));
    return draw() & 1 ? -x : x;
}

Test(number, f32_to_nearest_is_the_cast)
{
    for (int i = 0; i < 2000000; i++) {
        double const x = any_double(-160, 130);
        double const want = (double)(float)x;
        cr_assert(number_round(number_f32, x) == want, "%a: %a, cast %a", x, number_round(number_f32, x), want);
    }
}

Test(number, bf16_to_nearest_is_the_bit_trick)
{
    for (int i = 0; i < 2000000; i++) {
        uint32_t bits = (uint32_t)draw();
        float x = 0, want = 0;
        memcpy(&x, &bits, 4);
        if (!isfinite(x)) continue;
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
        memcpy(&want, &bits, 4);
        double const got = number_round(number_bf16, (double)x);
        cr_assert(got == (double)want, "%a: %a, bits say %a", (double)x, got, (double)want);
    }
}

/* A cut to p bits zeroes the lower bits of a double. */
Test(number, cutting_zeroes_bits)
{
    for (int i = 0; i < 2000000; i++) {
        int const bits = 2 + (int)(draw() % 23);
        double const x = any_double(-100, 100);
        if (x == 0) continue;
        uint64_t image = 0;
        memcpy(&image, &x, 8);
        image &= ~(((uint64_t)1 << (53 - bits)) - 1);
        double want = 0;
        memcpy(&want, &image, 8);
        cr_assert(number_round(number_accumulator(bits, true), x) == want);
    }
}

Test(number, e4m3_codes_round_trip_and_nearest_wins)
{
    for (int code = 0; code < 256; code++)
        if ((code & 127) != 127) cr_assert(number_to_e4m3(number_from_e4m3((uint8_t)code)) == code);
    for (int i = 0; i < 200000; i++) {
        double const x = any_double(-12, 10), got = number_from_e4m3(number_to_e4m3(x));
        for (int code = 0; code < 256; code++)
            if ((code & 127) != 127) cr_assert(fabs(got - x) <= fabs(number_from_e4m3((uint8_t)code) - x));
    }
    cr_assert(number_to_e4m3(0x1p-10) == 0 && number_to_e4m3(0x3p-10) == 2 && number_to_e4m3(0xfp-10) == 8);
    cr_assert(number_to_e4m3(17. / 16) == 0x38 && number_to_e4m3(19. / 16) == 0x3a && number_to_e4m3(1e9) == 0x7e);
}

/* Whole numbers below 2^120 have their sum in __int128, whose bits say how it rounds. */
Test(number, exact_sums_are_those_of_whole_numbers)
{
    for (int i = 0; i < 300000; i++) {
        number_sum sum;
        number_clear(&sum);
        __int128 want = 0;
        for (int k = 0; k < 6; k++) {
            double x = rint(any_double(0, 110));
            number_add(&sum, x);
            want += (__int128)x;
        }
        __int128 size = want < 0 ? -want : want;
        int drop = 0, const_bits = 2 + (int)(draw() % 23);
        while (size >> drop >= (__int128)1 << const_bits) drop++;
        __int128 cut = size >> drop << drop, rest = size - cut, half = drop ? (__int128)1 << (drop - 1) : 0;
        bool const up = drop && (rest > half || (rest == half && (cut >> drop & 1)));
        __int128 near = up ? cut + ((__int128)1 << drop) : cut;
        double const sign = want < 0 ? -1 : 1;
        cr_assert(number_total(&sum, number_accumulator(const_bits, true)) == sign * (double)cut);
        cr_assert(number_total(&sum, number_accumulator(const_bits, false)) == sign * (double)near);
    }
}

/* x + tail through the exact sum and through the pair. */
Test(number, pairs_round_like_sums)
{
    for (int i = 0; i < 500000; i++) {
        int const bits = 2 + (int)(draw() % 23);
        number_format const format = number_accumulator(bits, draw() & 1);
        double const a = number_round(number_accumulator(bits + 1, true), any_double(-60, 60));
        double const b = any_double(-130, 60);
        double const x = a + b, back = x - a, tail = (a - (x - back)) + (b - back);
        number_sum sum;
        number_clear(&sum);
        number_add(&sum, a);
        number_add(&sum, b);
        cr_assert(number_total(&sum, format) == number_round2(format, x, tail), "%a + %a, %d bits", a, b, bits);
    }
}
