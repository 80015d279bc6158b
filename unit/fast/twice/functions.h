/* Functions that vec.h has twice, as intrinsics and in plain C: numbers in, numbers out, as bits. */
#ifndef FUNCTIONS_H
#define FUNCTIONS_H

#include <stdint.h>

enum { WORDS = 256 }; /* sixteen times sixteen numbers */

typedef struct {
    const char *name;
    void (*f)(const uint32_t in[WORDS], uint32_t out[WORDS]); /* leaves the rest of out alone */
    int any_nan;                                              /* results are numbers: one NaN is as good as another */
} twice;

/* Of the same length and order; a NULL name ends them. */
extern const twice native_functions[], portable_functions[];

#endif
