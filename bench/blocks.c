/*
 * The price of certified blocks: every element of one token's way through a whole MoE layer of DeepSeek-V3
 * (256 experts, 8 chosen, 1 shared) and through a whole attention block over 4096 keys, FP8 weights, beside
 * the same uncertified: torch in float64 on one thread, on dequantised tensors prepared beforehand. Rounds are
 * interleaved; medians. The reference reads the FP8 codes.
 */
#include "bench.h"

#include "case/fill.h"
#include "peer.h"
#include "timing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 5 };

/* A case and its tensors. */
typedef struct {
    problem p;
    void **data;
} study;

static void measure(const study *s, const char *const arguments[])
{
    ref_reading const exact = {.declared = NULL};
    double reference[ROUNDS], torch[ROUNDS];
    timed last = {0};
    process peer = {0};
    bool const beside = peer_open(&peer, arguments);
    for (int round = 0; round < ROUNDS; round++) {
        reference[round] = (last = time_reading(&s->p, s->data, &exact)).seconds;
        if (beside) torch[round] = peer_run(&peer);
    }
    process_end(&peer, 10);
    printf("  %-48s %7.3f s", "exact reading", median(reference, ROUNDS));
    if (beside) printf(", %5.2f times torch", median(reference, ROUNDS) / median(torch, ROUNDS));
    printf("; largest radius 2^%.1f of the largest value, %lld elements not enclosed\n", log2(last.radius),
           (long long)last.lost);
    if (beside) printf("  %-48s %7.3f s\n", "torch float64, 1 thread", median(torch, ROUNDS));
    printf("  peak memory of the reference's process so far    %7.2f GiB\n", peak_memory());
}

static int study_case(const char *id, const char *const arguments[])
{
    complaint why;
    study *const s = calloc(1, sizeof *s);
    bool const good = s && problem_parse(id, &s->p, &why) && tensors_open(&s->p, &s->data);
    printf("%s, every element, 1 thread (median of %d interleaved rounds)\n", id, ROUNDS);
    if (good) measure(s, arguments);
    if (s) tensors_close(&s->p, s->data), problem_close(&s->p);
    free(s);
    return good ? 0 : (fprintf(stderr, "bench: cannot make %s\n", id), 2);
}

int bench_blocks(void)
{
    static const char *const mla[] = {"mla", "4096", NULL}, *const moe[] = {"moe", NULL};
    int const code = study_case("mla@v3:n_tokens=1,kv_len=4096,weights=f8_e4m3", mla);
    return code ? code : study_case("moe@v3:n_tokens=1,stages=0,weights=f8_e4m3", moe);
}
