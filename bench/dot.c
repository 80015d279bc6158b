/*
 * The price of certified dot products: ball_dot against FLINT/Arb's arb_dot at 106 bits, operands ready on
 * both sides, n = 7168. Rounds are interleaved, so that both see the same machine; medians.
 */
#include "bench.h"

#include "ball.h"
#include "kernel.h"
#include "ref.h"
#include "timing.h"

#include <arb.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { N = 7168, ROUNDS = 15, REPEATS = 64 };

/* One measured thing. */
typedef struct {
    char name[64];
    double ns[ROUNDS]; /* a term */
} series;

/* Operands as each side wants them. */
typedef struct {
    double a[N], b[N];
    arb_ptr x, y;
    volatile double sink;
} operands;

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

/* Normal data: BF16 values, or binary32 ones of many sizes whose sum no certificate covers. */
static void fill(operands *o, dsv3_dtype d)
{
    srand48(1);
    for (int i = 0; i < N; i++) {
        double const scale = d == DSV3_F32 ? exp2(40 * (drand48() - 0.5)) : 1;
        o->a[i] = ref_round(d, scale * (drand48() + drand48() - 1));
        o->b[i] = ref_round(d, (drand48() + drand48() - 1) / scale);
        arb_set_d(o->x + i, o->a[i]);
        arb_set_d(o->y + i, o->b[i]);
    }
}

typedef dot_sum kernel(const double *a, const double *b, int64_t n);

static double time_kernel(operands *o, kernel *k)
{
    double const from = now_ns();
    for (int r = 0; r < REPEATS; r++) o->sink = k(o->a, o->b, N).hi;
    return (now_ns() - from) / ((double)REPEATS * N);
}

/* All of ball_dot, the certificate and the radius included. */
static double time_ball_dot(operands *o, const operand *a, const operand *b)
{
    double const from = now_ns();
    for (int r = 0; r < REPEATS; r++) o->sink = ball_dot(a, b).total.r;
    return (now_ns() - from) / ((double)REPEATS * N);
}

static double time_arb(operands *o)
{
    arb_t z;
    arb_init(z);
    double const from = now_ns();
    for (int r = 0; r < REPEATS / 8; r++) arb_dot(z, NULL, 0, o->x, 1, o->y, 1, N, 106);
    double const ns = (now_ns() - from) / ((double)(REPEATS / 8) * N);
    o->sink = arf_get_d(arb_midref(z), ARF_RND_NEAR);
    arb_clear(z);
    return ns;
}

/* The builds of kernel.c that run here; says which don't. */
static int builds(const kernels *list[3])
{
    int count = 0;
    list[count++] = &kernels_baseline;
#if defined(__x86_64__)
    bool const v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool const v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
    if (v3) list[count++] = &kernels_v3;
    if (v4) list[count++] = &kernels_v4;
    if (!v3) printf("  build v3 (AVX2) cannot run on this processor\n");
    if (!v4) printf("  build v4 (AVX-512) cannot run on this processor\n");
#endif
    return count;
}

static void measure(operands *o, dsv3_dtype d)
{
    const kernels *list[3];
    series s[8];
    fill(o, d);
    printf("dot product, n = %d, %s operands, ns a term (median of %d interleaved rounds)\n", N, ref_dtype_name(d),
           ROUNDS);
    int const count = builds(list);
    operand const a = operand_of(o->a, NULL, N), b = operand_of(o->b, NULL, N);
    for (int round = 0; round < ROUNDS; round++) {
        s[0].ns[round] = time_arb(o);
        s[1].ns[round] = time_ball_dot(o, &a, &b);
        for (int k = 0; k < count; k++) {
            s[2 + 2 * k].ns[round] = time_kernel(o, list[k]->plain);
            s[3 + 2 * k].ns[round] = time_kernel(o, list[k]->compensated);
        }
    }
    snprintf(s[0].name, sizeof s[0].name, "arb_dot, 106 bits");
    snprintf(s[1].name, sizeof s[1].name, "ball_dot, build %s", kernels_for_this_cpu()->isa);
    for (int k = 0; k < count; k++) {
        snprintf(s[2 + 2 * k].name, sizeof s[0].name, "  kernel %s, certified", list[k]->isa);
        snprintf(s[3 + 2 * k].name, sizeof s[0].name, "  kernel %s, compensated", list[k]->isa);
    }
    for (int i = 0; i < 2 + 2 * count; i++)
        printf("  %-32s %7.3f  %6.1f times faster than arb_dot\n", s[i].name, median(s[i].ns, ROUNDS),
               median(s[0].ns, ROUNDS) / median(s[i].ns, ROUNDS));
}

int bench_dot(void)
{
    operands *const o = calloc(1, sizeof *o);
    if (!o) return fprintf(stderr, "bench: no memory\n"), 2;
    o->x = _arb_vec_init(N);
    o->y = _arb_vec_init(N);
    measure(o, DSV3_BF16);
    measure(o, DSV3_F32);
    _arb_vec_clear(o->x, N);
    _arb_vec_clear(o->y, N);
    free(o);
    flint_cleanup();
    return 0;
}
