/* The first word of a program's arguments: a command, help, or what --version and --help print. */
#ifndef CHOOSE_COMMAND_H
#define CHOOSE_COMMAND_H

#include <stdbool.h>

typedef struct {
    const char *name;                  /* NULL ends a table */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
    bool starts_ports;
} command;

typedef struct {
    const char *name, *help;
    const command *commands;
    bool (*begin)(const command *c); /* before a command runs; false: it has printed why it mustn't */
} command_table;

/* Runs what the arguments of main say; returns the exit code. */
int choose_command(const command_table *t, int argc, char **argv);

#endif
