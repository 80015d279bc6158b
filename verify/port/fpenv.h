/* The floating-point control register of this thread: rounding mode, flushing, exception masks. */
#ifndef FPENV_H
#define FPENV_H

#include <stddef.h>

/* The register without the sticky flags. */
unsigned fpenv_control(void);
void fpenv_restore(unsigned control);

/* One sentence: what a port left changed. */
void fpenv_describe(unsigned before, unsigned after, char *why, size_t cap);

#endif
