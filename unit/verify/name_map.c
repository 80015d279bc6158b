/* What a map makes of a recording (verify/engine/name_map.h). */
#include "engine/name_map.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(name_map, .timeout = 60);

/* Two tensors of so many numbers, in the order of their names. */
static float number[2][4096];

static safetensor tensor_of(const char *name, int n, int64_t columns)
{
    safetensor t = {.dtype = DSV3_F32, .ndim = 2, .shape = {2, columns}, .data = number[n]};
    snprintf(t.name, sizeof t.name, "%s", name);
    t.bytes = (size_t)(2 * columns) * sizeof(float);
    return t;
}

/* Does a map find the logits among two ranks, of 1024 and `columns`? */
static bool find_sum(int64_t columns, shaped *out, complaint *fault)
{
    complaint why;
    name_map m = {.count = 0};
    dsv3_config const config = {.num_hidden_layers = 1};
    safetensor const rank[] = {tensor_of("rank0.y", 0, 1024), tensor_of("rank1.y", 1, columns)};
    recording const r = {.count = 2, .item = (const safetensor *[]){&rank[0], &rank[1]}};
    map_scene const at = {&r, &config, NULL};
    cr_assert(name_map_parse("test", "logits = rank{R}.y ; ranks sum\n", &m, &why), "%s", why.text);
    m.ranks = 2;
    bool const found = name_map_find(&m, &at, "logits", out, fault);
    name_map_close(&m);
    return found;
}

Test(name_map, ranks_are_added)
{
    shaped out;
    complaint fault = {""};
    number[0][5] = 0x1.800002p0F, number[1][5] = 0x1.000002p1F;
    cr_assert(find_sum(1024, &out, &fault), "%s", fault.text);
    cr_expect(out.t.dtype == DSV3_F32 && out.t.bytes == sizeof(float) * 2048 &&
              ((const float *)out.t.data)[5] == 0x1.c00003p1F);
    shaped_free(&out);
    cr_expect(!out.t.data && !out.owned);
}

/* Each was rounded: their sum is no result of the formula. */
Test(name_map, partial_sums_in_bf16_are_told_in_f32_too)
{
    shaped out;
    complaint fault = {""};
    number[0][5] = 0x1.800002p0F, number[1][5] = 2;
    cr_expect(!find_sum(1024, &out, &fault) && strstr(fault.text, "rank1.y is bf16: partial sums"), "%s", fault.text);
    cr_expect(!out.t.data && !out.owned);
}

/* Pages at the place of a tensor that is no more would be given back, whosever they are. */
Test(name_map, what_has_no_shape_has_no_place)
{
    shaped out;
    complaint fault = {""};
    cr_expect(!find_sum(512, &out, &fault) && strstr(fault.text, "have other sizes"), "%s", fault.text);
    cr_expect(!out.t.data && !out.owned, "it points to memory that was freed");
}
