/* See peer.h. */
#include "peer.h"

#include "files/products.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Noreturn void become_peer(const process *p, char *python, char *script, const char *const arguments[])
{
    char *argv[16] = {python, script};
    for (int i = 0; arguments[i] && i < 13; i++) argv[2 + i] = strdup(arguments[i]);
    dup2(p->requests, 0);
    dup2(p->answers, 1);
    execv(python, argv);
    _exit(127);
}

bool peer_open(process *p, const char *const arguments[])
{
    char folder[500], python[600], script[600];
    products_folder(folder, sizeof folder);
    snprintf(python, sizeof python, "%s/ports/python", folder);
    snprintf(script, sizeof script, "%s/ports/torch_peer.py", folder);
    if (access(python, X_OK) || access(script, R_OK)) {
        printf("  torch: not installed: make transformers-port\n");
        return false;
    }
    fflush(stdout);
    signal(SIGPIPE, SIG_IGN);
    if (!process_start(p, NULL)) return false;
    if (!p->pid) become_peer(p, python, script, arguments);
    return !isnan(peer_run(p));
}

double peer_run(const process *p)
{
    char line[64] = "";
    if (!write_all(p->requests, "\n", 1) || !read_all(p->answers, line, 32)) return NAN;
    return strtod(line, NULL);
}
