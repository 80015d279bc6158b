/* The machine that runs kernels without a device: what is right comes out right in every order of the threads, and each mistake of
 * unit/cuda/kernels.cu is named with its kernel, line and thread. */
#include "../../cuda/emu/runtime.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(machine, .timeout = 60);

enum { THREADS = 64, ORDERS = 3 };

static const kernel *list;
static int listed;

/* In the place of the runtime's: kernels.ptx alone is known here. */
void runtime_kernels(const kernel *k, int count)
{
    list = k, listed = count;
}

static const kernel *find(const char *name)
{
    for (int i = 0; i < listed; i++)
        if (!strcmp(list[i].name, name)) return &list[i];
    cr_assert(false, "there is no kernel %s", name);
    abort();
}

/* Device memory of one test: so many numbers in and out, poison behind them. */
typedef struct {
    machine *m;
    void *in, *out;
} device;

static device open_device(int order, size_t in, size_t out)
{
    device d = {.m = machine_open((machine_order)order, GPU_AMPERE)};
    cr_assert(d.m);
    d.in = machine_alloc(d.m, in), d.out = machine_alloc(d.m, out);
    cr_assert(d.in && d.out);
    return d;
}

/* A number for each thread, its own, and room for one. */
static device open_numbered(int order)
{
    device const d = open_device(order, THREADS * sizeof(float), THREADS * sizeof(float));
    for (int i = 0; i < THREADS; i++) ((float *)d.in)[i] = (float)i;
    return d;
}

static bool launch(const device *d, const char *name, uint32_t blocks)
{
    uint32_t const grid[3] = {blocks, 1, 1}, block[3] = {THREADS, 1, 1};
    int beyond = 1;
    void *args[] = {(void *)(uintptr_t)&d->in, (void *)(uintptr_t)&d->out, &beyond};
    return machine_launch(d->m, find(name), grid, block, 0, args);
}

Test(machine, sums_are_right_in_every_order)
{
    for (int order = 0; order < ORDERS; order++) {
        device const d = open_device(order, 5 * THREADS * sizeof(float), 5 * sizeof(float));
        float *const x = d.in, *const sum = d.out;
        for (int i = 0; i < 5 * THREADS; i++) x[i] = (float)(i % 97);
        cr_assert(launch(&d, "tree_sum", 5), "%s", machine_fault(d.m));
        for (int b = 0; b < 5; b++) {
            float right = 0;
            for (int i = 0; i < THREADS; i++) right += x[b * THREADS + i];
            cr_expect_eq(sum[b], right, "order %d, block %d: %g", order, b, (double)sum[b]);
        }
        machine_close(d.m);
    }
}

/* Bytes once each, lanes' neighbours in sectors of 32, and a line a launch. */
Test(machine, what_a_launch_asks_for_is_counted)
{
    static const char *const says[] = {
        "{\"kernel\":\"tree_sum\",\"grid\":[5,1,1],\"block\":[64,1,1],\"dynamic\":0,\"issued\":",
        "\"mma\":0,\"sectors_read\":40,\"sectors_written\":5,\"matrices\":0,\"phases\":0,\"memory\":[",
        "{\"bytes\":20,\"read\":0,\"read_once\":0,\"written\":20,\"written_once\":20}",
        "{\"bytes\":1284,\"read\":1280,\"read_once\":1280,\"written\":0,\"written_once\":0}"};
    device const d = open_device(ORDER_UP, 1284, 5 * sizeof(float));
    const char *const path = BUILD "/cuda/counts.jsonl";
    char line[1000];
    cr_assert(!system("mkdir -p " BUILD "/cuda"));
    remove(path);
    cr_expect(!machine_count(d.m, "/nowhere/counts.jsonl"));
    cr_assert(machine_count(d.m, path));
    memset(d.in, 0, 1284);
    for (int i = 0; i < 2; i++) cr_assert(launch(&d, "tree_sum", 5), "%s", machine_fault(d.m));
    machine_close(d.m);
    FILE *const f = fopen(path, "r");
    cr_assert(f);
    for (int i = 0; i < 2; i++) {
        cr_assert(fgets(line, sizeof line, f), "line %d", i);
        for (size_t k = 0; k < sizeof says / sizeof *says; k++)
            cr_expect(strstr(line, says[k]), "%s: %s", says[k], line);
    }
    cr_expect(!fgets(line, sizeof line, f), "%s", line);
    fclose(f);
}

/* A warp that has returned is missed at no barrier; who heard of whom is told lane by lane, not by how often a lane has met others. */
Test(machine, lanes_that_are_ordered_race_with_nobody)
{
    static const struct {
        const char *kernel;
        int threads, partner; /* thread i writes what it takes from thread i ^ partner */
    } rows[] = {{"a_warp_returns_before", 32, 31}, {"a_half_meets_more_often", THREADS, 16}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        for (int order = 0; order < ORDERS; order++) {
            device const d = open_numbered(order);
            const float *const x = d.in, *const y = d.out;
            cr_assert(launch(&d, rows[k].kernel, 1), "%s", machine_fault(d.m));
            for (int i = 0; i < rows[k].threads; i++)
                cr_expect_eq(y[i], x[i ^ rows[k].partner], "%s, order %d, thread %d", rows[k].kernel, order, i);
            machine_close(d.m);
        }
}

/* What comes from a lane outside the mask is NaN; who uses it gets that. */
Test(machine, lanes_may_ask_outside_the_mask)
{
    device const d = open_numbered(ORDER_UP);
    const float *const y = d.out;
    const int *const taken = d.out;
    cr_assert(launch(&d, "sums_half_a_warp", 1), "%s", machine_fault(d.m));
    cr_expect_eq(y[0], 120);
    cr_expect_eq(y[1], 16 * 32 + 120);
    cr_assert(launch(&d, "reads_a_lane_outside_the_mask", 1), "%s", machine_fault(d.m));
    for (int i = 0; i < THREADS; i++) cr_expect_eq(taken[i], i % 32 < 16 ? -1 : ((const int *)d.in)[i], "thread %d", i);
    machine_close(d.m);
}

/* PTX ISA 9.0, shfl.sync, worked out lane by lane. */
static int shuffled(int way, int t, const int *x)
{
    int const lane = t % 32, warp = t - lane;
    if (way == 0) return x[warp + (lane ^ 5)];
    if (way == 1) return x[lane % 16 < 3 ? t : t - 3];
    if (way == 2) return x[lane > 24 ? t : t + 7];
    return x[warp + lane / 8 * 8 + 9 % 8];
}

Test(machine, lanes_take_what_shfl_says)
{
    for (int order = 0; order < ORDERS; order++) {
        device const d = open_device(order, THREADS * sizeof(int), 4 * THREADS * sizeof(int));
        int *const x = d.in, *const y = d.out;
        for (int i = 0; i < THREADS; i++) x[i] = 1000 + i * i;
        cr_assert(launch(&d, "shuffles", 1), "%s", machine_fault(d.m));
        for (int i = 0; i < 4 * THREADS; i++)
            cr_expect_eq(y[i], shuffled(i / THREADS, i % THREADS, x), "order %d, way %d, thread %d: %d", order,
                         i / THREADS, i % THREADS, y[i]);
        machine_close(d.m);
    }
}

Test(machine, registers_have_their_widths_and_signs)
{
    enum { N = 256 };
    device const d = open_device(0, N, N * sizeof(double));
    uint8_t *const a = d.in;
    double *const out = d.out;
    int16_t *const b = machine_alloc(d.m, N * sizeof *b);
    int64_t *const c = machine_alloc(d.m, N * sizeof *c);
    for (int i = 0; i < N; i++)
        a[i] = (uint8_t)(255 - i), b[i] = (int16_t)(i * 257 - 32768), c[i] = (i - 128) * 0x123456789abc;
    const void *const in[] = {a, b, c, out};
    void *args[] = {(void *)(uintptr_t)&in[0], (void *)(uintptr_t)&in[1], (void *)(uintptr_t)&in[2],
                    (void *)(uintptr_t)&in[3]};
    uint32_t const grid[3] = {1, 1, 1}, block[3] = {32, 8, 1};
    cr_assert(machine_launch(d.m, find("mixes_widths"), grid, block, 0, args), "%s", machine_fault(d.m));
    for (int i = 0; i < N; i++) {
        double const right = (double)(c[i] >> (a[i] & 7)) + (double)(b[i] * 4) - (double)(a[i] >> 1);
        cr_expect_eq(out[i], right, "%d: %.17g, right is %.17g", i, out[i], right);
    }
    machine_close(d.m);
}

/* ---- blocks by several threads ---- */

enum { BLOCKS = 700, WORKERS = 3, TIMES = 4 };

/* With so many threads of this processor; false: the sentence, where the blocks from `there` on read what isn't. */
static bool sum_blocks(int order, int workers, int there, float sum[BLOCKS], char *sentence, size_t cap)
{
    device const d = open_device(order, (size_t)there * THREADS * sizeof(float), BLOCKS * sizeof(float));
    float *const x = d.in;
    cr_assert(machine_spread(d.m, workers));
    for (int i = 0; i < there * THREADS; i++) x[i] = (float)(i % 1009);
    bool const good = launch(&d, "tree_sum", BLOCKS);
    memcpy(sum, d.out, BLOCKS * sizeof *sum);
    snprintf(sentence, cap, "%s", machine_fault(d.m));
    machine_close(d.m);
    return good;
}

Test(machine, threads_share_the_blocks_of_a_launch)
{
    for (int order = 0; order < ORDERS; order++) {
        float alone[BLOCKS], shared[BLOCKS];
        char sentence[600];
        cr_assert(sum_blocks(order, 1, BLOCKS, alone, sentence, sizeof sentence), "%s", sentence);
        for (int i = 0; i < TIMES; i++) {
            cr_assert(sum_blocks(order, WORKERS, BLOCKS, shared, sentence, sizeof sentence), "%s", sentence);
            cr_expect_arr_eq(shared, alone, sizeof alone, "order %d", order);
        }
    }
}

/* The first block that fails is named, whoever runs it, with the thread that one alone would name. */
Test(machine, the_mistake_is_that_of_one_thread)
{
    for (int there = 0; there < BLOCKS; there += 233)
        for (int order = 0; order < ORDERS; order++) {
            float sum[BLOCKS];
            char alone[600], shared[600], says[60];
            cr_expect(!sum_blocks(order, 1, there, sum, alone, sizeof alone));
            snprintf(says, sizeof says, "block (%d, 0, 0)", there);
            cr_expect(strstr(alone, says), "%s: %s", says, alone);
            for (int i = 0; i < TIMES; i++) {
                cr_expect(!sum_blocks(order, WORKERS, there, sum, shared, sizeof shared));
                cr_expect_str_eq(shared, alone);
            }
        }
}

/* A kernel whose blocks may tell each other something has none beside another. */
Test(machine, blocks_that_may_talk_are_alone)
{
    static const char *const bodies[][2] = {{"atom.global.add.u32 %r1, [%rd1], 1;", "true"},
                                            {"red.add.u32 [%rd1], 1;", "true"},
                                            {"ld.volatile.global.u32 %r1, [%rd1];", "true"},
                                            {"membar.gl;", "true"},
                                            {"mov.u32 %r1, %clock;", "true"},
                                            {"atom.shared.add.u32 %r1, [part], 1;", "false"},
                                            {"fence.proxy.async;", "false"},
                                            {"ld.global.u32 %r1, [%rd1];", "false"}};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        const char *const path = BUILD "/cuda/alone.ptx";
        char line[300], wanted[40];
        bool found = false;
        cr_assert(!system("mkdir -p " BUILD "/cuda"));
        FILE *const f = fopen(path, "w");
        cr_assert(f);
        fprintf(
            f,
            ".version 9.0\n.target sm_90a\n.address_size 64\n.visible .entry talks(.param .u64 talks_0)\n{\n.reg .b32 "
            "%%r<2>;\n.reg .b64 %%rd<2>;\n.shared .align 4 .b8 part[4];\nld.param.u64 %%rd1, [talks_0];\n%s\nret;\n}\n",
            bodies[i][0]);
        fclose(f);
        FILE *const c = popen(BUILD "/bin/ptx2c " BUILD "/cuda/alone.ptx", "r");
        cr_assert(c);
        snprintf(wanted, sizeof wanted, "size_0, \"sm_90a\", %s},", bodies[i][1]);
        while (fgets(line, sizeof line, c)) found |= strstr(line, wanted) != NULL;
        cr_expect(!pclose(c) && found, "%s: not %s", bodies[i][0], wanted);
    }
}

/* ---- mistakes ---- */

typedef struct {
    const char *kernel, *says[2]; /* in the order of the threads' numbers */
} mistake;

static const mistake mistakes[] = {
    {"lacks_first_barrier", {"reads shared memory that nobody wrote", "thread (0, 0, 0)"}},
    {"lacks_second_barrier", {"race: it reads what thread 31 wrote with no barrier between", "thread (32, 0, 0)"}},
    {"writes_what_others_read", {"race: it writes what thread 0 read with no barrier between", "thread (32, 0, 0)"}},
    {"all_write_one", {"race: it writes what thread 0 wrote with no barrier between", "thread (1, 0, 0)"}},
    {"reads_past", {"read of 4 bytes outside every allocation", "thread (63, 0, 0)"}},
    {"writes_past", {"write of 4 bytes outside every allocation", "thread (63, 0, 0)"}},
    {"writes_past_shared", {"write of 4 bytes at 256 of shared memory, which has 256", "thread (63, 0, 0)"}},
    {"reads_what_nobody_wrote", {"reads shared memory that nobody wrote", "thread (7, 0, 0)"}},
    {"is_misaligned", {"misaligned: 4 bytes", "thread (0, 0, 0)"}},
    {"some_return_before", {"a barrier after thread 5 returned", "thread (0, 0, 0)"}},
    {"waits_for_absent_lanes", {"32 for their warp", "32 have returned"}},
    {"takes_a_shuffle_for_a_barrier",
     {"race: it reads what thread 1 wrote with no barrier between", "thread (0, 0, 0)"}},
    {"reads_what_the_other_half_wrote", {"race: it reads what thread ", "with no barrier between"}},
    {"overwrites_what_others_read",
     {"race: it writes what thread 30 read with no barrier between", "thread (31, 0, 0)"}},
    {"reads_before_shared", {"read of 4 bytes at -4 of shared memory, which has 256", "thread (0, 0, 0)"}},
    {"waits_in_both_branches", {"thread 1 waits at another barrier, of line ", "thread (0, 0, 0)"}},
};

/* A race between warps shows in whichever order they run; what a device would do then isn't asked. */
static void check_mistake(const mistake *k, int order)
{
    device const d = open_numbered(order);
    cr_expect(!launch(&d, k->kernel, 1), "%s, order %d: nothing was found", k->kernel, order);
    const char *const fault = machine_fault(d.m);
    cr_expect(strstr(fault, k->kernel), "%s", fault);
    cr_expect(strstr(fault, "kernels.ptx"), "%s", fault);
    if (order == ORDER_UP)
        for (int i = 0; i < 2; i++) cr_expect(strstr(fault, k->says[i]), "%s, order %d: %s", k->kernel, order, fault);
    cr_expect(launch(&d, "tree_sum", 1), "after a fault: %s", machine_fault(d.m));
    machine_close(d.m);
}

Test(machine, mistakes_are_named)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
        for (int order = 0; order < ORDERS; order++) check_mistake(&mistakes[i], order);
}

Test(machine, a_launch_that_no_device_takes_is_refused)
{
    static const struct {
        uint32_t grid[3], block[3], shared;
        const char *says;
    } bad[] = {
        {{1, 1, 1}, {1025, 1, 1}, 0, "a block has 1 to 1024 threads"},
        {{1, 1, 1}, {0, 1, 1}, 0, "a block has 1 to 1024 threads"},
        {{0, 1, 1}, {64, 1, 1}, 0, "the grid has no block"},
        {{1, 65536, 1}, {64, 1, 1}, 0, "65535 in y and z"},
        {{1, 1, 65536}, {64, 1, 1}, 0, "65535 in y and z"},
        {{1U << 31, 1, 1}, {64, 1, 1}, 0, "2^31 - 1 blocks in x at most"},
        {{1, 1, 1}, {64, 1, 1}, 232448, "227 KiB of shared memory at most"},
    };
    device const d = open_device(0, 16, 16);
    void *args[] = {(void *)(uintptr_t)&d.in, (void *)(uintptr_t)&d.out};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect(!machine_launch(d.m, find("tree_sum"), bad[i].grid, bad[i].block, bad[i].shared, args));
        cr_expect(strstr(machine_fault(d.m), bad[i].says), "%s: %s", bad[i].says, machine_fault(d.m));
    }
    machine_close(d.m);
}

/* A call wants its stack at a multiple of 16, whoever made the stack. */
static uintptr_t frame;

static void note_frame(machine *m, const uint8_t *param)
{
    (void)m, (void)param;
    frame |= (uintptr_t)__builtin_frame_address(0) & 15;
}

Test(machine, stacks_begin_where_calls_want_them)
{
    static const kernel k = {"notes_frame", "machine.c", note_frame, 0, 0, NULL, NULL};
    uint32_t const grid[3] = {2, 1, 1}, block[3] = {33, 1, 1};
    machine *const m = machine_open(ORDER_UP, GPU_AMPERE);
    cr_assert(m && machine_launch(m, &k, grid, block, 0, NULL));
    cr_expect_eq(frame, 0);
    machine_close(m);
}

/* ---- the translator ---- */

/* What ptx2c says to a file. */
static int translate(const char *ptx, char *said, size_t cap)
{
    const char *const path = BUILD "/cuda/bad.ptx";
    FILE *const f = fopen(path, "w");
    cr_assert(f && fputs(ptx, f) >= 0 && !fclose(f));
    FILE *const p = popen(BUILD "/bin/ptx2c " BUILD "/cuda/bad.ptx 2>&1 >/dev/null", "r");
    cr_assert(p);
    said[fread(said, 1, cap - 1, p)] = 0;
    return pclose(p) / 256;
}

#define HEAD                                                                                                           \
    ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k(\n.param .u64 k_param_0\n)\n{\n.reg .f32 "       \
    "%f<3>;\n"

Test(machine, what_it_does_not_know_stops_the_translator)
{
    static const struct {
        const char *ptx, *says;
    } bad[] = {
        {HEAD "rcp.rz.f32 %f1, %f2;\nret;\n}\n", "bad.ptx:9: rcp"},
        {HEAD "// a comment\n/* two\nlines */ add.noftz.f32 %f1, %f2, %f1;\nret;\n}\n",
         "bad.ptx:11: add: .noftz isn't known"},
        {HEAD "add.f32 %f1, %f2;\nret;\n}\n", "2 operands, 3 are known"},
        {HEAD "mov.b32 %f1, %pm3;\nret;\n}\n", "bad.ptx:9: register %pm3 isn't known"},
        {HEAD "ld.global.a.f32 %f1, [%rd1];\nret;\n}\n", "bad.ptx:9: ld: .a isn't known"},
        {HEAD "ldmatrix.sync.aligned.m8n8.x1.s.shared.b16 {%r1}, [%r2];\nret;\n}\n", "ldmatrix: .s isn't known"},
        {HEAD "bar.sync 1, 64;\nret;\n}\n", "a barrier other than number 0 of all threads of a block isn't known"},
        {HEAD "call f;\nret;\n}\n", "bad.ptx:9: it calls f, which isn't known"},
        {HEAD "call (%f1), %rd1, (%f2), proto;\nret;\n}\n", "a call by address isn't known"},
        {HEAD "ret;\n", "the file ends inside a kernel"},
        {HEAD "ret", "the file ends inside a statement"},
        {".version 9.0\n.func f()\n{\n.shared .b32 s;\n}\n", "shared memory of a function isn't known"},
        {".version 9.0\n.extern .func g();\n.func f()\n{\ncall g;\n}\n", "it calls g, which isn't known"},
        {".version 9.0\n.extern .func (.param .b32 f) vprintf (.param .b64 a);\n.func f()\n{\ncall (a), vprintf, "
         "(b);\n}\n",
         "it calls printf, which isn't known: leave it out"},
        {"", "it is no PTX"},
        {"hello", "hello isn't known at the level of the file"},
    };
    char said[1000];
    cr_assert(!system("mkdir -p " BUILD "/cuda"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(translate(bad[i].ptx, said, sizeof said), 2, "%s", bad[i].ptx);
        cr_expect(strstr(said, bad[i].says), "%s: %s", bad[i].says, said);
        cr_expect_eq(strchr(said, '\n'), said + strlen(said) - 1, "%s", said);
    }
}
