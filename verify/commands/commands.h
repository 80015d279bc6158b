/* The commands of verify, one file each. Each gets its own arguments (argv[0] is its name) and returns the exit code. */
#ifndef COMMANDS_H
#define COMMANDS_H

enum { EXIT_GOOD = 0, EXIT_BAD_VERDICT = 1, EXIT_USAGE = 2, EXIT_NOTHING = 3 };

int command_run(int argc, char **argv);
int command_new(int argc, char **argv);
int command_list(int argc, char **argv);
int command_show(int argc, char **argv);
int command_compare(int argc, char **argv);
int command_bundle(int argc, char **argv);
int command_merge(int argc, char **argv);
int command_model(int argc, char **argv);
int command_declare(int argc, char **argv);
int command_order(int argc, char **argv);
int command_shrink(int argc, char **argv);

#endif
