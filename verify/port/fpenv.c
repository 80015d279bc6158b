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

void fpenv_describe(unsigned before, unsigned after, char *why, size_t cap)
{
    unsigned const changed = before ^ after;
    snprintf(why, cap, "the port left%s%s%s%s changed (MXCSR %04x, was %04x)",
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

void fpenv_describe(unsigned before, unsigned after, char *why, size_t cap)
{
    snprintf(why, cap, "the port left the floating-point control register changed (FPCR %08x, was %08x)", after,
             before);
}
#else
#error "this processor's floating-point control register is unknown here"
#endif
