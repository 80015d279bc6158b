/* What vec.h has twice is the same function: random bits, and often NaN, infinity, subnormal numbers, 0 and equal ones. */
#include "twice/functions.h"

#include <criterion/criterion.h>
#include <string.h>

static uint32_t next(uint32_t *random)
{
    *random = *random * 1664525 + 1013904223;
    return *random ^ *random >> 15;
}

/* A number; or two numbers of BF16. */
static uint32_t any_word(uint32_t *random)
{
    static const uint32_t often[] = {0,          0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffa00001, 1,
                                     0x807fffff, 0x00800000, 0x3f808000, 0x3f818000, 0x7f7fffff, 0x7f7f8000};
    uint32_t const word = next(random), kind = next(random) % 8;
    return kind < 2 ? often[word % (sizeof often / sizeof *often)] : kind == 2 ? word & 0x807fffff : word;
}

static int is_nan(uint32_t bits)
{
    return (bits & 0x7fffffff) > 0x7f800000;
}

static int same(const twice *of, const uint32_t a[WORDS], const uint32_t b[WORDS])
{
    for (int i = 0; i < WORDS; i++)
        if (a[i] != b[i] && !(of->any_nan && is_nan(a[i]) && is_nan(b[i]))) return 0;
    return 1;
}

static void try_function(const twice *native, const twice *portable)
{
    uint32_t random = 23, in[WORDS], a[WORDS], b[WORDS];
    for (int round = 0; round < 20000; round++) {
        for (int i = 0; i < WORDS; i++) in[i] = any_word(&random);
        if (round % 2) memcpy(in + 16, in, 32); /* some are equal */
        memset(a, 0x5a, sizeof a), memset(b, 0x5a, sizeof b);
        native->f(in, a), portable->f(in, b);
        cr_assert(same(native, a, b), "%s, round %d: the portable build has other bits", native->name, round);
    }
}

Test(functions, portable_ones_are_the_same)
{
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512vbmi"))
        cr_skip_test("this processor lacks AVX512-BF16 or AVX512-VBMI");
#endif
    for (int i = 0; native_functions[i].name; i++) try_function(&native_functions[i], &portable_functions[i]);
}
