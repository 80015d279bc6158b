/* Tiles, copies that come late, and the warp's matrix unit, in what ptx2c makes of unit/cuda/tiles.ptx: right in every order of the
 * threads; mistakes are named. */
#include "../../cuda/emu/runtime.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(tiles, .timeout = 60);

enum { THREADS = 64, ORDERS = 3, SIDE = 16, DEEP = 64 };

static const kernel *list;
static int listed;

/* In the place of the runtime's. */
void runtime_kernels(const kernel *k, int count)
{
    list = k, listed = count;
}

typedef struct {
    machine *m;
    void *a, *b, *c;
} device;

static device open_device(int order, size_t a, size_t b, size_t c)
{
    device d = {.m = machine_open((machine_order)order, GPU_AMPERE)};
    cr_assert(d.m);
    d.a = machine_alloc(d.m, a), d.b = machine_alloc(d.m, b), d.c = machine_alloc(d.m, c);
    cr_assert(d.a && d.b && d.c);
    return d;
}

static bool launch(const device *d, const char *name)
{
    uint32_t const grid[3] = {1, 1, 1}, block[3] = {THREADS, 1, 1};
    void *args[] = {(void *)(uintptr_t)&d->a, (void *)(uintptr_t)&d->b, (void *)(uintptr_t)&d->c};
    for (int i = 0; i < listed; i++)
        if (!strcmp(list[i].name, name)) return machine_launch(d->m, &list[i], grid, block, 0, args);
    cr_assert(false, "there is no kernel %s", name);
    return false;
}

/* Small whole numbers, so that every sum is exact: of both factors, all different enough to show a swap. */
static float number(int row, int k)
{
    return (float)((row * 37 + k * 11 + row * k) % 17 - 8);
}

static uint32_t bits_of(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static uint16_t bf16_of(float v)
{
    return (uint16_t)(bits_of(v) >> 16);
}

static float of_bf16(uint16_t half)
{
    uint32_t const bits = (uint32_t)half << 16;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static device open_product(int order)
{
    device const d = open_device(order, SIDE * DEEP * 2, SIDE * DEEP * 2, SIDE * SIDE * 4);
    for (int i = 0; i < SIDE * DEEP; i++) {
        ((uint16_t *)d.a)[i] = bf16_of(number(i / DEEP, i % DEEP));
        ((uint16_t *)d.b)[i] = bf16_of(number(i / DEEP + 16, i % DEEP + 5));
    }
    return d;
}

Test(tiles, products_are_right_in_every_order)
{
    for (int order = 0; order < ORDERS; order++) {
        device const d = open_product(order);
        cr_assert(launch(&d, "multiplies"), "%s", machine_fault(d.m));
        for (int i = 0; i < SIDE * SIDE; i++) {
            float sum = 0;
            for (int k = 0; k < DEEP; k++) sum += number(i / SIDE, k) * number(i % SIDE + 16, k + 5);
            cr_assert_eq(((float *)d.c)[i], sum, "order %d, row %d, column %d", order, i / SIDE, i % SIDE);
        }
        machine_close(d.m);
    }
}

Test(tiles, sums_of_rows_are_right_in_every_order)
{
    for (int order = 0; order < ORDERS; order++) {
        device const d = open_product(order);
        cr_assert(launch(&d, "multiplies_transposed"), "%s", machine_fault(d.m));
        for (int i = 0; i < SIDE * SIDE; i++) {
            float sum = 0;
            for (int k = 0; k < SIDE; k++) sum += number(i / SIDE, k) * number(k + 16, i % SIDE + 5);
            cr_assert_eq(((float *)d.c)[i], sum, "order %d, row %d, column %d", order, i / SIDE, i % SIDE);
        }
        machine_close(d.m);
    }
}

Test(tiles, copies_that_nobody_waited_for_are_named)
{
    static const struct {
        const char *kernel, *says;
    } mistakes[] = {{"does_not_wait", "cp.async has not filled yet"},
                    {"waits_for_one_group", "cp.async has not filled yet"},
                    {"lacks_the_barrier", "it reads "}}; /* a race, not filled, or not even asked for */
    for (int i = 0; i < 3; i++)
        for (int order = 0; order < ORDERS; order++) {
            device const d = open_product(order);
            cr_expect(!launch(&d, mistakes[i].kernel), "%s, order %d: nothing was found", mistakes[i].kernel, order);
            cr_expect(strstr(machine_fault(d.m), mistakes[i].says), "%s", machine_fault(d.m));
            cr_expect(strstr(machine_fault(d.m), mistakes[i].kernel), "%s", machine_fault(d.m));
            machine_close(d.m);
        }
}

Test(tiles, a_copy_of_some_bytes_reads_no_more)
{
    device const d = open_device(0, 13, 1, 16);
    for (int i = 0; i < 13; i++) ((uint8_t *)d.a)[i] = (uint8_t)(i + 1);
    cr_assert(launch(&d, "copies_some"), "%s", machine_fault(d.m));
    for (int i = 0; i < 16; i++) cr_expect_eq(((uint8_t *)d.c)[i], i < 13 ? i + 1 : 0);
    machine_close(d.m);
}

static double of_e4m3(int code)
{
    int const e = code >> 3 & 15, fraction = code & 7;
    double const size = ldexp((e ? 8 : 0) + fraction, (e ? e : 1) - 10);
    return code & 128 ? -size : size;
}

/* Rows of 128 bytes lie in the same banks: right, and eight times as slow. */
Test(tiles, rows_that_share_banks_are_counted)
{
    static const struct {
        const char *name, *says;
    } kernels[] = {{"multiplies", "\"matrices\":64,\"phases\":64,"},
                   {"lacks_the_padding", "\"matrices\":64,\"phases\":512,"}};
    const char *const path = BUILD "/cuda/phases.jsonl";
    cr_assert(!system("mkdir -p " BUILD "/cuda"));
    for (int i = 0; i < 2; i++) {
        device const d = open_device(ORDER_UP, SIDE * DEEP * 2, SIDE * DEEP * 2, SIDE * SIDE * 4);
        char line[1000] = "";
        remove(path);
        cr_assert(machine_count(d.m, path));
        memset(d.a, 0, SIDE * DEEP * 2), memset(d.b, 0, SIDE * DEEP * 2);
        cr_assert(launch(&d, kernels[i].name), "%s", machine_fault(d.m));
        machine_close(d.m);
        FILE *const f = fopen(path, "r");
        cr_assert(f && fgets(line, sizeof line, f));
        fclose(f);
        cr_expect(strstr(line, kernels[i].says), "%s: %s", kernels[i].says, line);
    }
}

Test(tiles, formats_are_converted_exactly)
{
    device const d = open_device(0, 512 * 4, 1, 1024 * 2);
    static const uint32_t kept[] = {0x3f808000, 0x3f818000, 0x3f808001, 0xbf807fff,
                                    0x00008000, 0x7f7fffff, 0x7f800001, 0x80000000};
    static const uint16_t rounded[] = {0x3f80, 0x3f82, 0x3f81, 0xbf80, 0x0000, 0x7f80, 0x7fff, 0x8000};
    for (int i = 0; i < 512; i++) memcpy((float *)d.a + i, &kept[i % 8], 4);
    cr_assert(launch(&d, "converts"), "%s", machine_fault(d.m));
    const uint16_t *const to = d.c;
    for (int i = 0; i < 256; i++) {
        if ((i & 0x7f) == 0x7f)
            cr_expect(isnan(of_bf16(to[i])), "%02x", (unsigned)i);
        else
            cr_expect(bits_of(of_bf16(to[i])) == bits_of((float)of_e4m3(i)), "%02x", (unsigned)i);
    }
    for (int i = 0; i < 256; i++)
        cr_expect(to[768 + i] == to[i] || (i & 0x7f) == 0x7f, "%02x by eights: %04x", (unsigned)i, to[768 + i]);
    cr_expect(isnan(of_bf16(to[768 + 0x7f])) && isnan(of_bf16(to[768 + 0xff])));
    for (int i = 0; i < 512; i++) cr_expect_eq(to[256 + i], rounded[i % 8], "%08x: %04x", kept[i % 8], to[256 + i]);
    machine_close(d.m);
}
