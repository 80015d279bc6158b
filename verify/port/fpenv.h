/* The floating-point control registers of this thread: rounding mode, flushing, exception masks. */
#ifndef FPENV_H
#define FPENV_H

#include <stddef.h>

/* The registers without the sticky flags. */
unsigned fpenv_control(void);
void fpenv_restore(unsigned control);

/* The bits that flush subnormal numbers to zero. */
unsigned fpenv_flushing(void);

/* One sentence: what was left changed, and by whom, as in "the port". */
void fpenv_describe(const char *who, unsigned before, unsigned after, char *why, size_t cap);

#endif
