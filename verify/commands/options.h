/* The subcommands of verify. Each gets its own arguments (argv[0] is its name) and returns the exit code. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "files/complaint.h"

#include <stdbool.h>
#include <stddef.h>

enum { EXIT_GOOD = 0, EXIT_BAD_VERDICT = 1, EXIT_USAGE = 2, EXIT_NOTHING = 3 };

int command_run(int argc, char **argv);
int command_list(int argc, char **argv);
int command_show(int argc, char **argv);
int command_compare(int argc, char **argv);
int command_bundle(int argc, char **argv);
int command_model(int argc, char **argv);

/* "verify: …" on stderr; returns EXIT_USAGE. */
__attribute__((format(printf, 1, 2))) int usage_error(const char *format, ...);

/* --name=VALUE: the value; otherwise NULL. */
const char *option_value(const char *argument, const char *name);

/* A declaration given as text or as the name of a file that holds it. False: one sentence in why. */
bool read_numerics_option(const char *value, char *text, size_t cap, complaint *why);

#endif
