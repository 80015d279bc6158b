/* Loading a port written in C: shared object, abi, table, probe, context. Done in its own process, as all of it is the port's code. */
#ifndef LOAD_H
#define LOAD_H

#include "answer.h"
#include "backends.h"

typedef struct {
    dsv3_backend table; /* members that an older header lacks are NULL */
    dsv3_ctx *ctx;
    const char *(*fault)(
        void); /* of a port on the machine of cuda/emu: what went wrong there, NULL nothing. NULL: no such port */
    char runs_on[64];        /* what it says of that, "" nothing */
    unsigned clean, control; /* floating-point control before anything of the port ran, and as its start left it */
} loaded_port;

/* False: why it can't be used is in the answer. Afterwards floating-point control and locale are those of before; the port's ops run
 * with its own control. */
bool load_port(const backend *b, loaded_port *p, answer *a);
void unload_port(loaded_port *p);

/* The names of the ops that the port has, a space behind each. */
void name_ops(const loaded_port *p, char *text, size_t cap);

#endif
