/* verify: decides whether a port's results are legal, and shows the first that isn't. */
#include "commands/choose_command.h"
#include "commands/commands.h"
#include "commands/standard.h"
#include "port/guardian.h"
#include "port/struck.h"

#include <signal.h>
#include <stddef.h>

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
                           "  declare --backend=B [OP...]   the arithmetic that a port could declare\n"
                           "  order --backend=B             in which order a port adds, and in what\n"
                           "  shrink CASE --backend=B       the smallest case that fails in the same way\n"
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

static bool begin(const command *c)
{
    if (c->starts_ports) guard(), struck_watch();
    return true;
}

int main(int argc, char **argv)
{
    static const command commands[] = {
        {"run", command_run, true},     {"merge", command_merge, false},     {"new", command_new, false},
        {"list", command_list, true},   {"show", command_show, false},       {"bundle", command_bundle, false},
        {"model", command_model, true}, {"compare", command_compare, false}, {"declare", command_declare, true},
        {"order", command_order, true}, {"shrink", command_shrink, true},    {NULL}};
    static const command_table table = {"verify", help, commands, begin};
    standard_open();
    signal(SIGPIPE, SIG_IGN);
    return standard_finish("verify", choose_command(&table, argc, argv));
}
