/* verify: decides whether a port's results are legal, and shows the first that isn't. */
#include "commands/commands.h"
#include "commands/options.h"
#include "commands/standard.h"
#include "files/program_name.h"
#include "port/guardian.h"
#include "port/struck.h"
#include "version.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char help[] = "usage: verify COMMAND [ARGUMENT...]\n"
                           "\n"
                           "  run CASE... --backend=B[,B]   judge ports on cases\n"
                           "  list                          cases, ops, quirks, rounding points, backends\n"
                           "  show CASE                     what a case is, and what it can see\n"
                           "  bundle make DIR CASE...       write cases as files, for ports that have only files\n"
                           "  model DIR --tokens=IDS        a whole checkpoint: its truth, or a port's stages judged\n"
                           "  compare OUT.safetensors --case=CASE   judge tensors that a port wrote to a file\n"
                           "\n"
                           "  verify COMMAND --help         more on one command\n"
                           "  verify --version\n"
                           "\n"
                           "CASE is an id such as 'rmsnorm@v3' or 'linear@odd:n_tokens=1..4,x=bf16|f32;fill=exact',\n"
                           "a file of ids (@smoke, @ci, @./mine.txt), or a pattern ('linear@*fill=exact*').\n"
                           "\n"
                           "example:  verify run @smoke --backend=./myport.so\n"
                           "\n"
                           "exit: 0 something passed and nothing is bad; 1 a bad verdict; 2 usage or unreadable\n"
                           "input; 3 nothing was verified, or a required backend is missing; 128+n interrupted\n";

static int run_command(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
        bool starts_ports;
    } commands[] = {{"run", command_run, true},        {"list", command_list, true},
                    {"show", command_show, false},     {"compare", command_compare, false},
                    {"bundle", command_bundle, false}, {"model", command_model, true}};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name)) continue;
        if (commands[i].starts_ports) guard(), struck_watch();
        return commands[i].run(argc - 1, argv + 1);
    }
    return usage_error("unknown command '%s'; known: run list show bundle compare model", argv[1]);
}

int main(int argc, char **argv)
{
    standard_open();
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        print_as_called(stderr, help);
        return EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
        return print_as_called(stdout, help), standard_finish("verify", EXIT_GOOD);
    if (!strcmp(argv[1], "--version")) {
        version_print("verify");
        return standard_finish("verify", EXIT_GOOD);
    }
    return standard_finish("verify", run_command(argc, argv));
}
