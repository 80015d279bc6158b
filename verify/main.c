/* verify: decides whether a port's results are legal, and shows the first that isn't. */
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/standard.h"
#include "commands/variables.h"
#include "files/program_name.h"
#include "files/unknown_word.h"
#include "port/guardian.h"
#include "port/struck.h"
#include "version.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char help[] = "usage: verify COMMAND [ARGUMENT...]\n"
                           "\n"
                           "  run CASE... --backend=B[,B]   judge ports on cases\n"
                           "  merge RESULTS...              reports of a run's shards as one, in any format\n"
                           "  new c|python DIR              a first port of one op, to change\n"
                           "  list [OP]                     ops, cases, quirks, rounding points, backends\n"
                           "  show CASE                     what a case is, and what it can see\n"
                           "  bundle make DIR CASE...       cases as files, for ports that have only files\n"
                           "  model DIR --tokens=IDS        a checkpoint: its truth, or a port's stages\n"
                           "  compare FILE --case=CASE      judge tensors that a port wrote to a file\n"
                           "  compare FOLDER                judge what a port wrote into bundles\n"
                           "\n"
                           "  verify COMMAND --help         more on one command: so does verify help COMMAND\n"
                           "  verify --version              -V is the same\n"
                           "\n"
                           "CASE is an id such as 'rmsnorm@v3' or 'linear@odd:n_tokens=1..4,x=bf16|f32',\n"
                           "a file of ids (@smoke, @ci, @./mine.txt), or a pattern ('linear@*fill=exact*').\n"
                           "\n"
                           "example:  verify run @smoke --backend=./myport.so\n"
                           "\n"
                           "exit: 0 something passed and nothing is bad; 1 a bad verdict; 2 usage or\n"
                           "unreadable input; 3 nothing was verified, or a required backend is missing;\n"
                           "128+n interrupted\n";

static int run_command(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
        bool starts_ports;
    } commands[] = {{"run", command_run, true},     {"merge", command_merge, false},
                    {"new", command_new, false},    {"list", command_list, true},
                    {"show", command_show, false},  {"bundle", command_bundle, false},
                    {"model", command_model, true}, {"compare", command_compare, false}};
    unknown_word u = {.word = argv[0]};
    complaint why;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        unknown_word_offer(&u, commands[i].name);
        if (strcmp(argv[0], commands[i].name)) continue;
        variables_warn("verify");
        if (commands[i].starts_ports) guard(), struck_watch();
        return commands[i].run(argc, argv);
    }
    unknown_word_offer(&u, "help");
    refuse(&why, "unknown command '%.200s'", argv[0]);
    unknown_word_refuse(&u, "known:", &why);
    return usage_error("%s", why.text);
}

/* "help run" is "run --help". */
static int help_on(int argc, char **argv)
{
    char asks[] = "--help";
    char *asked[] = {argv[0], asks, NULL};
    if (argc > 1) return usage_error("help is on one command, '%.200s' is a second: leave it out", argv[1]);
    if (argc == 1 && strcmp(argv[0], "help")) return run_command(2, asked);
    print_as_called(stdout, help);
    return EXIT_GOOD;
}

static bool is_one_of(const char *word, const char *a, const char *b)
{
    return !strcmp(word, a) || !strcmp(word, b);
}

int main(int argc, char **argv)
{
    standard_open();
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        print_as_called(stderr, help);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "help")) return standard_finish("verify", help_on(argc - 2, argv + 2));
    if (is_one_of(argv[1], "--help", "-h")) return standard_finish("verify", help_on(0, NULL));
    if (is_one_of(argv[1], "--version", "-V")) {
        version_print("verify");
        return standard_finish("verify", EXIT_GOOD);
    }
    return standard_finish("verify", run_command(argc - 1, argv + 1));
}
