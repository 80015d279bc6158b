/*
 * Whether a thread may use the tiles of AMX: the processor has them, the system saves them, and it lets this process use
 * them. Each answer is a sentence that says why not, or NULL.
 */
#ifndef TILES_HERE_H
#define TILES_HERE_H

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline const char *processor_lacks_tiles(void)
{
    unsigned a, b, c, d = 0;
    bool const known = __get_cpuid_count(7, 0, &a, &b, &c, &d);
    if (!known || !(d >> 24 & 1)) return "this processor lacks AMX-TILE (CPUID 7.0 EDX 24)";
    return d >> 22 & 1 ? NULL : "this processor lacks AMX-BF16 (CPUID 7.0 EDX 22)";
}

/* Asked of a processor that has tiles. */
static inline const char *system_saves_no_tiles(void)
{
    uint32_t low, high; /* XCR0: what the system saves for a thread */
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    uint32_t const tiles = 3u << 17; /* their configuration, their data */
    return (low & tiles) == tiles ? NULL : "the system doesn't save tiles (XCR0 17, 18)";
}

/* Asks for all threads of the process, and for those that are forked from it. */
static inline const char *system_refuses_tiles(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    bool const refused = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA);
    return refused ? "the system refuses tiles (arch_prctl ARCH_REQ_XCOMP_PERM 18)" : NULL;
}

#endif
#endif
