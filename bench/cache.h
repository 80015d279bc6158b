/* How much data it takes for a program to read memory and not a cache. */
#ifndef CACHE_H
#define CACHE_H

#include <stddef.h>

/* The last-level cache of the first processor, as the system shows it in /sys; 0: it shows none. folder: that of /sys, or
 * another like it. */
size_t cache_bytes(const char *folder);

/* That of this machine. */
size_t last_cache(void);

/* 192 MiB or 1.5 times the last-level cache, whichever is more; at most 1 GiB, and a quarter of the memory that is free, but
 * 192 MiB at least. */
size_t bytes_beyond(size_t cache, size_t free);

/* That of this machine, for each of so many threads that share the cache. */
size_t uncached_bytes(int readers);

#endif
