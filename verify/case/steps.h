/* How many calls a sequence has at most. */
#ifndef STEPS_H
#define STEPS_H

enum { MAX_STEPS = 8 };

#endif
