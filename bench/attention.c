/*
 * The price of a certified attention: every element of o and lse of one decode step of DeepSeek-V3, all 128 heads over 4096
 * keys, beside the same numbers uncertified: torch in float64 on one thread, matmul, softmax, matmul on prepared tensors.
 * Rounds are interleaved; medians. The reference reads the BF16 cache; torch's tensors are converted beforehand.
 */
#include "bench.h"

#include "case/fill.h"

#include <math.h>
#include <stdio.h>

enum { ROUNDS = 11, EXACT = 0, TORCH, DECLARED, ASSUMED, SERIES };

static const char *const names[SERIES] = {"exact reading", "torch float64, 1 thread",
                                          "conforming reading, declared as the plain port",
                                          "conforming reading, undeclared"};

static const char *const declared = "acc 24 rn splits=1; div ieee; exp 2 0; log 2 0; rescales 0; flush none; "
                                    "scores f32 must; P f32 must";

static void print(double seconds[SERIES][ROUNDS], const timed *last, bool torch)
{
    for (int s = 0; s < SERIES; s++) {
        if (s == TORCH) {
            if (torch) printf("  %-48s %7.4f s\n", names[s], median(seconds[s], ROUNDS));
            continue;
        }
        printf("  %-48s %7.4f s", names[s], median(seconds[s], ROUNDS));
        if (torch) printf(", %5.2f times torch", median(seconds[s], ROUNDS) / median(seconds[TORCH], ROUNDS));
        printf("; largest radius 2^%.1f of the largest value, %lld elements not enclosed\n", log2(last[s].radius),
               (long long)last[s].lost);
    }
}

int bench_attention(void)
{
    static const char *const id = "mla_decode@v3:kv_len=4096";
    static const char *const arguments[] = {"attention", "128", "4096", "576", "512", NULL};
    double seconds[SERIES][ROUNDS];
    timed last[SERIES];
    complaint why;
    problem p;
    ref_numerics n[SERIES];
    void **data;
    process peer = {0};
    if (!problem_parse(id, &p, &why) || !tensors_open(&p, &data))
        return fprintf(stderr, "bench: cannot make %s\n", id), 2;
    bool const good = ref_numerics_parse("mla_decode", declared, &n[DECLARED], why.text, sizeof why.text) &&
                      ref_numerics_parse("mla_decode", "", &n[ASSUMED], why.text, sizeof why.text);
    if (!good) return fprintf(stderr, "bench: %s\n", why.text), 2;
    printf("%s, every element, 1 thread (median of %d interleaved rounds)\n", id, ROUNDS);
    bool const torch = peer_open(&peer, arguments);
    for (int round = 0; round < ROUNDS; round++)
        for (int s = 0; s < SERIES; s++) {
            ref_reading const rd = {.port = s == EXACT ? NULL : &n[s]};
            if (s != TORCH) seconds[s][round] = (last[s] = time_reading(&p, data, &rd)).seconds;
            if (s == TORCH && torch) seconds[s][round] = peer_run(&peer);
        }
    print(seconds, last, torch);
    process_end(&peer, false);
    tensors_close(&p, data);
    problem_close(&p);
    return 0;
}
