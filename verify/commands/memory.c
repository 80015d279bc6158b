/* See memory.h. */
#include "memory.h"

#include <math.h>
#include <stdio.h>

double memory_available(void)
{
    char line[200];
    double kilobytes = 0;
    FILE *const f = fopen("/proc/meminfo", "r");
    if (!f) return HUGE_VAL;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lf kB", &kilobytes) == 1) break;
    fclose(f);
    return kilobytes > 0 ? kilobytes * 1024 : HUGE_VAL;
}

bool memory_holds(double available, const problem *p, bool whole, complaint *why)
{
    double const need = problem_memory(p, whole);
    return need <= available || refuse(why, "%s needs about %.1f GB and %.1f GB are available: choose smaller sizes",
                                       p->id, need / 1e9, available / 1e9);
}
