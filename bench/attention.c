/*
 * The price of a certified attention: every element of o and lse of one decode step of DeepSeek-V3, all 128 heads over 4096
 * keys, beside the same numbers uncertified: torch in float64 on one thread, matmul, softmax, matmul on prepared tensors.
 * Rounds are interleaved; medians. The reference reads the BF16 cache; torch's tensors are converted beforehand.
 */
#include "bench.h"

#include "fill.h"
#include "judge.h"
#include "process.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ROUNDS = 11, EXACT = 0, TORCH, DECLARED, ASSUMED, SERIES };

static const char *const names[SERIES] = {"exact reading", "torch float64, 1 thread",
                                          "conforming reading, declared as the plain port",
                                          "conforming reading, undeclared"};

static const char *const declared = "acc 24 rn splits=1; div ieee; exp 2 0; log 2 0; rescales 0; flush none; "
                                    "scores f32 must; P f32 must";

/* Starts the peer, if torch is installed. */
static bool peer_open(process *p)
{
    char folder[500], python[600], script[600];
    products_folder(folder, sizeof folder);
    snprintf(python, sizeof python, "%s/ports/python", folder);
    snprintf(script, sizeof script, "%s/ports/torch_attention.py", folder);
    if (access(python, X_OK) || access(script, R_OK)) {
        printf("  torch: not installed: make transformers-port\n");
        return false;
    }
    if (!process_start(p)) return false;
    if (p->pid) return true;
    dup2(p->requests, 0);
    dup2(p->answers, 1);
    execl(python, python, script, "128", "4096", "576", "512", (char *)NULL);
    _exit(127);
}

/* Seconds of one run, as the peer measures it. */
static double peer_run(const process *p)
{
    char line[64] = "";
    if (!write_all(p->requests, "\n", 1) || !read_all(p->answers, line, 32)) return NAN;
    return strtod(line, NULL);
}

/* Seconds of one reading; the largest radius over the largest value in *radius, elements that are not enclosed in *lost. */
static double time_reading(const problem *p, void *const data[], const ref_reading *rd, double *radius, int64_t *lost)
{
    enclosures e;
    double const from = now();
    if (!enclose(p, rd, &ref_dd, data, &e)) return NAN;
    double const seconds = now() - from;
    double worst = 0, largest = 0;
    *lost = 0;
    for (int i = 0; i < p->tensors; i++)
        for (int64_t k = 0; e.value[i] && k < p->tensor[i].count; k++) {
            *lost += isinf(e.value[i][k].radius);
            worst = fmax(worst, isinf(e.value[i][k].radius) ? 0 : e.value[i][k].radius);
            largest = fmax(largest, fabs(e.value[i][k].hi));
        }
    *radius = worst / largest;
    enclosures_free(&e);
    return seconds;
}

static int by_value(const void *a, const void *b)
{
    double const x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *seconds)
{
    double copy[ROUNDS];
    memcpy(copy, seconds, sizeof copy);
    qsort(copy, ROUNDS, sizeof *copy, by_value);
    return copy[ROUNDS / 2];
}

static void print(double seconds[SERIES][ROUNDS], const double *radius, const int64_t *lost, bool torch)
{
    for (int s = 0; s < SERIES; s++) {
        if (s == TORCH) {
            if (torch) printf("  %-48s %7.4f s\n", names[s], median(seconds[s]));
            continue;
        }
        printf("  %-48s %7.4f s", names[s], median(seconds[s]));
        if (torch) printf(", %5.2f times torch", median(seconds[s]) / median(seconds[TORCH]));
        printf("; largest radius 2^%.1f of the largest value, %lld elements not enclosed\n", log2(radius[s]),
               (long long)lost[s]);
    }
}

int bench_attention(void)
{
    static const char *const id = "mla_decode@v3:kv_len=4096";
    double seconds[SERIES][ROUNDS], radius[SERIES];
    int64_t lost[SERIES];
    char why[300];
    problem p;
    ref_numerics n[SERIES];
    void *data[MAX_TENSORS];
    process peer = {0};
    if (!problem_parse(id, &p, why, sizeof why) || !tensors_open(&p, data))
        return fprintf(stderr, "bench: cannot make %s\n", id), 2;
    bool const good = ref_numerics_parse("mla_decode", declared, &n[DECLARED], why, sizeof why) &&
                      ref_numerics_parse("mla_decode", "", &n[ASSUMED], why, sizeof why);
    if (!good) return fprintf(stderr, "bench: %s\n", why), 2;
    printf("%s, every element, 1 thread (median of %d interleaved rounds)\n", id, ROUNDS);
    fflush(stdout);
    signal(SIGPIPE, SIG_IGN);
    bool const torch = peer_open(&peer) && !isnan(peer_run(&peer));
    for (int round = 0; round < ROUNDS; round++)
        for (int s = 0; s < SERIES; s++) {
            ref_reading const rd = {.port = s == EXACT ? NULL : &n[s]};
            if (s != TORCH) seconds[s][round] = time_reading(&p, data, &rd, &radius[s], &lost[s]);
            if (s == TORCH && torch) seconds[s][round] = peer_run(&peer);
        }
    print(seconds, radius, lost, torch);
    process_end(&peer, false);
    tensors_close(data);
    return 0;
}
