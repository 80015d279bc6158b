/*
 * Which key an answer lacks. No case has a filter for each of its keys: they are tried where what an answer is off is nothing else.
 */
#ifndef LOST_KEY_H
#define LOST_KEY_H

#include "nulls.h"

/* Of attention with a cache: what it changes that one key is left out, the one along which the answer is off most, beside a null that it
 * was subtracted from (nulls.off); d is to be freed, and NULL where there are no such keys. False: no memory. */
bool lost_key(const nulls *kept, const null_ports *beside, direction *found);

#endif
