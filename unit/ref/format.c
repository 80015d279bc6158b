/* Formats: every code of the small ones, the hardware's own conversions for binary32, published tables. */
#include "ref.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

TestSuite(format, .timeout = 60);

static double decode_code(dsv3_dtype d, uint32_t code)
{
    return ref_decode(d, &code, 0);
}

static uint32_t encode_value(dsv3_dtype d, double v)
{
    uint32_t code = 0;
    ref_encode(d, &code, 0, v);
    return code;
}

/* Decoding and encoding are inverse on every code; codes are in order of their values. */
/* The same values many at once. */
Test(format, many_at_once)
{
    static uint32_t data[6000];
    double out[2990];
    for (int i = 0; i < 6000; i++) data[i] = (uint32_t)i * 2654435761u;
    for (dsv3_dtype d = DSV3_F32; d < DSV3_DTYPES; d++) {
        ref_decode_all(d, data, 7, 2990, out);
        for (int i = 0; i < 2990; i++) {
            double const one = ref_decode(d, data, 7 + i);
            cr_assert(out[i] == one || (isnan(out[i]) && isnan(one)), "%s, element %d", ref_dtype_name(d), i);
        }
    }
}

static void check_all_codes(dsv3_dtype d, uint32_t codes)
{
    for (uint32_t c = 0; c < codes; c++) {
        double const v = decode_code(d, c);
        if (isnan(v)) {
            cr_assert(isnan(decode_code(d, encode_value(d, v))), "%s 0x%x", ref_dtype_name(d), c);
            continue;
        }
        if (!(d == DSV3_F8_E4M3 && isinf(v)))
            cr_assert(encode_value(d, v) == c, "%s 0x%x is %g, encodes to 0x%x", ref_dtype_name(d), c, v,
                      encode_value(d, v));
        cr_assert(isinf(v) || ref_round(d, v) == v, "%s 0x%x moves", ref_dtype_name(d), c);
        double const next = decode_code(d, c + 1);
        bool const in_order = c + 1 == codes / 2 || isnan(next) || (c < codes / 2 ? next > v : next < v);
        cr_assert(in_order || c == codes - 1, "%s 0x%x is out of order", ref_dtype_name(d), c);
    }
}

Test(format, every_code_round_trips)
{
    check_all_codes(DSV3_BF16, 1u << 16);
    check_all_codes(DSV3_F16, 1u << 16);
    check_all_codes(DSV3_F8_E4M3, 1u << 8);
}

/* What is encoded is what rounding gives: of each code's value, the middle between it and the next, and what is next to that. */
Test(format, codes_are_those_of_rounded_numbers)
{
    static const dsv3_dtype formats[] = {DSV3_BF16, DSV3_F16, DSV3_F8_E4M3};
    for (size_t k = 0; k < sizeof formats / sizeof *formats; k++) {
        dsv3_dtype const d = formats[k];
        for (uint32_t c = 0; c < 1u << 8 * ref_dtype_size(d); c++) {
            double const value = decode_code(d, c), next = decode_code(d, c + 1), middle = (value + next) / 2;
            double const tried[] = {value, middle, nextafter(middle, value), nextafter(middle, next)};
            if (!isfinite(value) || !isfinite(next)) continue;
            for (int i = 0; i < 4; i++) {
                double const code = decode_code(d, encode_value(d, tried[i])), rounded = ref_round(d, tried[i]);
                cr_assert(code == rounded && signbit(code) == signbit(rounded), "%s %a", ref_dtype_name(d), tried[i]);
            }
        }
    }
}

/* E4M3FN as published (OCP 8-bit floating point, 5.2) with saturation, BF16 ties. */
Test(format, published_codes)
{
    static const struct {
        dsv3_dtype d;
        double v;
        uint32_t code;
    } rows[] = {
        {DSV3_F8_E4M3, 0x1p-10, 0x00},
        {DSV3_F8_E4M3, 3 * 0x1p-10, 0x02},
        {DSV3_F8_E4M3, 15 * 0x1p-10, 0x08},
        {DSV3_F8_E4M3, 17.0 / 16, 0x38},
        {DSV3_F8_E4M3, 19.0 / 16, 0x3a},
        {DSV3_F8_E4M3, 21.0 / 16, 0x3a},
        {DSV3_F8_E4M3, 0.1, 0x1d},
        {DSV3_F8_E4M3, -1.0 / 3, 0xab},
        {DSV3_F8_E4M3, 248, 0x78},
        {DSV3_F8_E4M3, 432, 0x7e},
        {DSV3_F8_E4M3, 464, 0x7e},
        {DSV3_F8_E4M3, 464.1, 0x7e},
        {DSV3_F8_E4M3, -1000, 0xfe},
        {DSV3_F8_E4M3, 0x1p-9, 0x01},
        {DSV3_F8_E4M3, 0x1p-6, 0x08},
        {DSV3_F8_E4M3, 416, 0x7d},
        {DSV3_F8_E4M3, -0.0, 0x80},
        {DSV3_BF16, 1 + 0x1p-8, 0x3f80},
        {DSV3_BF16, 1 + 3 * 0x1p-8, 0x3f82},
        {DSV3_BF16, 1 + 0x1p-8 + 0x1p-20, 0x3f81},
        {DSV3_BF16, 1e39, 0x7f80},
        {DSV3_F16, 1, 0x3c00},
        {DSV3_F16, -2, 0xc000},
        {DSV3_F16, 65504, 0x7bff},
        {DSV3_F16, 65519.999, 0x7bff},
        {DSV3_F16, 65520, 0x7c00},
        {DSV3_F16, 0x1p-14, 0x0400},
        {DSV3_F16, 0x1p-24, 0x0001},
        {DSV3_F16, 0x1p-25, 0x0000},
        {DSV3_F16, 0x1.8p-24, 0x0002},
        {DSV3_F16, 1.0 / 3, 0x3555},
        {DSV3_F16, 1 + 0x1p-11, 0x3c00},
        {DSV3_F16, 1 + 3 * 0x1p-11, 0x3c02},
        {DSV3_F16, -0.0, 0x8000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect(encode_value(rows[i].d, rows[i].v) == rows[i].code, "%s %g is 0x%x, not 0x%x",
                  ref_dtype_name(rows[i].d), rows[i].v, encode_value(rows[i].d, rows[i].v), rows[i].code);
}

Test(format, whole_numbers_of_64_bits)
{
    static const int64_t rows[] = {0, 1, -1, 0x80000000, -0x80000001, 0xfffffffffffff, -0xfffffffffffff};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t both[2] = {7, 7};
        ref_encode(DSV3_I64, both, 1, (double)rows[i]);
        cr_expect(both[0] == 7 && both[1] == rows[i], "%lld", (long long)rows[i]);
        cr_expect(ref_decode(DSV3_I64, both, 1) == (double)rows[i], "%lld", (long long)rows[i]);
    }
}

Test(format, published_values)
{
    static const struct {
        uint32_t code;
        double v;
    } rows[] = {{0x00, 0},     {0x01, 0x1p-9}, {0x07, 0.013671875}, {0x08, 0x1p-6}, {0x30, 0.5}, {0x38, 1},
                {0x39, 1.125}, {0x70, 128},    {0x77, 240},         {0x78, 256},    {0x7d, 416}, {0x7e, 448}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect(decode_code(DSV3_F8_E4M3, rows[i].code) == rows[i].v, "0x%02x", rows[i].code);
    cr_expect(isnan(decode_code(DSV3_F8_E4M3, 0x7f)) && isnan(decode_code(DSV3_F8_E4M3, 0xff)));
    cr_expect(encode_value(DSV3_F8_E4M3, (double)NAN) == 0x7f && encode_value(DSV3_F8_E4M3, HUGE_VAL) == 0x7e);
    cr_expect(decode_code(DSV3_F8_E4M3, 0x80) == 0 && signbit(decode_code(DSV3_F8_E4M3, 0x80)));
}

/* The processor converts binary32 as the definition says. */
Test(format, binary32_is_the_hardwares)
{
    srand48(1);
    for (int i = 0; i < 1000000; i++) {
        uint32_t const bits = (uint32_t)mrand48();
        float f;
        memcpy(&f, &bits, sizeof f);
        if (isnan(f)) continue;
        cr_assert(ref_decode(DSV3_F32, &f, 0) == (double)f, "0x%08x", bits);
        double const v = (double)f * (1 + drand48() * 0x1p-22);
        cr_assert(ref_round(DSV3_F32, v) == (double)(float)v, "%a", v);
        uint32_t const code = encode_value(DSV3_F32, v);
        float const rounded = (float)v;
        cr_assert(!memcmp(&code, &rounded, 4), "%a", v);
        double const cut = ref_truncate(DSV3_F32, v);
        bool const largest = isinf(f) || isinf(rounded);
        cr_assert(largest || (fabs(cut) <= fabs(v) && fabs(v) - fabs(cut) < 2 * ref_half_ulp(DSV3_F32, v)), "%a", v);
    }
}
