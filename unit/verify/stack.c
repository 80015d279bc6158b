/* The harness needs less than 256 KiB of stack, and leaves a port as much as the caller has. */
#include "command.h"

#include <criterion/criterion.h>

TestSuite(stack, .timeout = 120);

#if defined(__SANITIZE_ADDRESS__)
#define LITTLE "ulimit -s 1024;" /* its frames are larger */
#else
#define LITTLE "ulimit -s 256;"
#endif
#define PORT " --backend=" BUILD "/planted/planted.so"

/* moe has the most tensors: each weight of each expert is one. */
Test(stack, every_command_works_with_little)
{
    static const char *const commands[] = {
        "run moe@tiny 'mla_prefill@odd' rmsnorm@odd --backend=plain --jobs=1",
        "run moe@tiny:n_routed_experts=256 --backend=plain --diagnose --format=jsonl",
        "list --cases @smoke",
        "list --ops",
        "list --matrix",
        "show moe@tiny:n_routed_experts=256",
        "show mtp@tiny",
    };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const outcome *const o = run_verify(LITTLE, commands[i]);
        cr_expect(o->code == 0, "verify %s: exit code %d: %s", commands[i], o->code, o->err);
    }
}

Test(stack, files_too)
{
    char dir[] = "/tmp/dsv3-stack-XXXXXX", command[200];
    cr_assert(mkdtemp(dir) != NULL);
    snprintf(command, sizeof command, "bundle make %s moe@tiny:n_routed_experts=256", dir);
    const outcome *o = run_verify(LITTLE, command);
    cr_expect(o->code == 0, "verify %s: exit code %d: %s", command, o->code, o->err);
    snprintf(command, sizeof command, "compare %s/moe_tiny_n_routed_experts_256/inputs.safetensors --case=moe@tiny",
             dir);
    o = run_verify(LITTLE, command); /* inputs are no outputs: a sentence, not a crash */
    cr_expect(o->code == 2 && strstr(o->err, "holds no tensor"), "verify %s: exit code %d: %s", command, o->code,
              o->err);
    snprintf(command, sizeof command, "rm -r %s", dir);
    cr_expect(system(command) == 0);
}

/* A port that needs four megabytes has them if the caller has; if not, that is its own crash. */
Test(stack, a_port_has_the_callers)
{
    const outcome *o = run_verify("ulimit -s 8192; PLANT=deep", "run rmsnorm@odd:x=f32" PORT);
    cr_expect(o->code == 0, "exit code %d: %s", o->code, o->out);
    o = run_verify(LITTLE " PLANT=deep", "run rmsnorm@odd:x=f32" PORT);
    cr_expect(o->code == 1 && strstr(o->out, "signal SEGV"), "exit code %d: %s", o->code, o->out);
}
