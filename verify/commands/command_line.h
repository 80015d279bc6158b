/* Commands as reports print them for people to run again, from any folder: names of files are whole. */
#ifndef COMMAND_LINE_H
#define COMMAND_LINE_H

#include "port/port.h"
#include "report/report.h"

/* Those of a run that is given none. */
extern const port_limits usual_limits;

/* `verify run` on each port of the run, with what `about` says of its options, and of the environment; from this folder where the port is a command, which may name files by it. Notes them in `again`. False:
 * no memory. Free them either way. */
bool repros_of_run(report_run *run);

void repros_free(report_run *run);

/* `verify compare` of a file; declared: "" for nothing. */
bool repro_of_compare(const char *path, const char *declared, repro *out);

void repro_free(repro *r);

#endif
