/* How long a port may take, in seconds. */
#ifndef LIMITS_H
#define LIMITS_H

typedef struct {
    double timeout; /* of one case; a program's two runs have so many each */
    /* Of the start until its hello; 0: as for a case for a port in C, START_SECONDS for a program. */
    double start;
} port_limits;

enum { START_SECONDS = 120 };

#endif
