/* See choose_command.h. */
#include "choose_command.h"

#include "commands.h"
#include "files/program_name.h"
#include "files/unknown_word.h"
#include "options.h"
#include "variables.h"
#include "version.h"

#include <stdio.h>
#include <string.h>

static int run_command(const command_table *t, int argc, char **argv)
{
    unknown_word u = {.word = argv[0]};
    complaint why;
    for (const command *c = t->commands; c->name; c++) {
        unknown_word_offer(&u, c->name);
        if (strcmp(argv[0], c->name)) continue;
        variables_warn(t->name);
        return t->begin(c) ? c->run(argc, argv) : EXIT_USAGE;
    }
    unknown_word_offer(&u, "help");
    if (strcmp(argv[0], "--version")) unknown_word_offer(&u, "--version"); /* "help --version" */
    refuse(&why, "unknown command '%.200s'", argv[0]);
    unknown_word_refuse(&u, "known:", &why);
    return usage_error_of(t->name, "%s", why.text);
}

/* "help run" is "run --help". */
static int help_on(const command_table *t, int argc, char **argv)
{
    char asks[] = "--help";
    char *asked[] = {argv[0], asks, NULL};
    if (argc > 1) return usage_error_of(t->name, "help is on one command, '%.200s' is a second: leave it out", argv[1]);
    if (argc == 1 && strcmp(argv[0], "help")) return run_command(t, 2, asked);
    print_as_called(stdout, t->help);
    return EXIT_GOOD;
}

static bool is_one_of(const char *word, const char *a, const char *b)
{
    return !strcmp(word, a) || !strcmp(word, b);
}

int choose_command(const command_table *t, int argc, char **argv)
{
    if (argc < 2) return print_as_called(stderr, t->help), EXIT_USAGE;
    bool const helps = is_one_of(argv[1], "--help", "-h"), tells = is_one_of(argv[1], "--version", "-V");
    if ((helps || tells) && argc > 2)
        return usage_error_of(t->name, "%s takes nothing behind it, and there is '%.200s': leave it out%s", argv[1],
                              argv[2], helps ? ", or write help before it" : "");
    if (helps) return help_on(t, 0, argv);
    if (tells) return version_print(t->name), EXIT_GOOD;
    return strcmp(argv[1], "help") ? run_command(t, argc - 1, argv + 1) : help_on(t, argc - 2, argv + 2);
}
