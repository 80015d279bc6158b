/* Results as people read them. */
#ifndef TEXT_H
#define TEXT_H

#include "report.h"

/* One line; behind it, when there is something to see, a block of at most 12 lines. again: for the line that
 * runs it again; NULL: there is no such line. */
void report_text(FILE *f, const char *id, const char *backend, const repro *again, const result *r, bool verbose);

/* The format "text". */
extern const report_format report_as_text;

#endif
