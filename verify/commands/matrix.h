/* Who supports what: every op against the ports that come with the harness. */
#ifndef COMMANDS_MATRIX_H
#define COMMANDS_MATRIX_H

/* The arguments of verify list --matrix: cases (default @ci) and --results=FILE. Prints the table, returns the exit code. */
int list_matrix(int argc, char **argv);

#endif
