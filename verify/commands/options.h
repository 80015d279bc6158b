/*
 * Options of a command: one table says what it takes, one reader reads them, and the help is printed from the table.
 *
 * Names are exact. A value stands behind '=' or is the next word. Options and operands come in any order; behind "--"
 * every word is an operand. --help or -h before it prints the help, whatever else is there. A flag may be repeated, a value
 * may not, unless its kind says so.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "commands.h"
#include "files/complaint.h"
#include "ref.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum {
    OPTION_FLAG,     /* bool */
    OPTION_TEXT,     /* const char * */
    OPTION_WORD,     /* const char *, one of the words */
    OPTION_NUMBER,   /* double, from least to most */
    OPTION_WHOLE,    /* int, from least to most */
    OPTION_REPEATED, /* option_list: the value of each time */
    OPTION_BACKENDS  /* option_list: the same, and each value may be several with commas between them */
} option_kind;

enum { MOST_REPEATS = 64 };

/* Values in the order in which they were given; they lie in argv. */
typedef struct {
    int count;
    const char *item[MOST_REPEATS];
} option_list;

typedef struct {
    const char *name; /* with its dashes; NULL ends a table */
    option_kind kind;
    size_t to;                /* offset of the variable in the command's own struct; its type is that of the kind */
    const char *value;        /* what help and complaints call the value, as in DIR; NULL: a flag */
    const char *help;         /* one sentence or more; lines are broken when printed */
    double least, most;       /* of numbers */
    const char *const *words; /* NULL ends them */
} option;

typedef struct {
    const char *command;
    const char *usage; /* help before the options, from "usage: " on */
    const option *options;
    const char *notes;   /* help behind the options; NULL: none */
    const char *program; /* whose command it is; NULL: verify's */
} syntax;

/* Arguments that are no options. */
typedef struct {
    int count;
    char **word; /* in argv */
} operands;

/* Reads argv[1] and what follows. Values go where the table says; what isn't given stays as it is. Words of argv are
 * moved. False: one sentence in why. */
bool options_parse(const syntax *s, int argc, char **argv, void *to, operands *rest, complaint *why);

/* The same for a command. False: the help or the sentence is printed, and *code is the exit code. */
bool options_read(const syntax *s, int argc, char **argv, void *to, operands *rest, int *code);

/* "verify: …" on stderr, one line; returns EXIT_USAGE. */
__attribute__((format(printf, 1, 2))) int usage_error(const char *format, ...);

/* The same of another program: "bench: …". */
__attribute__((format(printf, 2, 3))) int usage_error_of(const char *program, const char *format, ...);

/* A declaration and where it stands. */
typedef struct {
    char text[REF_NUMERICS_CAP]; /* "": nothing */
    const char *file;            /* NULL: on the command line */
} given_numerics;

/* One given as text or as the name of a file that holds it, which has to stay; NULL: none. False: one sentence in why. */
bool read_numerics_option(const char *value, given_numerics *d, complaint *why);

#endif
