/* What the studies share: the peer beside the reference, readings, medians. */
#include "bench.h"

#include "files/products.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int by_value(const void *a, const void *b)
{
    double const x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(const double *value, int n)
{
    double copy[64];
    memcpy(copy, value, (size_t)n * sizeof *copy);
    qsort(copy, (size_t)n, sizeof *copy, by_value);
    return copy[n / 2];
}

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
    if (!process_start(p)) return false;
    if (!p->pid) become_peer(p, python, script, arguments);
    return !isnan(peer_run(p));
}

double peer_run(const process *p)
{
    char line[64] = "";
    if (!write_all(p->requests, "\n", 1) || !read_all(p->answers, line, 32)) return NAN;
    return strtod(line, NULL);
}

timed time_reading(const problem *p, void *const data[], const ref_reading *rd)
{
    enclosures e;
    double const from = now();
    if (!enclose(p, rd, &ref_dd, data, &e)) return (timed){NAN, NAN, 0};
    timed t = {.seconds = now() - from};
    double largest = 0;
    for (int i = 0; i < p->tensors; i++)
        for (int64_t k = 0; e.value[i] && k < p->tensor[i].count; k++) {
            t.lost += isinf(e.value[i][k].radius);
            t.radius = fmax(t.radius, isinf(e.value[i][k].radius) ? 0 : e.value[i][k].radius);
            largest = fmax(largest, fabs(e.value[i][k].hi));
        }
    t.radius /= largest;
    enclosures_free(&e);
    return t;
}

double peak_memory(void)
{
    char line[200];
    double kilobytes = 0;
    FILE *const f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lf kB", &kilobytes) == 1) break;
    if (f) fclose(f);
    return kilobytes / (1 << 20);
}
