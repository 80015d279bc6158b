/* Commands as reports print them for people to run again, from any folder: names of files are whole. */
#ifndef COMMAND_LINE_H
#define COMMAND_LINE_H

#include "port/port.h"
#include "report/repro.h"

/* What the lines of a run share besides the port. */
typedef struct {
    port_limits limits, usual; /* those in force, and those of a run that is given none */
    bool strict, diagnose;
} run_options;

/* `verify run` on one port, as --backend takes it; with the variables of the environment that begin with DSV3_, and from
 * this folder where the port is a command, which may name files by it. False: no memory, and nothing to free. */
bool repro_of_run(const char *backend_text, const run_options *o, repro *out);

/* `verify compare` of a file; declared: "" for nothing. */
bool repro_of_compare(const char *path, const char *declared, repro *out);

void repro_free(repro *r);

#endif
