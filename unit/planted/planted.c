/*
 * A port with one planted fault, chosen by the environment variable PLANT: each must get its verdict. Without a fault
 * ("honest") it is right. Only rmsnorm in f32.
 */
#include "dsv3.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

static int planted(const char *fault)
{
    const char *const plant = getenv("PLANT");
    return plant && !strcmp(plant, fault);
}

/* The sum of squares of a row, from the front or from the back. */
static float sum_of_squares(const float *x, int64_t n, int backward)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++) {
        float const v = x[backward ? n - 1 - i : i];
        sum += v * v;
    }
    return sum;
}

static float half_precision(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits &= 0xffff0000u;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void norm(const dsv3_rmsnorm_prob *p, const float *x, const float *weight, float *y, int backward)
{
    int64_t const n = p->hidden_size;
    float const eps = planted("no_eps") || planted("unwritten_no_eps") ? 0 : (float)p->rms_norm_eps;
    float const r = 1 / sqrtf(sum_of_squares(x, n, backward) / (float)n + eps);
    int64_t const written = planted("unwritten") || planted("unwritten_no_eps") ? n - 1 : n;
    for (int64_t i = 0; i < written; i++) {
        float const x_norm =
            planted("false_declaration") || planted("silent_bf16") ? half_precision(x[i] * r) : x[i] * r;
        y[i] = weight[i] * x_norm;
    }
}

/* Four megabytes of stack, each page touched. */
static int go_deep(void)
{
    enum { DEPTH = 4 << 20 };
    volatile char room[DEPTH];
    for (int i = DEPTH - 1; i >= 0; i -= 1024) room[i] = 1;
    return room[DEPTH - 1];
}

/* Faults of memory and process, before the op. */
static void misbehave(const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    volatile float *const x = io->x.data;
    volatile float *const y = io->y.data;
    int64_t const count = p->n_tokens * p->hidden_size;
    if (planted("overread")) y[0] = x[count];
    if (planted("underread")) y[0] = x[-1024];
    if (planted("overwrite")) y[-1] = 1;
    if (planted("scribble")) x[0] = 1;
    if (planted("abort")) abort();
    if (planted("exit")) exit(7);
    if (planted("deep")) go_deep();
    if (planted("hang")) pause();
    if (planted("kill_parent")) kill(getppid(), SIGKILL);
#if defined(__x86_64__)
    if (planted("flush")) _mm_setcsr(_mm_getcsr() | 0x8040);
    if (planted("x87_short")) __asm__ volatile("fldcw %0" ::"m"(*(const unsigned short[]){0x027f}));
    if (planted("round_up")) _mm_setcsr(_mm_getcsr() | 0x4000);
#endif
}

static dsv3_status rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    static int calls; /* for the fault that answers differently each time */
    (void)ctx;
    if (io->x.dtype != DSV3_F32 || p->residual) return DSV3_UNSUPPORTED;
    if (planted("failed")) return DSV3_FAILED;
    if (planted("no_such_status")) return (dsv3_status)99;
    const float *const weight = dsv3_find(&io->weights, "weight")->data;
    float *const y = io->y.data;
    misbehave(p, io);
    if (calls % 3 == 2) {
        if (planted("third_scribbles")) *(float *)io->x.data = 1;
        if (planted("third_overreads")) y[0] = ((volatile const float *)io->x.data)[p->n_tokens * p->hidden_size];
        if (planted("third_overwrites")) y[p->n_tokens * p->hidden_size] = 1;
        if (planted("third_refuses")) return DSV3_UNSUPPORTED;
    }
    if (planted("late_refusal")) return y[0] = 1, DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        norm(p, (const float *)io->x.data + t * p->hidden_size, weight, y + t * p->hidden_size,
             planted("nondet") && calls % 2);
    if (planted("nan") || (planted("third_nan") && calls % 3 == 2)) y[1] = (float)NAN;
    if (planted("infinity")) y[1] = (float)INFINITY;
    if (planted("one_ulp")) y[1] = nextafterf(nextafterf(y[1], 1e30f), 1e30f);
    calls++;
    return DSV3_OK;
}

/* ---- prepare: the one weight that the op may be called with ---- */

#ifndef OLDER
static const void *prepared;

static dsv3_status prepare(dsv3_ctx *ctx, const char *op, const void *prob, const void *io)
{
    const dsv3_rmsnorm_io *const t = io;
    (void)ctx, (void)prob;
    if (planted("older_header")) abort();
    if (planted("prepare_fails")) return DSV3_NO_MEMORY;
    if (planted("prepare_refuses")) return DSV3_UNSUPPORTED;
    if (planted("prepare_scribbles")) *(float *)t->x.data = 1;
    if (strcmp(op, "rmsnorm") || prepared) return DSV3_FAILED;
    prepared = dsv3_find(&t->weights, "weight")->data;
    return DSV3_OK;
}

static void unprepare(dsv3_ctx *ctx, const char *op, const void *prob, const void *io)
{
    const dsv3_rmsnorm_io *const t = io;
    (void)ctx, (void)op, (void)prob;
    if (prepared != dsv3_find(&t->weights, "weight")->data) abort();
    prepared = NULL;
}

static dsv3_status prepared_rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    if (prepared != dsv3_find(&io->weights, "weight")->data) return DSV3_FAILED;
    return rmsnorm(ctx, p, io);
}
#endif

static const char *numerics(const char *op, const void *prob, const void *io)
{
    (void)op, (void)prob, (void)io;
    if (planted("vacuous")) return "acc 2 rz";
    if (planted("garbled")) return "acc many bits";
    if (planted("silent") || planted("silent_bf16")) return NULL;
    return "acc 24 rn; flush none; rsqrt ieee; div ieee; x_norm f32 must";
}

static dsv3_status probe(char *why, size_t cap)
{
    snprintf(why, cap, "this port is for the moon");
    return DSV3_UNSUPPORTED;
}

static dsv3_status bad_open(dsv3_ctx **ctx, int device)
{
    (void)device;
    *ctx = NULL;
    return DSV3_FAILED;
}

/* A device whose memory is the heap: the copies are real, the device isn't. */
static void *device_alloc(dsv3_ctx *ctx, size_t bytes)
{
    (void)ctx;
    return malloc(bytes ? bytes : 1);
}

static void device_release(dsv3_ctx *ctx, void *memory)
{
    (void)ctx;
    free(memory);
}

static dsv3_status device_copy(dsv3_ctx *ctx, void *dst, const void *src, size_t bytes)
{
    (void)ctx;
    memcpy(dst, src, bytes);
    return DSV3_OK;
}

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    static dsv3_backend table = {
        .abi = DSV3_ABI, .size = sizeof table, .name = "planted", .numerics = numerics, .rmsnorm = rmsnorm};
    if (planted("no_table") || abi != DSV3_ABI) return NULL;
    if (planted("old_abi")) table.abi = DSV3_ABI - 1;
    if (planted("old_size")) table.size = (uint32_t)offsetof(dsv3_backend, linear);
    if (planted("no_op")) table.rmsnorm = NULL;
    if (planted("not_here")) table.probe = probe;
    if (planted("no_open")) table.open = bad_open;
    if (planted("device")) {
        table.alloc = device_alloc;
        table.release = device_release;
        table.put = table.get = device_copy;
    }
#ifndef OLDER
    if (planted("older_header")) table.size = (uint32_t)offsetof(dsv3_backend, prepare), table.prepare = prepare;
    if (planted("prepared")) table.rmsnorm = prepared_rmsnorm;
    if (planted("prepared") || strstr(getenv("PLANT") ? getenv("PLANT") : "", "prepare_"))
        table.prepare = prepare, table.unprepare = unprepare;
#endif
    return &table;
}
