/*
 * A tensor in its room, the memory that a port gets: compact, or columns of wider rows. Around the columns of an input is
 * NaN (an index far out of range for whole numbers), around those of an output what the caller put there.
 */
#ifndef ROOMS_H
#define ROOMS_H

#include "case/problem.h"

/* Lays a compact tensor out, and surrounds it. */
void room_fill(const tensor_info *t, void *room, const void *compact);

/* Reads it back. */
void room_read(const tensor_info *t, const void *room, void *compact);

/* Is it still that one? What is around it doesn't count. */
bool room_holds(const tensor_info *t, const void *room, const void *compact);

/* The first element around it that is not `was` any more (NULL: as room_fill leaves it): row * wide + column; -1: none. */
int64_t room_touched(const tensor_info *t, const void *room, const void *was);

#endif
