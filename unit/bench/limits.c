/* The limits beside which times are set: whose peak they are, that they are memory's and no cache's, and what is said of a
 * time that beats one. */
#include "anchor.h"
#include "cache.h"
#include "cost.h"
#include "rotation.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(limits, .timeout = 120);

static const size_t mega = (size_t)1 << 20;

/* Intel's vdpbf16ps is slower than its FMA, and its tiles are faster than both. */
Test(limits, peak_is_that_of_the_fastest_unit)
{
    static const struct {
        double of[3], bf16;
        const char *unit;
    } machines[] = {{{435e9, 220e9, 6466e9}, 6466e9, "amx"},
                    {{435e9, 220e9, 0}, 435e9, "fma"},
                    {{230e9, 460e9, 0}, 460e9, "dpbf16"},
                    {{230e9, 0, 0}, 230e9, "fma"},
                    {{0, 0, 0}, 0, "none"}};
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        anchor const a = anchor_of_units(machines[i].of, 31e9);
        cost const halves = {1e9, 1e6, true}, floats = {1e9, 1e6, false};
        cr_expect_eq(a.bf16, machines[i].bf16, "machine %zu", i);
        cr_expect_eq(a.f32, machines[i].of[0], "machine %zu", i);
        cr_expect_str_eq(unit_of(&halves, &a), machines[i].unit, "machine %zu", i);
        cr_expect_str_eq(unit_of(&floats, &a), a.f32 > 0 ? "fma" : "none", "machine %zu", i);
    }
}

Test(limits, the_larger_of_two_minutes_is_the_limit)
{
    anchor const a = {1, 5, 9, "dpbf16"}, b = {2, 4, 10, "fma"}, most = anchor_between(a, b);
    cr_expect(most.f32 == 2 && most.bf16 == 5 && most.memory == 10 && !strcmp(most.unit, "dpbf16"));
}

Test(limits, units_of_this_processor_are_measured)
{
    cr_assert(anchors_open(1));
    anchor const a = measure_anchor();
    anchors_close();
    cr_expect_geq(a.bf16, a.f32);
    cr_expect_gt(a.memory, 1e8);
    cr_expect(a.f32 > 0 ? strstr("fma dpbf16 amx", a.unit) != NULL : !strcmp(a.unit, "none"), "%s", a.unit);
}

static void write_line(const char *folder, const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *const f = fopen(path, "w");
    cr_assert(f != NULL, "%s", path);
    fputs(text, f);
    fclose(f);
}

Test(limits, last_level_cache_is_read)
{
    static const struct {
        const char *level, *size;
    } caches[] = {{"1\n", "48K\n"}, {"1\n", "32K\n"}, {"2\n", "2048K\n"}, {"3\n", "307200K\n"}};
    char folder[200];
    mkdir(BUILD "/cache", 0777);
    for (int i = 0; i < 4; i++) {
        snprintf(folder, sizeof folder, BUILD "/cache/index%d", i);
        mkdir(folder, 0777);
        write_line(folder, "level", caches[i].level);
        write_line(folder, "size", caches[i].size);
    }
    cr_expect_eq(cache_bytes(BUILD "/cache"), 300 * mega);
    cr_expect_eq(cache_bytes(BUILD "/no-cache"), 0);
}

Test(limits, what_is_read_exceeds_the_cache)
{
    cr_expect_eq(bytes_beyond(32 * mega, 16384 * mega), 192 * mega);
    cr_expect_eq(bytes_beyond(300 * mega, 16384 * mega), 450 * mega);
    cr_expect_eq(bytes_beyond(900 * mega, 16384 * mega), 1024 * mega, "a GiB is the most");
    cr_expect_eq(bytes_beyond(300 * mega, 1024 * mega), 256 * mega, "a quarter of what is free");
    cr_expect_eq(bytes_beyond(0, 0), 192 * mega, "no less, whatever the system says");
}

Test(limits, a_rotation_passes_through_as_much)
{
    problem p;
    complaint why;
    rotation *const r = calloc(1, sizeof *r);
    cr_assert(problem_parse("linear@v3:n_tokens=1,out_features=512", &p, &why), "%s", why.text);
    cr_assert(rotation_open(r, &p));
    size_t bytes = 0;
    for (int i = 0; i < p.tensors; i++)
        if (!strcmp(p.tensor[i].name, "weight")) bytes = p.tensor[i].bytes * (size_t)r->copies;
    cr_expect_geq(bytes + bytes / 50, rotated_bytes());
    cr_expect_geq(rotated_bytes(), 192 * mega);
    rotation_close(r);
    problem_close(&p);
    free(r);
}

Test(limits, a_time_that_beats_its_floor_gets_a_sentence)
{
    complaint why = {""};
    cr_expect(!beats_floor(1.01e-3, 1e-3, &why) && !*why.text);
    cr_expect(!beats_floor(NAN, 1e-3, &why), "there is no time");
    cr_expect(beats_floor(0.8e-3, 1e-3, &why));
    cr_expect(strstr(why.text, "in 0.80 of the time that its limit allows"), "%s", why.text);
}
