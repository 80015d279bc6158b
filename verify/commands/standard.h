/* Standard input, output and error of a program, from its first line to its exit code. */
#ifndef STANDARD_H
#define STANDARD_H

#include <stdbool.h>

/* First of all. A stream that the caller has closed is opened on nothing, and a file that is opened does not become it. Where a
 * file may not grow, writing fails and no signal comes. */
void standard_open(void);

/* Has whoever read standard output gone, as head does? What only prints may stop then: standard_finish says how it ends. */
bool standard_is_unread(void);

/* Last of all: `code`, or EXIT_USAGE and one sentence of `program` when standard output could not be written whole. A reader
 * that has gone, as head does, has seen what it wanted: that is as quiet as SIGPIPE is. */
int standard_finish(const char *program, int code);

#endif
