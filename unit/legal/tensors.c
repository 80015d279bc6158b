/* tensors: elements in and out as doubles, and the room that an op works in. */
#include "legal.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static double flushed(bool flush, double x)
{
    return flush && fabs(x) < 0x1p-126 ? copysign(0, x) : x;
}

static double from_bf16(uint16_t bits)
{
    uint32_t const image = (uint32_t)bits << 16;
    float x = 0;
    memcpy(&x, &image, sizeof x);
    return (double)x;
}

double legal_load(legal const *c, dsv3_tensor const *t, int64_t at)
{
    if (t->dtype == DSV3_F32) {
        float x = 0;
        memcpy(&x, (char const *)t->data + 4 * at, 4);
        return flushed(c->daz, (double)x);
    }
    if (t->dtype == DSV3_F64) return ((double const *)t->data)[at];
    if (t->dtype == DSV3_BF16) {
        uint16_t x = 0;
        memcpy(&x, (char const *)t->data + 2 * at, 2);
        return flushed(c->daz, from_bf16(x));
    }
    if (t->dtype == DSV3_I32) {
        int32_t x = 0;
        memcpy(&x, (char const *)t->data + 4 * at, 4);
        return x;
    }
    return number_from_e4m3(((uint8_t const *)t->data)[at]);
}

void legal_store(legal const *c, dsv3_tensor const *t, int64_t at, double x)
{
    if (t->dtype == DSV3_F64) {
        ((double *)t->data)[at] = x;
        return;
    }
    number_format format = t->dtype == DSV3_BF16 ? number_bf16 : number_f32;
    format.to_zero = c->cut_output;
    float const y = (float)flushed(c->ftz, number_round(format, x));
    if (t->dtype == DSV3_BF16)
        memcpy((char *)t->data + 2 * at, (char const *)&y + 2, 2);
    else
        memcpy((char *)t->data + 4 * at, &y, 4);
}

/* Where row i of a matrix begins; a tensor of more dimensions counts rows through all but the last. */
int64_t legal_row(dsv3_tensor const *t, int64_t i)
{
    int64_t at = 0;
    for (int d = t->ndim - 2; d >= 0; d--) {
        at += i % t->shape[d] * t->stride[d];
        i /= t->shape[d];
    }
    return at;
}

enum { ROOM = 1 << 23 };
static double room[ROOM];
static int64_t used;

double *legal_room(int64_t n)
{
    if (used + n > ROOM) return NULL;
    used += n;
    return room + used - n;
}

void legal_reset(void)
{
    used = 0;
}
