/* bench: what things cost, side by side in one run. */
#include "bench.h"
#include "commands/choose_command.h"
#include "commands/options.h"
#include "commands/standard.h"
#include "dsv3.h"
#include "files/program_name.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: bench run [OPTION]... ID|@FILE...\n"
    "       bench compare [OPTION]... BASE NEXT [ID|@FILE]...\n"
    "       bench exact [OPTION]... BASE NEXT [ID|@FILE]...\n"
    "       bench peers [OPTION]... [ID|@FILE]...\n"
    "       bench plot STUDY [OPTION]... [FILE]\n"
    "       bench kv [OPTION]...\n"
    "       bench accumulation [OPTION]...\n"
    "       bench train [OPTION]... --text=FILE --out=DIR\n"
    "       bench generate [OPTION]... --model=DIR --text=FILE\n"
    "       bench evaluate [OPTION]... --model=DIR --text=FILE\n"
    "       bench record [OPTION]... --model=DIR --text=FILE --out=FILE\n"
    "       bench truth\n"
    "       bench --version\n"
    "\n"
    "  run     times of a port beside the limits of the same minute; bench run --help\n"
    "  compare whether the second of two builds of a port is slower; bench compare --help\n"
    "  exact   whether the second takes more instructions; bench exact --help\n"
    "  peers   time and error beside those of OpenBLAS, oneDNN and torch; bench peers --help\n"
    "  plot    figures of caches, trainings and errors, and check lines of what they show; bench plot --help\n"
    "  kv      bytes of the cache of any config.json, by kind of attention; bench kv --help\n"
    "  accumulation\n"
    "          errors of FP8 dot products by Hopper's matrix unit; bench accumulation --help\n"
    "  train   a small DeepSeek-V3 learns a text on a port's ops; bench train --help\n"
    "  generate\n"
    "          a trained model writes on, with and without speculation; bench generate --help\n"
    "  evaluate\n"
    "          a trained model in the formats of engines, its flips judged; bench evaluate --help\n"
    "  record  what flows through a trained model, to a file; bench record --help\n"
    "  truth   ball_dot, in every build that this processor can run, against Arb's arb_dot: median\n"
    "          nanoseconds a term of interleaved rounds, and the ratio. Then one decode step of\n"
    "          mla_decode@v3 over 4096 keys, one token of a whole mla@v3 over as many, and of a whole\n"
    "          moe@v3, both with FP8 weights, against torch in float64\n"
    "\n"
    "DSV3_FAST=fma, dpbf16 or amx asks for a path of avx512 and of portable; verify list --backends says\n"
    "which one runs, and why each other one doesn't.\n"
    "\n"
    "exit: 0 measured; 1 a build is slower or takes more; 2 usage; 3 void: nothing could be measured\n";

extern const dsv3_backend dsv3_backend_portable;

/* A path that there isn't would be measured as the one that is taken by default. Both builds of fast/ read the same variables. */
static bool settings_are_known(const command *c)
{
    (void)c;
    char why[256];
    bool const known = dsv3_backend_portable.probe(why, sizeof why) != DSV3_INVALID;
    if (!known) usage_error_of("bench", "%s", why);
    return known;
}

static int bench_truth(int argc, char **argv)
{
    if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) return print_as_called(stdout, help), 0;
    if (argc > 1) return usage_error_of("bench", "truth takes no '%s': it has no options and no cases", argv[1]);
    return bench_dot() || bench_attention() || bench_blocks() ? 2 : 0;
}

int main(int argc, char **argv)
{
    static const command commands[] = {{"run", bench_run},
                                       {"compare", bench_compare},
                                       {"exact", bench_exact},
                                       {"peers", bench_peers},
                                       {"plot", bench_plot},
                                       {"kv", bench_kv},
                                       {"train", bench_train},
                                       {"generate", bench_generate},
                                       {"evaluate", bench_evaluate},
                                       {"record", bench_record},
                                       {"truth", bench_truth},
                                       {"accumulation", bench_accumulation},
                                       {NULL}};
    static const command_table table = {"bench", help, commands, settings_are_known};
    standard_open();
    return standard_finish("bench", choose_command(&table, argc, argv));
}
