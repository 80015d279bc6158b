/* See cache.h. */
#include "cache.h"

#include <stdio.h>

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

/* Memory that programs can still get; files that the system keeps in it make room. 0: it isn't said. */
static size_t free_bytes(void)
{
    char line[200];
    unsigned long kilobytes = 0;
    FILE *const f = fopen("/proc/meminfo", "r");
    while (f && !kilobytes && fgets(line, sizeof line, f)) sscanf(line, "MemAvailable: %lu kB", &kilobytes);
    if (f) fclose(f);
    return (size_t)kilobytes << 10;
}

size_t last_cache(void)
{
    return cache_bytes("/sys/devices/system/cpu/cpu0/cache");
}

size_t uncached_bytes(int readers)
{
    size_t const n = (size_t)readers;
    return bytes_beyond(last_cache() * 2 / (n + 1), free_bytes() * 2 / (n + 1));
}
