/* See sums.h. */
#include "sums.h"

#include "../ref.h"

#include <stdlib.h>

/* ---- orders ---- */

static const int block_terms[ORDER_BLOCKS] = {32, 128};
enum { MOST_LANES = 16 };

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

/* ---- one order of a dot product ---- */

/* Where these are inlined, `lanes` is a constant. */
static inline double in_lanes(const double *a, const double *b, int64_t n, int lanes)
{
    float lane[MOST_LANES] = {0};
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes)
        for (int k = 0; k < lanes; k++) lane[k] += (float)(a[i + k] * b[i + k]);
    for (int k = 0; i + k < n; k++) lane[k] += (float)(a[i + k] * b[i + k]);
    return sum_of_lanes(lane, lanes);
}

static inline double in_fused_lanes(const double *a, const double *b, int64_t n, int lanes)
{
    float lane[MOST_LANES] = {0};
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes)
        for (int k = 0; k < lanes; k++) lane[k] = (float)((double)lane[k] + a[i + k] * b[i + k]);
    for (int k = 0; i + k < n; k++) lane[k] = (float)((double)lane[k] + a[i + k] * b[i + k]);
    return sum_of_lanes(lane, lanes);
}

static double in_blocks(const double *a, const double *b, int64_t n, int64_t terms)
{
    float sum = 0;
    for (int64_t from = 0; from < n; from += terms) {
        float block = 0;
        for (int64_t i = from; i < n && i < from + terms; i++) block += (float)(a[i] * b[i]);
        sum += block;
    }
    return (double)sum;
}

double dot_in_order(int order, const double *a, const double *b, int64_t n)
{
    switch (order) {
    case 0: return in_lanes(a, b, n, 1);
    case 1: return in_lanes(a, b, n, 4);
    case 2: return in_lanes(a, b, n, 8);
    case 3: return in_lanes(a, b, n, 16);
    case FUSED_ORDERS: return in_fused_lanes(a, b, n, 1);
    case FUSED_ORDERS + 1: return in_fused_lanes(a, b, n, 8);
    default: return in_blocks(a, b, n, block_terms[order - ROUNDED_LANES]);
    }
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

bool sum_is_new(const ref_sums *sums)
{
    return sums && sums->next == sums->n && sums->n < MOST_KEPT;
}

void sum_keep(ref_sums *sums, uint64_t key, const moments *of)
{
    if (!sum_is_new(sums)) return;
    if (sums->n == sums->room) {
        size_t const room = sums->room ? 2 * sums->room : 1024;
        entry *const more = realloc(sums->entry, room * sizeof *more);
        if (!more) return; /* it is only slower */
        sums->entry = more, sums->room = room;
    }
    sums->entry[sums->n++] = (entry){key, *of};
    sums->next = sums->n;
}
