/* See fpenv.h. */
#include "fpenv.h"

#include <stdio.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#if defined(__x86_64__)
/* The low half is that of SSE and AVX, without its sticky flags, the high half that of the x87 unit: long double. */
unsigned fpenv_control(void)
{
    unsigned short x87;
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    return (_mm_getcsr() & 0xffc0) | (unsigned)x87 << 16;
}

void fpenv_restore(unsigned control)
{
    unsigned short const x87 = (unsigned short)(control >> 16);
    _mm_setcsr(control & 0xffff);
    __asm__ volatile("fldcw %0" ::"m"(x87));
}

unsigned fpenv_flushing(void)
{
    return 0x8040; /* flush-to-zero, denormals-are-zero */
}

void fpenv_describe(const char *who, unsigned before, unsigned after, char *why, size_t cap)
{
    unsigned const changed = before ^ after, x87 = changed >> 16;
    snprintf(why, cap, "%s left%s%s%s%s%s%s changed (MXCSR %04x, was %04x; x87 %04x, was %04x)", who,
             changed & 0x6000 ? " the rounding mode" : "", changed & 0x8000 ? " flush-to-zero" : "",
             changed & 0x0040 ? " denormals-are-zero" : "", changed & 0x1f80 ? " the exception masks" : "",
             x87 & 0x0f00 ? " the x87 rounding" : "", x87 & 0x003f ? " the x87 exception masks" : "", after & 0xffff,
             before & 0xffff, after >> 16, before >> 16);
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
