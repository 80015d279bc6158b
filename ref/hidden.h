/* Outputs of an op that a problem hasn't: they are intermediates there, rounded as a port declares. */
#ifndef HIDDEN_H
#define HIDDEN_H

#include "reading.h"

static inline void hide_absent(ref_reading *rd, int point, const dsv3_tensor *output)
{
    if (output->dtype == DSV3_NONE) ref_add(&rd->hidden, point);
}

#endif
