/* bench accumulation: errors of dot products of E4M3 by Hopper's matrix unit, with and without promotion, against their length. */
#include "accumulation_sums.h"
#include "bench.h"
#include "commands/options.h"
#include "words.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_K = 32, MOST_K = 16384 };

typedef struct {
    const char *format;
    int seed;
} settings;

static const option table[] = {
    {"--seed", OPTION_WHOLE, offsetof(settings, seed), "N", "of the numbers; 1 unless said", 1, 1 << 30},
    {"--format", OPTION_WORD, offsetof(settings, format), "F", "text or jsonl", .words = text_or_jsonl},
    {NULL}};

static const syntax accumulation_syntax = {
    "accumulation", "usage: bench accumulation [OPTION]...\n", table,
    "Dot products of k numbers in E4M3, 448 times uniform ones: positive ones of [0, 1), signed ones of [-1, 1).\n"
    "unit: Hopper's wgmma alone, bit for bit as docs/cuda.md says. promoted: its sum is added to one of binary32 "
    "after\n"
    "every 128 products. binary32: one chain. Errors are relative: to the exact sum; of signed numbers, whose sums\n"
    "cancel, to the root mean square of the exact sums. Printed are the median and the largest of 8192.\n"
    "\n"
    "exit: 0 printed; 2 usage\n",
    "bench"};

static const char *const ways[SUM_WAYS] = {"unit", "promoted", "binary32"};

/* Both matrices, and what their product should be. */
typedef struct {
    int k;
    uint8_t *a, *b;
    float sum[SUMS];
    double exact[SUMS], size[SUMS], error[SUMS]; /* size: what an error is relative to */
} dots;

static int by_size(const void *a, const void *b)
{
    double const x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fill(dots *d, bool is_signed, uint64_t seed)
{
    uint64_t random = 0x9e3779b97f4a7c15u * seed;
    size_t const k = (size_t)d->k;
    sums_fill(d->a, SUMS_ROWS * k, is_signed, &random);
    sums_fill(d->b, SUMS_COLUMNS * k, is_signed, &random);
    double squares = 0;
    for (int i = 0; i < SUMS; i++) {
        d->exact[i] = sums_exact(d->k, d->a + (size_t)(i / SUMS_COLUMNS) * k, d->b + (size_t)(i % SUMS_COLUMNS) * k);
        squares += d->exact[i] * d->exact[i];
    }
    for (int i = 0; i < SUMS; i++) d->size[i] = is_signed ? sqrt(squares / SUMS) : d->exact[i];
}

static void print_way(const settings *s, dots *d, const char *data, sum_way way)
{
    sums_multiply(way, d->k, d->a, d->b, d->sum);
    for (int i = 0; i < SUMS; i++) d->error[i] = fabs((double)d->sum[i] - d->exact[i]) / d->size[i];
    qsort(d->error, SUMS, sizeof *d->error, by_size);
    double const median = (d->error[SUMS / 2 - 1] + d->error[SUMS / 2]) / 2, most = d->error[SUMS - 1];
    if (strcmp(s->format, "text"))
        printf("{\"study\":\"accumulation\",\"data\":\"%s\",\"way\":\"%s\",\"k\":%d,\"sums\":%d,\"seed\":%d,"
               "\"median\":%.6g,\"most\":%.6g}\n",
               data, ways[way], d->k, SUMS, s->seed, median, most);
    else
        printf("%-9s %-9s %6d %12.3g %12.3g\n", data, ways[way], d->k, median, most);
}

static int print_all(const settings *s)
{
    dots *const d = calloc(1, sizeof *d);
    if (d) d->a = malloc(SUMS_ROWS * MOST_K), d->b = malloc(SUMS_COLUMNS * MOST_K);
    bool const room = d && d->a && d->b;
    if (room && !strcmp(s->format, "text"))
        printf("%-9s %-9s %6s %12s %12s\n", "data", "way", "k", "median", "largest");
    for (int kind = 0; room && kind < 2; kind++)
        for (d->k = LEAST_K; d->k <= MOST_K; d->k *= 2) {
            fill(d, kind == 1, (uint64_t)s->seed);
            for (sum_way way = 0; way < SUM_WAYS; way++) print_way(s, d, kind ? "signed" : "positive", way);
        }
    if (d) free(d->a), free(d->b);
    free(d);
    return room ? 0 : (fprintf(stderr, "bench: there is no memory for the dot products\n"), 2);
}

int bench_accumulation(int argc, char **argv)
{
    settings s = {.format = "text", .seed = 1};
    operands rest;
    int code;
    if (!options_read(&accumulation_syntax, argc, argv, &s, &rest, &code)) return code;
    if (rest.count) return usage_error_of("bench", "accumulation takes no '%s': it has no cases", rest.word[0]);
    return print_all(&s);
}
