/*
 * A port that turns on the harness, in the way that the environment variable PLANT names. What it computes is right: only rmsnorm
 * in f32.
 */
#include "dsv3.h"

#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

static int planted(const char *fault)
{
    const char *const plant = getenv("PLANT");
    return plant && !strcmp(plant, fault);
}

static void sleep_for_ever(void)
{
    for (;;) pause();
}

/* A process that outlives whoever started it, unless somebody ends it. */
static void leave_a_child(int own_session)
{
    if (fork()) return;
    if (own_session) setsid();
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sleep_for_ever();
}

static void set_control(unsigned bits)
{
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | bits);
#else
    (void)bits;
#endif
}

/* ---- when it is loaded, and when its process exits ---- */

__attribute__((constructor)) static void on_load(void)
{
    if (planted("load_hangs")) sleep_for_ever();
    if (planted("load_exits")) _exit(0);
    if (planted("load_aborts")) abort();
    if (planted("load_stops")) raise(SIGSTOP);
    if (planted("load_forks_twice")) fork();
    if (planted("load_leaves_child")) leave_a_child(1);
    if (planted("load_prints")) printf("hello from the constructor\n");
    if (planted("load_flushes") || planted("load_flushes_declared")) set_control(0x8040);
    if (planted("load_rounds_up")) set_control(0x4000);
    if (planted("load_locale")) setlocale(LC_ALL, "de_DE.UTF-8");
    if (planted("load_closes"))
        for (int i = 0; i < 256; i++) close(i);
    for (int i = 1; planted("load_ignores_signals") && i < 32; i++) signal(i, SIG_IGN);
}

__attribute__((destructor)) static void on_exit_of_process(void)
{
    if (planted("destructor_hangs")) sleep_for_ever();
}

/* ---- in the op ---- */

static void print_all_kinds(void)
{
    if (planted("prints_json"))
        for (int i = 0; i < 300; i++) printf("{\"id\":\"forged\",\"verdict\":\"PASS\"}\n");
    if (planted("prints_little")) printf("a \x1b[31mred\x1b[0m line\nand \xff another");
    if (planted("complains")) fprintf(stderr, "the port complains\n");
    static char line[1 << 16];
    memset(line, 'x', sizeof line);
    for (int i = 0; planted("prints_much") && i < 200; i++)
        if (write(1, line, sizeof line) < 0) return;
}

static void write_to_descriptors(int from, int to)
{
    char const zeros[100] = {0};
    for (int i = from; i < to; i++)
        if (write(i, zeros, sizeof zeros) < 0) continue;
}

/* The pipe on which the worker's process answers: the highest descriptor that is open for writing. */
static int find_answers(void)
{
    for (int i = 1 << 16; i > 2; i--)
        if ((fcntl(i, F_GETFL) & O_ACCMODE) == O_WRONLY && fcntl(i, F_GETFL) >= 0) return i;
    return -1;
}

static void *exit_soon(void *unused)
{
    (void)unused;
    usleep(2000);
    _exit(9);
}

static void misbehave(void)
{
    pthread_t thread;
    print_all_kinds();
    if (planted("returns_twice")) fork();
    if (planted("leaves_child")) leave_a_child(0);
    if (planted("leaves_session")) leave_a_child(1);
    if (planted("dies_before_child")) {
        leave_a_child(0);
        _exit(5);
    }
    for (int i = 0; planted("many_children") && i < 50; i++) leave_a_child(i % 2);
    if (planted("writes_low")) write_to_descriptors(3, 64);
    if (planted("writes_to_pipe")) write_to_descriptors(find_answers(), find_answers() + 1);
    if (planted("closes_pipe")) close(find_answers());
    if (planted("closes_low"))
        for (int i = 3; i < 256; i++) close(i);
    if (planted("stops")) raise(SIGSTOP);
    if (planted("stops_parent")) kill(getppid(), SIGSTOP);
    if (planted("ends_group")) kill(0, SIGKILL);
    if (planted("ends_parent")) kill(getppid(), SIGTERM);
    if (planted("ignores_term")) {
        signal(SIGTERM, SIG_IGN);
        sleep_for_ever();
    }
    if (planted("exits_well")) exit(0);
    if (planted("destructor_hangs")) exit(0);
    if (planted("becomes_another")) execl("/bin/true", "true", (char *)NULL);
    if (planted("thread_ends")) pthread_exit(NULL);
    if (planted("thread_exits")) {
        pthread_create(&thread, NULL, exit_soon, NULL);
        sleep_for_ever();
    }
}

static void norm(const dsv3_rmsnorm_prob *p, const float *x, const float *weight, float *y)
{
    float sum = 0;
    for (int64_t i = 0; i < p->hidden_size; i++) sum += x[i] * x[i];
    float const r = 1 / sqrtf(sum / (float)p->hidden_size + (float)p->rms_norm_eps);
    for (int64_t i = 0; i < p->hidden_size; i++) y[i] = weight[i] * (x[i] * r);
}

static dsv3_status rmsnorm(dsv3_ctx *ctx, const dsv3_rmsnorm_prob *p, const dsv3_rmsnorm_io *io)
{
    static int calls;
    const float *const x = io->x.data;
    float *const y = io->y.data;
    (void)ctx;
    if (io->x.dtype != DSV3_F32 || p->residual) return DSV3_UNSUPPORTED;
    if (planted("second_unsupported") && calls++ % 2) return DSV3_UNSUPPORTED;
    for (int64_t t = 0; t < p->n_tokens; t++)
        norm(p, x + t * p->hidden_size, dsv3_find(&io->weights, "weight")->data, y + t * p->hidden_size);
    misbehave();
    return DSV3_OK;
}

/* ---- around it ---- */

static const char *numerics(const char *op, const void *prob, const void *io)
{
    static char text[1 << 17], number[32];
    (void)op, (void)prob, (void)io;
    if (planted("numerics_hangs")) sleep_for_ever();
    if (planted("numerics_long")) return memset(text, 'a', sizeof text - 1);
    if (planted("numerics_escapes")) return "acc \xff\x1b[31m \"quote\" \\";
    if (planted("numerics_nowhere")) return (const char *)(uintptr_t)16;
    if (planted("load_flushes_declared")) return "acc 24 rn; flush daz";
    if (planted("load_locale") && snprintf(number, sizeof number, "acc 24 rn; rsqrt %.1f", 2.5)) return number;
    return "acc 24 rn; flush none";
}

static dsv3_status probe(char *why, size_t cap)
{
    if (planted("probe_hangs")) sleep_for_ever();
    if (planted("probe_escapes"))
        return snprintf(why, cap, "\x1b[31mred \xff\n9 passed, 0 failed, 0 skipped"), DSV3_UNSUPPORTED;
    if (planted("probe_unended")) return memset(why, 'y', cap), DSV3_UNSUPPORTED;
    return DSV3_OK;
}

static dsv3_status open_port(dsv3_ctx **ctx, int device)
{
    static int there;
    (void)device;
    *ctx = (dsv3_ctx *)(void *)&there;
    if (planted("open_hangs")) sleep_for_ever();
    return DSV3_OK;
}

static void close_port(dsv3_ctx *ctx)
{
    (void)ctx;
    if (planted("close_hangs")) sleep_for_ever();
    if (planted("close_aborts")) abort();
}

static dsv3_status sync_port(dsv3_ctx *ctx)
{
    (void)ctx;
    if (planted("sync_hangs")) sleep_for_ever();
    return DSV3_OK;
}

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    static dsv3_backend table = {.abi = DSV3_ABI,
                                 .size = sizeof table,
                                 .name = "hostile",
                                 .numerics = numerics,
                                 .probe = probe,
                                 .open = open_port,
                                 .close = close_port,
                                 .sync = sync_port,
                                 .rmsnorm = rmsnorm};
    (void)abi;
    if (planted("get_hangs")) sleep_for_ever();
    if (planted("size_none")) table.size = 0;
    if (planted("size_all")) table.size = ~0u;
    if (planted("align_huge")) table.align = 1u << 31;
    if (planted("align_odd")) table.align = 24;
    if (planted("align_page")) table.align = 4096;
    if (planted("no_name")) table.name = NULL;
    return planted("table_nowhere") ? (const dsv3_backend *)(const void *)16 : &table;
}
