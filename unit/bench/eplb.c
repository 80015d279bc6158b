/* The balancer of expert-parallel loads beside the example of its public README, and on loads whose best is known. */
#include "../../bench/eplb.h"

#include <criterion/criterion.h>
#include <math.h>

enum { EXPERTS = 12, REPLICAS = 16, DEVICES = 8 };

/* deepseek-ai/EPLB, README.md. */
static const double load[2][EXPERTS] = {{90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86},
                                        {20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27}};
static const int place[2][REPLICAS] = {{5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1},
                                       {7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1}};

Test(eplb, the_example_is_that_of_the_readme)
{
    static double const imbalance[2] = {1.208, 1.242};
    eplb_shape const s = {EXPERTS, REPLICAS, 4, 2, DEVICES};
    cr_assert(eplb_fits(&s));
    for (int layer = 0; layer < 2; layer++) {
        int expert[REPLICAS];
        eplb_place(&s, load[layer], expert);
        for (int p = 0; p < REPLICAS; p++)
            cr_expect_eq(expert[p], place[layer][p], "layer %d, place %d: expert %d", layer, p, expert[p]);
        double const found = eplb_imbalance(&s, load[layer], expert);
        cr_expect(fabs(found - imbalance[layer]) < 0.0005, "layer %d: %.4f", layer, found);
    }
}

Test(eplb, every_expert_has_a_replica_and_even_loads_stay_even)
{
    double even[32];
    int expert[48], seen[32] = {0};
    eplb_shape const s = {32, 48, 1, 1, 8};
    for (int e = 0; e < 32; e++) even[e] = e == 3 ? 17 : 1;
    eplb_place(&s, even, expert);
    for (int p = 0; p < 48; p++) seen[expert[p]]++;
    for (int e = 0; e < 32; e++) cr_expect(seen[e] >= 1, "expert %d has no replica", e);
    cr_expect_eq(seen[3], 17, "the heavy one has %d of the 16 more", seen[3]);
    cr_expect_eq(eplb_imbalance(&s, even, expert), 1);
}

Test(eplb, sizes_that_do_not_divide_are_refused)
{
    static const eplb_shape bad[] = {{12, 16, 5, 1, 8}, {12, 16, 4, 3, 8}, {12, 16, 4, 2, 6},  {12, 11, 1, 1, 1},
                                     {12, 15, 1, 1, 2}, {0, 16, 1, 1, 8},  {12, 2048, 1, 1, 8}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) cr_expect(!eplb_fits(&bad[i]), "shape %u", i);
}
