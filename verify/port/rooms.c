/* See rooms.h. */
#include "rooms.h"

#include <math.h>

/* The rows of a tensor in its room: those of a compact one are one. */
typedef struct {
    int64_t rows;
    size_t bytes, lead, pitch; /* of a row; before its first element; from row to row in the room */
} row_layout;

static row_layout layout_of(const tensor_info *t)
{
    size_t const size = ref_dtype_size(t->dtype);
    if (!t->wide) return (row_layout){1, t->bytes, 0, t->bytes};
    return (row_layout){tensor_rows(t), (size_t)t->shape[t->ndim - 1] * size, (size_t)t->first * size,
                        (size_t)t->wide * size};
}

/* What surrounds an input. */
static void margin_element(const tensor_info *t, unsigned char element[8])
{
    bool const whole = t->dtype == DSV3_I32 || t->dtype == DSV3_U8;
    ref_encode(t->dtype, element, 0, t->dtype == DSV3_U8 ? 255 : whole ? 2147480000 : (double)NAN);
}

void room_fill(const tensor_info *t, void *room, const void *compact)
{
    unsigned char margin[8];
    size_t const size = ref_dtype_size(t->dtype);
    row_layout const l = layout_of(t);
    margin_element(t, margin);
    for (size_t at = 0; t->wide && at < tensor_room(t); at += size) memcpy((char *)room + at, margin, size);
    for (int64_t r = 0; r < l.rows; r++)
        memcpy((char *)room + (size_t)r * l.pitch + l.lead, (const char *)compact + (size_t)r * l.bytes, l.bytes);
}

void room_read(const tensor_info *t, const void *room, void *compact)
{
    row_layout const l = layout_of(t);
    for (int64_t r = 0; r < l.rows; r++)
        memcpy((char *)compact + (size_t)r * l.bytes, (const char *)room + (size_t)r * l.pitch + l.lead, l.bytes);
}

bool room_holds(const tensor_info *t, const void *room, const void *compact)
{
    row_layout const l = layout_of(t);
    for (int64_t r = 0; r < l.rows; r++)
        if (memcmp((const char *)room + (size_t)r * l.pitch + l.lead, (const char *)compact + (size_t)r * l.bytes,
                   l.bytes))
            return false;
    return true;
}

int64_t room_touched(const tensor_info *t, const void *room, const void *was)
{
    unsigned char margin[8];
    size_t const size = ref_dtype_size(t->dtype);
    int64_t const end = t->wide ? t->first + t->shape[t->ndim - 1] : 0;
    margin_element(t, margin);
    for (int64_t at = 0; at < (t->wide ? tensor_rows(t) * t->wide : 0); at++) {
        bool const inside = at % t->wide >= t->first && at % t->wide < end;
        if (!inside && memcmp((const char *)room + (size_t)at * size, was ? was : margin, size)) return at;
    }
    return -1;
}
