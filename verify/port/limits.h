/* How long a port may take. */
#ifndef LIMITS_H
#define LIMITS_H

typedef struct {
    double timeout; /* seconds, of one case; a program's two runs have so many each */
    double
        start; /* seconds, of the start until its hello; 0: as long as a case for a port in C, START_SECONDS for a program */
} port_limits;

enum { START_SECONDS = 120 };

#endif
