/*
 * The price of a certified attention: every element of o and lse of one decode step of DeepSeek-V3, all 128
 * heads over 4096 keys, beside the same numbers uncertified: torch in float64 on one thread, matmul, softmax,
 * matmul on prepared tensors. Rounds are interleaved; medians. The reference reads the BF16 cache; torch's
 * tensors are converted beforehand.
 */
#include "bench.h"

#include "case/fill.h"
#include "peer.h"
#include "timing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 11, EXACT = 0, TORCH, DECLARED, ASSUMED, SERIES };

static const char *const names[SERIES] = {"exact reading", "torch float64, 1 thread",
                                          "conforming reading, declared as the plain port",
                                          "conforming reading, undeclared"};

static const char *const declared =
    "acc 24 rn splits=1; div ieee; exp 2 0; log 2 0; rescales 0; scaled scores; parts 1; flush none; "
    "scores f32 must; P f32 must";

/* The case, and what was measured. */
typedef struct {
    problem p;
    void **data;
    ref_numerics numerics[SERIES];
    double seconds[SERIES][ROUNDS];
    timed last[SERIES];
} study;

static bool open_study(study *s, const char *id)
{
    complaint why;
    if (!problem_parse(id, &s->p, &why) || !tensors_open(&s->p, &s->data))
        return fprintf(stderr, "bench: cannot make %s\n", id), false;
    bool const good = ref_numerics_parse(s->p.op->name, declared, &s->numerics[DECLARED], why.text, sizeof why.text) &&
                      ref_numerics_parse(s->p.op->name, "", &s->numerics[ASSUMED], why.text, sizeof why.text);
    return good || (fprintf(stderr, "bench: %s\n", why.text), false);
}

static void measure(study *s, const process *peer)
{
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < SERIES; i++) {
            ref_reading const rd = {.declared = i == EXACT ? NULL : &s->numerics[i]};
            if (i != TORCH) s->seconds[i][round] = (s->last[i] = time_reading(&s->p, s->data, &rd)).seconds;
            if (i == TORCH && peer) s->seconds[i][round] = peer_run(peer);
        }
}

static void print(const study *s, bool torch)
{
    double const beside = median(s->seconds[TORCH], ROUNDS);
    for (int i = 0; i < SERIES; i++) {
        double const seconds = median(s->seconds[i], ROUNDS);
        if (i == TORCH) {
            if (torch) printf("  %-48s %7.4f s\n", names[i], seconds);
            continue;
        }
        printf("  %-48s %7.4f s", names[i], seconds);
        if (torch) printf(", %5.2f times torch", seconds / beside);
        printf("; largest radius 2^%.1f of the largest value, %lld elements not enclosed\n", log2(s->last[i].radius),
               (long long)s->last[i].lost);
    }
}

int bench_attention(void)
{
    static const char *const id = "mla_decode@v3:kv_len=4096";
    static const char *const arguments[] = {"attention", "128", "4096", "576", "512", NULL};
    process peer = {0};
    study *const s = calloc(1, sizeof *s);
    if (!s) return fprintf(stderr, "bench: no memory\n"), 2;
    bool const good = open_study(s, id);
    if (good) {
        printf("%s, every element, 1 thread (median of %d interleaved rounds)\n", id, ROUNDS);
        bool const torch = peer_open(&peer, arguments);
        measure(s, torch ? &peer : NULL);
        print(s, torch);
        process_end(&peer, 10);
    }
    tensors_close(&s->p, s->data);
    problem_close(&s->p);
    free(s);
    return good ? 0 : 2;
}
