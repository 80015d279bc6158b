/* Is what a file holds a text that people write by hand? */
#ifndef PLAIN_TEXT_H
#define PLAIN_TEXT_H

#include "complaint.h"

#include <stddef.h>

/* False, for a NUL byte, which would cut it, or a byte order mark: the end of a sentence about it. */
bool is_plain_text(const char *text, size_t size, complaint *why);

#endif
