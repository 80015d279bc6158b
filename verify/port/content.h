/* What the verdicts of a port depend on, as far as files tell: for keys under which earlier verdicts are used. */
#ifndef CONTENT_H
#define CONTENT_H

#include "backends.h"
#include "files/fingerprint.h"

/* Of a shared object its content; of a program its command line, the files that this names, and its hello; a port that is
 * built in comes with this program. False: one sentence in why. */
bool content_add(fingerprint *f, const backend *b, const char *hello, complaint *why);

/* What that leaves out, in words; NULL: nothing. */
const char *content_lacks(const backend *b);

#endif
