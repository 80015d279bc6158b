/* See fpenv.h. */
#include "fpenv.h"

#include <stdio.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#if defined(__x86_64__)
unsigned fpenv_control(void)
{
    return _mm_getcsr() & ~0x3fu; /* without the sticky flags */
}

void fpenv_restore(unsigned control)
{
    _mm_setcsr(control);
}

unsigned fpenv_flushing(void)
{
    return 0x8040; /* flush-to-zero, denormals-are-zero */
}

void fpenv_describe(const char *who, unsigned before, unsigned after, char *why, size_t cap)
{
    unsigned const changed = before ^ after;
    snprintf(why, cap, "%s left%s%s%s%s changed (MXCSR %04x, was %04x)", who,
             changed & 0x6000 ? " the rounding mode" : "", changed & 0x8000 ? " flush-to-zero" : "",
             changed & 0x0040 ? " denormals-are-zero" : "", changed & 0x1f80 ? " the exception masks" : "", after,
             before);
}
#elif defined(__aarch64__)
unsigned fpenv_control(void)
{
    unsigned long v;
    __asm__("mrs %0, fpcr" : "=r"(v));
    return (unsigned)v;
}

void fpenv_restore(unsigned control)
{
    __asm__("msr fpcr, %0" ::"r"((unsigned long)control));
}

unsigned fpenv_flushing(void)
{
    return 0x01080001; /* FZ, FZ16, FIZ */
}

void fpenv_describe(const char *who, unsigned before, unsigned after, char *why, size_t cap)
{
    snprintf(why, cap, "%s left the floating-point control register changed (FPCR %08x, was %08x)", who, after, before);
}
#else
#error "this processor's floating-point control register is unknown here"
#endif
