/* Who supports what: every op against the ports that come with the harness. */
#ifndef COMMANDS_MATRIX_H
#define COMMANDS_MATRIX_H

#include "options.h"

/* verify list --matrix on cases (none: @ci) and files of results (none: the ports are asked). Prints the table, returns
 * the exit code. */
int list_matrix(const operands *cases, const option_list *results);

#endif
