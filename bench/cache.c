/* See cache.h. */
#include "cache.h"

#include <stdio.h>
#include <unistd.h>

static const size_t mega = (size_t)1 << 20;

static long read_number(const char *folder, int index, const char *name)
{
    char path[300];
    long number = 0;
    snprintf(path, sizeof path, "%s/index%d/%s", folder, index, name);
    FILE *const f = fopen(path, "r");
    if (f && fscanf(f, "%ld", &number) != 1) number = 0;
    if (f) fclose(f);
    return number;
}

size_t cache_bytes(const char *folder)
{
    long level = 0, kilobytes = 0;
    for (int i = 0; i < 16; i++) {
        long const this = read_number(folder, i, "level");
        if (this > level) level = this, kilobytes = read_number(folder, i, "size"); /* "32768K" */
    }
    return (size_t)kilobytes << 10;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t bytes_beyond(size_t cache, size_t free)
{
    size_t const few = 192 * mega, wanted = least(cache + cache / 2, 1024 * mega), bytes = least(wanted, free / 4);
    return bytes > few ? bytes : few;
}

size_t uncached_bytes(int readers)
{
    long const pages = sysconf(_SC_AVPHYS_PAGES);
    size_t const free = pages > 0 ? (size_t)pages * (size_t)sysconf(_SC_PAGESIZE) : 0, n = (size_t)readers;
    return bytes_beyond(cache_bytes("/sys/devices/system/cpu/cpu0/cache") * 2 / (n + 1), free * 2 / (n + 1));
}
