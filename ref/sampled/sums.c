/* See sums.h. */
#include "sums.h"

#include "../ref.h"

#include <stdlib.h>

/* ---- orders ---- */

static const int block_terms[ORDER_BLOCKS] = {32, 128};

void add_to_orders(order_sums *sums, int64_t i, double exact)
{
    float const term = (float)exact;
    sums->fused_of_1 = (float)((double)sums->fused_of_1 + exact);
    sums->fused_of_8[i % 8] = (float)((double)sums->fused_of_8[i % 8] + exact);
    sums->lane_of_1 += term;
    sums->lane_of_4[i % 4] += term;
    sums->lane_of_8[i % 8] += term;
    sums->lane_of_16[i % 16] += term;
    for (int k = 0; k < ORDER_BLOCKS; k++) {
        if (i % block_terms[k] == 0) {
            sums->of_blocks[k] += sums->block[k];
            sums->block[k] = 0;
        }
        sums->block[k] += term;
    }
}

static double sum_of_lanes(const float *lane, int n)
{
    float sum = 0;
    for (int i = 0; i < n; i++) sum += lane[i];
    return (double)sum;
}

void errors_of_orders(const order_sums *sums, double total, double error[ORDERS])
{
    error[0] = (double)sums->lane_of_1 - total;
    error[1] = sum_of_lanes(sums->lane_of_4, 4) - total;
    error[2] = sum_of_lanes(sums->lane_of_8, 8) - total;
    error[3] = sum_of_lanes(sums->lane_of_16, 16) - total;
    for (int k = 0; k < ORDER_BLOCKS; k++)
        error[ROUNDED_LANES + k] = (double)(sums->of_blocks[k] + sums->block[k]) - total;
    error[FUSED_ORDERS] = (double)sums->fused_of_1 - total;
    error[FUSED_ORDERS + 1] = sum_of_lanes(sums->fused_of_8, 8) - total;
}

/* ---- sums that are kept ---- */

typedef struct {
    uint64_t key;
    moments of;
} entry;

struct ref_sums {
    entry *entry;
    size_t next, n, room;
};

enum { MOST_KEPT = 1 << 20 };

ref_sums *ref_sums_open(void)
{
    return calloc(1, sizeof(ref_sums));
}

void ref_sums_close(ref_sums *sums)
{
    if (sums) free(sums->entry);
    free(sums);
}

void ref_sums_rewind(ref_sums *sums)
{
    sums->next = 0;
}

const moments *sum_kept(ref_sums *sums, uint64_t key)
{
    if (!sums || sums->next >= sums->n) return NULL;
    const entry *const e = &sums->entry[sums->next++];
    return e->key == key ? &e->of : NULL;
}

void sum_keep(ref_sums *sums, uint64_t key, const moments *of)
{
    if (!sums || sums->next < sums->n || sums->n == MOST_KEPT) return;
    if (sums->n == sums->room) {
        size_t const room = sums->room ? 2 * sums->room : 1024;
        entry *const more = realloc(sums->entry, room * sizeof *more);
        if (!more) return; /* it is only slower */
        sums->entry = more, sums->room = room;
    }
    sums->entry[sums->n++] = (entry){key, *of};
    sums->next = sums->n;
}
