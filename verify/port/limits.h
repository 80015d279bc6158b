/* How long a port may take, in seconds. */
#ifndef LIMITS_H
#define LIMITS_H

typedef struct {
    double timeout; /* of one case; a program's two runs have so many each */
    double start;   /* of the start until its hello; 0: the default, see start_seconds */
} port_limits;

enum { START_SECONDS = 120 };

#endif
