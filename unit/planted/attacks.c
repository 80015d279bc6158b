/*
 * The port at $PLAIN, which in every op also attacks memory that isn't its own, or the processes that judge it, as the environment
 * variable PLANT says. Its numbers are right.
 */
#include "on_plain.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- memory ---- */

/* Something else, and then what it was. */
static void scribble(const dsv3_tensor *t)
{
    volatile unsigned char *const at = t->data;
    unsigned char const was = *at;
    *at = (unsigned char)(was ^ 1);
    *at = was;
}

static void *page_of(const dsv3_tensor *t)
{
    return (void *)((uintptr_t)t->data & ~(uintptr_t)4095); /* NOLINT(performance-no-int-to-ptr) */
}

static void attack_memory(const dsv3_tensor *in, const dsv3_tensor *out)
{
    enum { MIB = 1 << 20 };
    volatile char *const at = out->data;
    if (planted("below")) at[-12000] = 0;
    if (planted("far_below")) at[-100 * MIB] = 0;
    if (planted("far_behind")) at[100 * MIB] = 0;
    if (planted("scribbles")) scribble(in);
    if (planted("closes_output")) mprotect(page_of(out), 1, PROT_NONE);
    if (planted("frees_input")) munmap(page_of(in), 4096);
}

static volatile char *late_target;

static void *write_soon(void *unused)
{
    (void)unused;
    usleep(1000);
    *late_target = 1;
    return NULL;
}

static void *write_on(void *unused)
{
    (void)unused;
    char const first = *late_target;
    for (;;) *late_target = first;
    return NULL;
}

static void attack_later(const dsv3_tensor *out)
{
    pthread_t thread;
    late_target = out->data;
    if (planted("writes_soon")) pthread_create(&thread, NULL, write_soon, NULL);
    if (planted("writes_on")) pthread_create(&thread, NULL, write_on, NULL);
    for (int i = 0; planted("many_write_soon") && i < 100; i++) pthread_create(&thread, NULL, write_soon, NULL);
}

/* ---- processes ---- */

static void signal_parent(void)
{
    static const struct {
        const char *plant;
        int number;
    } sent[] = {{"sends_term", SIGTERM}, {"sends_int", SIGINT},   {"sends_usr1", SIGUSR1},
                {"sends_segv", SIGSEGV}, {"sends_chld", SIGCHLD}, {"sends_stop", SIGSTOP}};
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++)
        if (planted(sent[i].plant)) kill(getppid(), sent[i].number);
}

__attribute__((constructor)) static void on_load(void)
{
    if (planted("load_sends_term")) kill(getppid(), SIGTERM);
}

/* The order in which the system ends processes when it has no memory. */
static void print_order(void)
{
    char text[16] = "";
    int const fd = open("/proc/self/oom_score_adj", O_RDONLY);
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0) printf("score %s", text);
    if (fd >= 0) close(fd);
}

static void print_without_end(void)
{
    static char line[1 << 16];
    memset(line, 'x', sizeof line);
    while (write(STDOUT_FILENO, line, sizeof line) > 0) continue;
}

static dsv3_status attack(const dsv3_tensor *in, const dsv3_tensor *out)
{
    while (!out->data) out--; /* stages that aren't asked for */
    attack_memory(in, out);
    attack_later(out);
    signal_parent();
    if (planted("prints_order")) print_order();
    if (planted("prints_without_end")) print_without_end();
    if (planted("takes_memory")) {
        void *const all = malloc((size_t)1 << 50);
        free(all);
        if (!all) return DSV3_NO_MEMORY;
    }
    return DSV3_OK;
}

/* Tensors of an op: the first is an input, the last an output. */
#define OP(op)                                                                                                         \
    static dsv3_status op(dsv3_ctx *ctx, const dsv3_##op##_prob *p, const dsv3_##op##_io *io)                          \
    {                                                                                                                  \
        dsv3_status const s = plain->op(ctx, p, io);                                                                   \
        return s == DSV3_OK ? attack((const dsv3_tensor *)io, (const dsv3_tensor *)(io + 1) - 1) : s;                  \
    }
DSV3_OPS(OP)
#undef OP

const dsv3_backend *dsv3_backend_get(uint32_t abi)
{
    dsv3_backend *const table = load_plain(abi);
    if (!table) return NULL;
    table->name = "attacks";
#define OP(op) table->op = op;
    DSV3_OPS(OP)
#undef OP
    return table;
}
